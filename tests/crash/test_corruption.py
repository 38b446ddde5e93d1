"""A damaged file opens with all that can be read, or is told as damage: no hang, no other error, never an empty store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.lab import LONG, Twist, until

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(1800 if LONG else 300)]  # other processes are what is tested

FILES, AT_ONCE, ITEMS = 1_000 if LONG else 200, 25, 40


def damaged(bench: Bench, whole: Path, copy: Path) -> bool:
    """Whether the log was damaged, and not the file: a copy with bytes changed, a page of zeros, a piece lost at its end, or a damaged log beside it."""
    chance, data = bench.chance, bytearray(whole.read_bytes())
    log = bytearray(Path(f"{whole}-wal").read_bytes())
    spoilt = log if chance.random() < 0.2 else data
    kind = chance.randrange(4)
    if kind == 0:
        for _ in range(chance.choice((1, 3, 30))):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    elif kind == 1:
        del spoilt[chance.randrange(1, len(spoilt)) :]
    elif kind == 2:
        page = chance.randrange(len(spoilt) // 4096) * 4096
        spoilt[page : page + 4096] = bytes(4096)
    else:
        here, there = (chance.randrange(len(spoilt) // 4096) * 4096 for _ in range(2))
        spoilt[here : here + 4096], spoilt[there : there + 4096] = spoilt[there : there + 4096], spoilt[here : here + 4096]
    copy.write_bytes(data)
    Path(f"{copy}-wal").write_bytes(log)
    return spoilt is log


def looked_at(bench: Bench, folder: Path, number: int, *twists: Twist) -> Sequence[str]:
    """What went wrong with so many damaged files."""
    names = [folder / f"{number}-{n}.db" for n in range(AT_ONCE)]
    # SQLite takes damage in the log for its end, as after a power cut: what only the log held may be gone, and nothing else.
    logs = {str(name) for name in names if damaged(bench, folder / "s.db", name)}
    said = folder / f"{number}.said"
    process = bench.start(folder, "look", str(said), ITEMS, *names, twists=twists)
    try:
        until(lambda: process.code is not None, 60)
    except AssertionError:
        return [f"it hangs at {said.read_text().splitlines()[-1:]}"]
    for name in names:
        for end in ("", "-wal", "-shm"):
            Path(f"{name}{end}").unlink(missing_ok=True)
    lines = said.read_text().splitlines()
    found = [line for line in lines if not line.endswith((" clean", " StoreCorrupt"))]
    found = [line for line in found if not (line.split()[0] in logs and line.endswith(f" has {ITEMS - 5} items"))]
    return found + ([] if len(lines) == AT_ONCE else [f"it died: {process.errors.read_text()[-500:]}"])


def store(bench: Bench) -> Path:
    """A folder with a store whose log holds a part of it."""
    folder = bench.folder()
    with bench.start(folder, "rich", folder / "live.db", ITEMS, folder / "up"):
        until((folder / "up").exists)
        for end in ("", "-wal"):
            shutil.copyfile(folder / f"live.db{end}", folder / f"s.db{end}")
    return folder


@pytest.mark.promise("a mutated or truncated file opens whole or is told as damaged; no hang")
def test_damage_is_found_and_told(bench: Bench, tally: Tally) -> None:
    folder = store(bench)
    for number in range(FILES // AT_ONCE):
        tally.case(looked_at(bench, folder, number), count=AT_ONCE)
    tally.check()


@pytest.mark.parametrize("twist", ["errors_as_they_are", "damage_is_passed_over"])
def test_the_lab_would_see(bench: Bench, tally: Tally, twist: str) -> None:
    folder, number = store(bench), 0
    while not tally.failures:
        assert number < 8
        tally.case(looked_at(bench, folder, number, (twist,)))
        number += 1
