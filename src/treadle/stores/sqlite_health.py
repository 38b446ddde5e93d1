"""What may be wrong with a SQLite store, each with what to do about it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from treadle.artefact import StoredArtefact
from treadle.clock import from_us
from treadle.errors import StoreCorrupt
from treadle.state import Mode
from treadle.store import WorkerIdentity, WorkerRow
from treadle.stores import sqlite_artefacts, sqlite_workers
from treadle.stores.artefact_files import ArtefactFiles
from treadle.stores.sqlite_locks import lock_holder
from treadle.stores.sqlite_reading import open_for_reading
from treadle.stores.sqlite_schema import mapping_errors
from treadle.wording import counted

RACE_MENDED = (3, 51, 3)
_MB = 1024 * 1024
_LONG_LOG = 128 * _MB
_LITTLE_ROOM = 256 * _MB
_OVERDUE = 60_000_000
_LONG_REVIEW = 7 * 86_400_000_000
_SKEW = 5_000_000
_NAMED = 3
_MUCH_FREE = 16 * _MB
_MOSTLY_FREE = 0.25
"""A share of the file; what is below is used again soon."""

OPEN_ITEM = "payload IS NOT NULL AND worker IS NULL AND phase = 0"


class Weight(StrEnum):
    """How bad it is."""

    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing that was looked at."""

    about: str
    weight: Weight
    said: str
    do: str = ""
    """What to do about it; empty where there is nothing to do."""


class Patient(NamedTuple):
    """The store that is looked at."""

    con: sqlite3.Connection
    path: str
    now: int
    is_gone: Callable[[WorkerIdentity], bool]
    deep: bool


def examine(path: str, now: int, is_gone: Callable[[WorkerIdentity], bool], *, deep: bool = False) -> list[Finding]:
    """Everything that can be said of the store without changing it; ``deep`` also compares every index with its table."""
    con = open_for_reading(path)
    try:
        patient = Patient(con, path, now, is_gone, deep)
        with mapping_errors(path):
            damage = list(_file(patient))
            checks = () if any(f.about == "integrity" and f.weight is Weight.PROBLEM for f in damage) else _CHECKS
            return damage + [finding for check in checks for finding in check(patient)]
    finally:
        con.close()


def _file(patient: Patient) -> Iterator[Finding]:
    version = ".".join(map(str, sqlite3.sqlite_version_info))
    if sqlite3.sqlite_version_info < RACE_MENDED:
        said = f"SQLite {version} has a race between checkpoints and commits; Treadle keeps them apart"
        yield Finding("engine", Weight.NOTE, said, "let no other program write to this file, or use SQLite 3.51.3 or newer")
    else:
        yield Finding("engine", Weight.GOOD, f"SQLite {version}")
    if (mode := patient.con.execute("PRAGMA journal_mode").fetchone()[0]) != "wal":
        yield Finding("journal", Weight.NOTE, f"journal mode is {mode}", "nothing: the next worker turns the log on")
    pragma = "integrity_check" if patient.deep else "quick_check"
    try:
        told = [row[0] for row in patient.con.execute(f"PRAGMA {pragma}(20)")]
    except sqlite3.DatabaseError as error:
        told = [str(error)]
    if told == ["ok"]:
        more = "" if patient.deep else "; --deep compares every index too"
        yield Finding("integrity", Weight.GOOD, f"the file is whole{more}")
    else:
        do = "stop all workers, keep a copy of the file and its -wal, then restore the last backup (or `sqlite3 FILE .recover`)"
        yield Finding("integrity", Weight.PROBLEM, f"the file is damaged: {told[0]}", do)


def _growth(patient: Patient) -> Iterator[Finding]:
    file, log = Path(patient.path), Path(f"{patient.path}-wal")
    size, long = file.stat().st_size, log.stat().st_size if log.exists() else 0
    # A row that began before is two events.
    counts = {"item": "count(*)", "attempt": "count(*)", "event": "count(*) + count(began)"}
    rows = {row: patient.con.execute(f"SELECT {count} FROM {row}s").fetchone()[0] for row, count in counts.items()}
    said = ", ".join(counted(number, row) for row, number in rows.items())
    yield Finding("growth", Weight.GOOD, f"{size / _MB:,.1f} MB and {long / _MB:,.1f} MB of log; {said}")
    if long > _LONG_LOG:
        do = "end readers that are open for long (`treadle events -f`, SQL tools): a worker then moves it into the file"
        yield Finding("log", Weight.PROBLEM, f"the log has grown to {long / _MB:,.0f} MB", do)
    yield from _free_pages(patient, size)
    if (room := shutil.disk_usage(file.parent).free) < _LITTLE_ROOM:
        yield Finding(
            "disk", Weight.PROBLEM, f"{room / _MB:,.0f} MB are left on its disk", "make room: workers wait when it is full"
        )


