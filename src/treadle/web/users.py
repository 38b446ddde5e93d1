"""The people of a team, each with a role and the hash of a token."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from treadle.web.access import AccessError, Principal, Role
from treadle.web.private import digest, new_secret, write_private

_PREFIX = "treadle_"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in."""

    name: str
    role: Role
    added: str
    hash: str

    @property
    def principal(self) -> Principal:
        """Who acts when this user does."""
        return Principal(self.name, self.role)


class Users:
    """Who may sign in, in a file that every server and command of the store reads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "users.json"
        self._read_at: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}

    def add(self, name: str, role: Role) -> str:
        """The token with which the new user signs in; only its hash is kept.

        Raises:
            AccessError: the name is taken, or cannot be one.
        """
        who = Principal(name, role)
        token = _PREFIX + new_secret()
        with self._alone():
            users = self.all()
            if name in users:
                raise AccessError(f"there is a user {name!r} already; `treadle user remove` first, to give a new token or role")
            added = datetime.now(UTC).isoformat(timespec="seconds")
            self._write([*users.values(), User(name=name, role=who.role, added=added, hash=digest(token))])
        return token

    def remove(self, name: str) -> None:
        """The user's token and sessions open nothing any more.

        Raises:
            AccessError: there is no such user.
        """
        with self._alone():
            users = self.all()
            if name not in users:
                raise AccessError(f"there is no user {name!r}; there are: {', '.join(users) or 'none'}")
            self._write([user for user in users.values() if user.name != name])

    def all(self) -> dict[str, User]:
        """Everybody by name, as the file says now.

        Raises:
            AccessError: the file cannot be read.
        """
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._read_at:
                listed = json.loads(self._path.read_text("utf-8"))
                users = [User(**{**user, "role": Role(user["role"])}) for user in listed]
                self._users, self._read_at = {user.name: user for user in users}, stamp
        except FileNotFoundError:
            self._users, self._read_at = {}, None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise AccessError(f"{self._path} cannot be read: {error}; mend it, or remove it and add its users again") from error
        return self._users

    def of_token(self, token: str) -> User | None:
        """Whose token that is. How long the answer takes says nothing about how close a guess was."""
        given, found = digest(token), None
        for user in self.all().values():
            if hmac.compare_digest(user.hash, given):
                found = user
        return found

    def _write(self, users: list[User]) -> None:
        write_private(self._path, json.dumps([asdict(user) for user in users], indent=1))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands at once do not undo each other's change, where the system has locks of files."""
        try:
            import fcntl
        except ModuleNotFoundError:
            yield
            return
        lock = os.open(self._path.with_name(".users.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
