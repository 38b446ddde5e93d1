"""Where reviews are: in a store that is at hand, or on a server."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cyclopts import Parameter

from treadle.cli.any_inbox import AnyInbox, RemoteInbox
from treadle.cli.common import WrongUse, clean, existing_store, setting
from treadle.cli.people import who
from treadle.cli.review_options import editing_inbox
from treadle.inbox import Inbox

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the reviews are.

    Args:
        store: the store's path or address.
        url: a server's address, in place of a store; its token stands in TREADLE_TOKEN or in --token-file.
        token_file: a file that holds the token and that only you can read; or set TREADLE_TOKEN_FILE.
    """

    store: str | None = None
    url: str | None = None
    token_file: Path | None = None


HERE = Where()


class Opened(NamedTuple):
    """An inbox, who acts there, and the stages it is known to have (``None``: the server knows)."""

    inbox: AnyInbox
    reviewer: str
    stages: tuple[str, ...] | None


@asynccontextmanager
async def opened(
    where: Where, reviewer: str | None = None, *, app: str | None = None, can_edit: bool = False, read_only: bool = False
) -> AsyncIterator[Opened]:
    """The inbox that ``where`` means; edits are checked by the types of ``app`` where they are made here.

    Raises:
        WrongUse: options that do not go together, or no token.
    """
    if where.url is None:
        name = "" if read_only else who(reviewer)
        async with existing_store(where.store, read_only=read_only) as store:
            shape = await store.shape()
            inbox = editing_inbox(store, app) if can_edit else Inbox(store)
            yield Opened(inbox, name, None if shape is None else tuple(shape.stages))
        return
    if unfit := [
        name for name, given in (("--store", where.store), ("--app", app), ("--reviewer", reviewer)) if given is not None
    ]:
        raise WrongUse(f"{unfit[0]} does not go with --url: the server knows its store, its types, and you by your token")
    # Only who asks a server waits for what it takes to ask one.
    from treadle.client import Client

    try:
        client = Client(where.url, token(where.token_file))
    except ValueError as error:
        raise WrongUse(str(error)) from error
    yield Opened(RemoteInbox(client), "" if read_only else await client.name(), None)


def token(file: Path | None) -> str:
    """The token from the environment or a file that nobody else can read; never from the command line, which others see.

    Raises:
        WrongUse: there is none, or others can read it.
    """
    if file is None and (given := os.environ.get("TREADLE_TOKEN")):
        return given.strip()
    named = str(file) if file is not None else setting("token_file", None)
    if named is None:
        raise WrongUse(
            "--url needs a token: in TREADLE_TOKEN, or in a file of yours that --token-file or TREADLE_TOKEN_FILE names"
        )
    path = Path(named)
    try:
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise WrongUse(f"others can read {clean(path)}; `chmod 600 {clean(path)}` first")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{clean(path)} cannot be read: {error}") from error