def _free_pages(patient: Patient, size: int) -> Iterator[Finding]:
    free, pages = (patient.con.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("freelist_count", "page_count"))
    share = free / max(pages, 1)
    if share * size > _MUCH_FREE and share > _MOSTLY_FREE:
        do = (
            f"nothing, if as much is to come: it is used again; else `treadle drain`, and when all workers have ended"
            f" `sqlite3 {patient.path} VACUUM` (it needs room for a second copy)"
        )
        yield Finding("free", Weight.NOTE, f"{share * size / _MB:,.0f} MB of the file ({share:.0%}) are free pages", do)
    if left := patient.con.execute("SELECT count(*) FROM leftovers").fetchone()[0]:
        said = f"rows of {counted(left, 'pruned item')} are still to be removed"
        yield Finding("pruned", Weight.NOTE, said, "treadle prune --older 36500d goes on with that, and prunes nothing else")


def _workers(patient: Patient) -> Iterator[Finding]:
    control = sqlite_workers.control(patient.con)
    if control.mode is not Mode.RUNNING:
        said = f"the store is {control.mode.value}{' by ' + control.by if control.by else ''}: nobody claims"
        yield Finding("workers", Weight.PROBLEM, said, "treadle resume")
    known = sqlite_workers.enlisted(patient.con, holds=True)
    gone = [row for row in known if patient.is_gone(row.who)]
    for row in gone:
        said = f"worker {row.who.name} on {row.who.host} is gone and held {counted(row.holds, 'item')}"
        yield Finding("workers", Weight.NOTE, said, "nothing: the next worker takes them over")
    held = counted(_held(known) - _held(gone), "item")
    yield Finding("workers", Weight.GOOD, f"{len(known) - len(gone):,} at work, holding {held}")
    for row in known:
        if row.beat > patient.now + _SKEW:
            ahead = (row.beat - patient.now) / 1_000_000
            yield Finding(
                "clock", Weight.PROBLEM, f"the clock of worker {row.who.name} is {ahead:,.0f} s ahead of this one", _CLOCK
            )


def _held(workers: list[WorkerRow]) -> int:
    return sum(row.holds for row in workers)


def _lock(patient: Patient) -> Iterator[Finding]:
    holder = lock_holder(patient.path)
    if holder is None or not holder.is_stopped:
        return
    names = [row.who.name for row in sqlite_workers.enlisted(patient.con) if row.who.pid == holder.pid]
    who = f"worker {names[0]}, process {holder.pid}" if names else f"process {holder.pid}"
    said = f"{who}, was stopped while it wrote, and keeps the write lock: all others wait"
    yield Finding("lock", Weight.PROBLEM, said, f"let it go on (kill -CONT {holder.pid}) or end it (kill -KILL {holder.pid})")


_CLOCK = "set the clock (NTP): claims do not depend on it, but retries and reviews come due by it"


def _clock(patient: Patient) -> Iterator[Finding]:
    last = patient.con.execute("SELECT at FROM events ORDER BY cursor DESC LIMIT 1").fetchone()
    if last is not None and last[0] > patient.now + _SKEW:
        yield Finding("clock", Weight.PROBLEM, f"the journal's last event is from {_when(last[0])}, which is yet to come", _CLOCK)


def _unreadable(patient: Patient) -> Iterator[Finding]:
    bad = []
    for table in ("stages", "subtasks"):
        wrong = "typeof(s.state) <> 'integer' OR s.state NOT BETWEEN 0 AND 5 OR typeof(s.updated) <> 'integer'"
        query = (
            f"SELECT i.key, n.name FROM {table} s JOIN items i ON i.id = s.item LEFT JOIN names n ON n.id = s.stage WHERE {wrong}"
        )
        bad += [f"{key!r} ({stage})" for key, stage in patient.con.execute(query)]
    if bad:
        do = "mend the rows with a SQL tool, or cancel the items; all others go on"
        yield Finding("rows", Weight.PROBLEM, f"{counted(len(bad), 'row')} cannot be read: {_some(bad)}", do)


