"""Who has signed in, kept so that a restart of the server signs nobody out."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from treadle.web.private import digest, new_secret, write_private

IDLE = 3 * 86_400
LONGEST = 30 * 86_400
_TOUCH = 600
"""Seconds after which a use is noted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody signed in.

    Args:
        proof: the hash of the token it began with, so that it ends with that token; empty for the server's own link.
        began: seconds since 1970.
    """

    name: str
    proof: str
    began: float


class Sessions:
    """Sessions by the hash of their cookie, a file each: an unused one ends after three days, any after thirty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "sessions"
        self._sweep()

    def begin(self, name: str, *, proof: str = "") -> str:
        """The cookie of a new session."""
        cookie = new_secret()
        session = Session(name=name, proof=proof, began=time.time())
        write_private(self._file(cookie), json.dumps(asdict(session)))
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of that cookie, if there is one that has not ended."""
        path = self._file(cookie)
        try:
            used = path.stat().st_mtime
            session = Session(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        now = time.time()
        if now - used > IDLE or now - session.began > LONGEST:
            return None
        if now - used > _TOUCH:
            os.utime(path)
        return session

    def end(self, cookie: str) -> None:
        """That cookie opens nothing any more."""
        self._file(cookie).unlink(missing_ok=True)

    def _file(self, cookie: str) -> Path:
        return self._folder / digest(cookie)

    def _sweep(self) -> None:
        """What has ended takes no room."""
        before = time.time() - IDLE
        for path in self._folder.glob("*"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


def change_token(key: str, what: str = "") -> str:
    """What a change must carry: nobody can tell it who does not know ``key``, and it does not give the key away."""
    return hmac.new(key.encode(), b"treadle change " + what.encode(), hashlib.sha256).hexdigest()
