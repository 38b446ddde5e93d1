"""Files that are there whole or not at all, and stay when the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, unfinished: Path) -> None:
    """The file holds ``data`` and is its owner's alone; whoever reads sees the old one or the new one, whole.

    Until then the bytes are in ``unfinished``, a new file of the same file system, which is gone afterwards. That the name stays is
    for ``sync`` of the folder to see to.
    """
    handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """The bytes of that file, or the names in that folder, are on the disk."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():
        return  # It cannot open folders, and keeps names by itself.
    handle = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