def _artefacts(patient: Patient) -> Iterator[Finding]:
    files, bad, number, size = ArtefactFiles.of(patient.path), list[str](), 0, 0
    for kept in sqlite_artefacts.kept(patient.con):
        number, size = number + 1, size + kept.artefact.size
        if not _is_whole(files, kept.artefact, deep=patient.deep):
            bad.append(f"{kept.item_id!r} ({kept.stage})")
    if bad:
        do = f"put the files back into {files.folder} from a backup, or `treadle rerun ITEM STAGE`; all other items go on"
        said = f"{counted(len(bad), 'large artefact', 'is', 'are')} missing or altered: {_some(bad)}"
        yield Finding("artefacts", Weight.PROBLEM, said, do)
    elif number:
        more = "" if patient.deep else "; --deep reads them too"
        yield Finding("artefacts", Weight.GOOD, f"{counted(number, 'large artefact')} in files, {size / _MB:,.1f} MB{more}")
    if lonely := sum(1 for _ in sqlite_artefacts.orphans(patient.con, files)):
        said = f"{counted(lonely, 'artefact file', 'belongs', 'belong')} to no item"
        yield Finding("orphans", Weight.NOTE, said, "treadle prune --older 36500d removes them, and prunes nothing else")


def _is_whole(files: ArtefactFiles, artefact: StoredArtefact, *, deep: bool) -> bool:
    if not deep:
        return files.has(artefact)
    try:
        for _ in files.pieces(artefact):
            pass
    except StoreCorrupt:
        return False
    return True


def _stuck(patient: Patient) -> Iterator[Finding]:
    stuck = _keys(patient, f"{OPEN_ITEM} AND wake IS NULL")
    if stuck:
        said = f"{counted(len(stuck), 'item', 'waits', 'wait')} for nothing: {_some(stuck)}"
        yield Finding("stuck", Weight.PROBLEM, said, "treadle retry ITEM, and report it")
    lost = _keys(patient, "worker IS NOT NULL AND worker NOT IN (SELECT id FROM workers)")
    if lost:
        do = "stop all workers, then: UPDATE items SET worker = NULL, wake = 0 WHERE worker NOT IN (SELECT id FROM workers)"
        said = f"{counted(len(lost), 'item', 'is', 'are')} held by nobody: {_some(lost)}"
        yield Finding("stuck", Weight.PROBLEM, said, do)
    late = _keys(patient, f"{OPEN_ITEM} AND wake < {patient.now - _OVERDUE}")
    if late:
        said = f"{counted(len(late), 'item', 'has', 'have')} been ready for more than a minute, taken by nobody: {_some(late)}"
        yield Finding("waiting", Weight.NOTE, said, "start a worker: treadle work APP, or treadle run APP")
    cut = _named(patient, "s.interruptions > 0 AND s.state IN (0, 1)")
    if cut:
        said = f"{counted(len(cut), 'stage', 'was', 'were')} interrupted and will run apart from others: {_some(cut)}"
        yield Finding("interrupted", Weight.NOTE, said, "nothing; treadle show ITEM tells who lost them")


def _failed(patient: Patient) -> Iterator[Finding]:
    poison = _named(patient, "s.interruptions >= 3 AND s.state = 3")
    if poison:
        do = "treadle show ITEM tells which workers died; mend the stage, or give it executor='process'; then treadle retry ITEM"
        said = f"{counted(len(poison), 'stage')} took a worker down each time: {_some(poison)}"
        yield Finding("interrupted", Weight.PROBLEM, said, do)
    failed = patient.con.execute("SELECT count(*) FROM items WHERE phase = 2").fetchone()[0]
    if failed:
        do = "`treadle items --state failed`, then `treadle retry --state failed`"
        yield Finding("failed", Weight.PROBLEM, f"{failed:,} failed", do)


def _reviews(patient: Patient) -> Iterator[Finding]:
    query = "SELECT count(*), min(opened) FROM reviews WHERE decision IS NULL"
    number, oldest = patient.con.execute(query).fetchone()
    if number:
        is_long = oldest < patient.now - _LONG_REVIEW
        said = f"{counted(number, 'review', 'waits', 'wait')} for a person, the oldest since {_when(oldest)}"
        yield Finding("reviews", Weight.PROBLEM if is_long else Weight.NOTE, said, "`treadle review list`")


_CHECKS = (_growth, _lock, _workers, _clock, _unreadable, _artefacts, _stuck, _failed, _reviews)


def _keys(patient: Patient, where: str) -> list[str]:
    return [repr(row[0]) for row in patient.con.execute(f"SELECT key FROM items WHERE {where} ORDER BY id")]


def _named(patient: Patient, where: str) -> list[str]:
    query = f"SELECT i.key, n.name FROM stages s JOIN items i ON i.id = s.item JOIN names n ON n.id = s.stage WHERE {where} ORDER BY i.id"
    return [f"{key!r} ({stage})" for key, stage in patient.con.execute(query)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")


def _when(moment: int) -> str:
    return f"{from_us(moment):%Y-%m-%d %H:%M} UTC"
