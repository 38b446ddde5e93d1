"""Commands for who may sign in on the web: user add, list, remove."""

from __future__ import annotations

import sys

from treadle.cli.common import Format, WrongUse, as_json, store_url, table, terminal_width
from treadle.web.access import Role
from treadle.web.private import private_folder
from treadle.web.users import Users


def user_add(name: str, *, role: Role = Role.VIEWER, store: str | None = None) -> int:
    """Let somebody sign in. Their token is printed once, and kept nowhere: hand it over safely.

    Args:
        name: who the audit trail will say acted.
        role: viewer looks, reviewer also decides, operator also retries, reruns and cancels.
        store: the store's path or address.
    """
    token = _users(store).add(name, role)
    print(f"{name} may sign in as {role} with this token, which is shown only now:", file=sys.stderr, flush=True)
    print(token)
    return 0


def user_list(*, store: str | None = None, format: Format = "table") -> int:  # noqa: A002 - the flag's name
    """Who may sign in.

    Args:
        store: the store's path or address.
        format: table or json.
    """
    users = _users(store).all().values()
    if format == "json":
        print(as_json([{"name": user.name, "role": user.role, "added": user.added} for user in users]))
    elif users:
        print(table(["user", "role", "added"], [[u.name, u.role, u.added] for u in users], width=terminal_width()))
    else:
        print("no users; `treadle user add NAME --role reviewer` lets somebody in")
    return 0


def user_remove(name: str, *, store: str | None = None) -> int:
    """Let somebody in no more; where they are signed in, that ends at once.

    Args:
        name: who.
        store: the store's path or address.
    """
    _users(store).remove(name)
    print(f"{name} is let in no more")
    return 0


def _users(store: str | None) -> Users:
    if (url := store_url(store)) == "memory:":
        raise WrongUse("a store in memory is its process's own; users are kept beside a file: name one with --store")
    return Users(private_folder(url))
