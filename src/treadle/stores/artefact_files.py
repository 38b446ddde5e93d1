"""Bytes of large artefacts in files that are named after their content."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from treadle.artefact import StoredArtefact, refer
from treadle.durable_files import sync, write_whole
from treadle.errors import StoreCorrupt, StoreFull, StoreUnavailable

PIECE = 1024 * 1024
_UNFINISHED = "unfinished-"
_ABANDONED = 86_400
"""Seconds after which nobody goes on with an unfinished file."""


class ArtefactFiles:
    """A folder of files; every call blocks, so none is made on an event loop.

    A file appears under its name when all of it is on disk, and never changes. The caller sees to it that nobody removes
    one that another is about to refer to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder

    @classmethod
    def of(cls, store: str | Path) -> ArtefactFiles:
        """Those of the SQLite store in that file."""
        return cls(Path(f"{store}.artefacts"))

    def path(self, artefact: StoredArtefact) -> Path:
        """Where the bytes lie."""
        return self.folder / artefact.digest[:2] / artefact.digest[2:]

    def put(self, artefact: StoredArtefact, data: bytes) -> None:
        """The bytes are on disk under their name.

        Raises:
            StoreFull, StoreUnavailable: they could not be written.
        """
        path = self.path(artefact)
        with _mapping_errors(path):
            if not path.exists():
                self.folder.mkdir(mode=0o700, exist_ok=True)
                path.parent.mkdir(mode=0o700, exist_ok=True)
                write_whole(path, data, unfinished=self.folder / f"{_UNFINISHED}{uuid4().hex}")
            # Also where it was there already: whoever made it may not have come so far.
            for folder in (path.parent, self.folder, self.folder.parent):
                sync(folder)

    def pieces(self, artefact: StoredArtefact) -> Generator[bytes, None, None]:
        """The bytes, a piece at a time.

        Raises:
            StoreCorrupt: they are not there, or are not what they were; the last piece is not given then.
        """
        path, seen, size, last = self.path(artefact), hashlib.sha256(), 0, b""
        with _mapping_errors(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                raise StoreCorrupt(f"its file {path} is missing; put it back from a backup") from None
            with file:
                while piece := file.read(PIECE):
                    if last:
                        yield last
                    seen.update(piece)
                    size, last = size + len(piece), piece
        if (size, seen.hexdigest()) != (artefact.size, artefact.digest):
            raise StoreCorrupt(f"its file {path} is not what was written; put it back from a backup")
        yield last

    def has(self, artefact: StoredArtefact) -> bool:
        """Whether there is a file of the right size."""
        try:
            return self.path(artefact).stat().st_size == artefact.size
        except FileNotFoundError:
            return False

    def digests(self) -> Iterator[str]:
        """Those of all files there are."""
        with suppress(FileNotFoundError):
            for folder in self.folder.iterdir():
                if folder.is_dir():
                    yield from (folder.name + file.name for file in folder.iterdir())

    def remove(self, digest: str) -> int:
        """The file is no more; how many bytes it had."""
        path = self.folder / digest[:2] / digest[2:]
        size = path.stat().st_size
        path.unlink()
        return size

    def remove_unfinished(self) -> None:
        """Files that somebody began long ago and did not finish are no more."""
        with suppress(FileNotFoundError):
            for file in self.folder.glob(f"{_UNFINISHED}*"):
                if file.stat().st_mtime < time.time() - _ABANDONED:
                    file.unlink(missing_ok=True)


class ArtefactMemory:
    """The same in this process, for stores that end with it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        """Bytes by their digests."""

    def put(self, artefact: StoredArtefact, data: bytes) -> None:
        self.kept[artefact.digest] = data

    def pieces(self, artefact: StoredArtefact) -> Generator[bytes, None, None]:
        data = self.kept.get(artefact.digest)
        if data is None:
            raise StoreCorrupt("it is missing")
        if refer(data) != artefact:
            raise StoreCorrupt("it is not what was kept")
        yield data

    def digests(self) -> Iterator[str]:
        return iter(list(self.kept))

    def remove(self, digest: str) -> int:
        return len(self.kept.pop(digest))


@contextmanager
def _mapping_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
        told = kind(f"artefact {path}: {error.strerror}")
        told.may_pass = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)
        raise told from error
