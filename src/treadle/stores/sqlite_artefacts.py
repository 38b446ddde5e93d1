"""Which items of a SQLite store may speak of which large artefacts, and files that none speaks of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from treadle import artefact
from treadle.artefact import StoredArtefact
from treadle.stores.artefact_files import ArtefactFiles, ArtefactMemory
from treadle.stores.shared import artefact_of
from treadle.stores.sqlite_schema import connect

_SOME = 100
"""Files looked at in one transaction."""
_KNOWN = "SELECT 1 FROM artefacts a JOIN items i ON i.id = a.item WHERE reference >= ? AND reference < ? LIMIT 1"
_SPEAKING = "SELECT n.name FROM {table} t JOIN names n ON n.id = t.stage WHERE t.item = ? AND ? IN ({columns}) LIMIT 1"
_PLACES = {"stages": "t.artefact", "subtasks": "t.artefact", "attempts": "t.artefact", "reviews": "t.edited, t.output"}


class Kept(NamedTuple):
    """A large artefact that a stage of an item speaks of."""

    item_id: str
    stage: str
    artefact: StoredArtefact

    @property
    def where(self) -> str:
        """As messages begin."""
        return artefact_of(self.item_id, self.stage)


def note(con: sqlite3.Connection, item: int, reference: str) -> None:
    """From now on the file is not to be removed."""
    con.execute("INSERT OR IGNORE INTO artefacts VALUES (?, ?)", (item, reference))


def kept(con: sqlite3.Connection) -> Iterator[Kept]:
    """Every large artefact that something speaks of; what only was about to be spoken of is left out."""
    rows = con.execute("SELECT a.item, i.key, a.reference FROM artefacts a JOIN items i ON i.id = a.item ORDER BY a.item")
    for item, key, reference in rows:
        for table, columns in _PLACES.items():
            found = con.execute(_SPEAKING.format(table=table, columns=columns), (item, reference)).fetchone()
            if found is not None:
                yield Kept(key, found[0], artefact.parse(reference))
                break


def orphans(con: sqlite3.Connection, files: ArtefactFiles) -> Iterator[str]:
    """Digests of files that no item speaks of, or is about to."""
    return (digest for digest in files.digests() if _is_unknown(con, digest))


def collect(path: str, files: ArtefactFiles) -> tuple[int, int]:
    """Files that nobody speaks of are no more; how many there were, and their bytes."""
    files.remove_unfinished()
    con, digests = connect(path), files.digests()
    number = size = 0
    try:
        while some := list(islice(digests, _SOME)):
            con.execute("BEGIN IMMEDIATE")
            removed, freed = remove_unknown(con, files, some)
            con.execute("COMMIT")
            number, size = number + removed, size + freed
    finally:
        con.close()
    return number, size


def remove_unknown(con: sqlite3.Connection, files: ArtefactFiles | ArtefactMemory, digests: Iterable[str]) -> tuple[int, int]:
    """Those of the artefacts that nobody speaks of are no more; called in a write transaction.

    Whoever is about to speak of one says so, in a transaction, before they look whether it is there.
    """
    gone = [files.remove(digest) for digest in digests if _is_unknown(con, digest)]
    return len(gone), sum(gone)


def _is_unknown(con: sqlite3.Connection, digest: str) -> bool:
    return con.execute(_KNOWN, (f"@sha256:{digest}:", f"@sha256:{digest};")).fetchone() is None
