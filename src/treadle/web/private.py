"""Files beside a store that are for its owner's account alone."""

from __future__ import annotations

import atexit
import hashlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from treadle.durable_files import write_whole
from treadle.web.access import AccessError


def private_folder(store: str) -> Path:
    """Where the web of the store at that address keeps users, sessions and its sign-in link; nobody else can look in.

    Beside a file it is ``NAME.web``; for a store in memory it goes with the process.
    """
    if store == "memory:":
        folder = Path(tempfile.mkdtemp(prefix="treadle-web-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    if "://" in store and not store.startswith("sqlite:///"):
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return _made(state / "treadle" / f"{digest(store)[:16]}.web", parents=True)
    path = Path(store.removeprefix("sqlite:///"))
    return _made(path.with_name(f"{path.name}.web"))


def _made(folder: Path, *, parents: bool = False) -> Path:
    try:
        folder.mkdir(0o700, parents=parents, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise AccessError(f"the folder {folder} for users and sessions cannot be made: {error}") from error
    return folder


def write_private(path: Path, text: str) -> None:
    """The file holds ``text`` and is readable by its owner alone; whoever reads sees the old or the new one, whole."""
    path.parent.mkdir(0o700, exist_ok=True)
    write_whole(path, text.encode(), unfinished=path.with_name(f".{path.name}.{secrets.token_hex(8)}"))


def digest(secret: str) -> str:
    """What is kept of a secret. Secrets here are random and long, so one round says nothing about them."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)
