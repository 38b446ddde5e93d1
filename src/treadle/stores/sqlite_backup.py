"""A whole copy of a SQLite store, made beside whoever works on it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from treadle.clock import now_us
from treadle.durable_files import sync
from treadle.errors import StoreCorrupt, StoreUnavailable
from treadle.stores import sqlite_artefacts, sqlite_workers
from treadle.stores.artefact_files import ArtefactFiles
from treadle.stores.shared import naming
from treadle.stores.sqlite_reading import open_for_reading
from treadle.stores.sqlite_schema import connect, mapping_errors


def back_up(source: str, target: Path) -> int:
    """``target`` is a store on disk as ``source`` was at one moment, with its large artefacts; its size in bytes.

    Nobody holds an item of the copy: it opens as if all workers had died at that moment.

    Raises:
        StoreUnavailable: ``target`` is there already, and was left alone; or it cannot be made.
        StoreCorrupt: an artefact is missing or altered.
    """
    files = ArtefactFiles.of(target)
    for path in (target, files.folder):
        if path.exists():
            raise StoreUnavailable(f"{path} is there already; name a file that is not")
    con = open_for_reading(source)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        os.close(handle)
    except OSError as error:
        con.close()
        raise StoreUnavailable(f"{target} cannot be made: {error.strerror}") from error
    try:
        with mapping_errors(str(target)):
            con.execute("VACUUM INTO ?", (name,))
            _let_go(name)
            # First the artefacts: a copy that is there is whole.
            size = _copy_artefacts(name, ArtefactFiles.of(source), files)
        _keep(Path(name), target)
    except BaseException:
        shutil.rmtree(files.folder, ignore_errors=True)
        raise
    finally:
        con.close()
        Path(name).unlink(missing_ok=True)
    return target.stat().st_size + size


def _copy_artefacts(name: str, source: ArtefactFiles, target: ArtefactFiles) -> int:
    """Everything that something in the copy speaks of is beside it; how many bytes."""
    con, size = connect(name, read_only=True), 0
    try:
        for kept in sqlite_artefacts.kept(con):
            if not target.has(kept.artefact):
                with naming(kept.item_id, kept.stage):
                    target.put(kept.artefact, b"".join(source.pieces(kept.artefact)))
                size += kept.artefact.size
    finally:
        con.close()
    return size


def _let_go(name: str) -> None:
    copy = connect(name)
    try:
        copy.execute("BEGIN IMMEDIATE")
        sqlite_workers.free(copy, sqlite_workers.enlisted(copy), now_us())
        copy.execute("COMMIT")
        if (said := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreCorrupt(f"the store is damaged, and so would be its copy: {said}; see `treadle doctor --deep`")
    except sqlite3.Error:
        if copy.in_transaction:
            copy.execute("ROLLBACK")
        raise
    finally:
        copy.close()


def _keep(name: Path, target: Path) -> None:
    """The bytes are on disk under their name, and took nobody else's place."""
    sync(name)
    try:
        os.link(name, target)
    except FileExistsError as error:
        raise StoreUnavailable(f"{target} is there already; name a file that is not") from error
    except OSError:
        # A file system without links: the name was free a moment ago.
        name.rename(target)
    sync(target.parent)
