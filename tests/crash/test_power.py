"""A power cut loses nothing that was acknowledged; nor does a death or an error at any system call. Only for `make crash`."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path

import pytest

from tests.crash.bench import Bench, Tally
from tests.crash.disk_tape import Disk, record, traced
from tests.crash.judge import Witness, faults, whole_lines
from tests.crash.lab import Twist, sql

pytestmark = [
    pytest.mark.may_block,  # other processes are what is tested
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed here"),
]

SMALL_LOG: Twist = ("small_log",)
CUTS = 2_000


def cut(bench: Bench, tally: Tally, cuts: int, *twists: Twist) -> None:
    """Record one run, and look at its files after power cuts at moments by chance."""
    folder = bench.folder()
    store, side = folder / "s.db", folder / "side"
    bench.start(folder, "fill", store, 60).finish()
    names = [str(store), f"{store}-wal"]
    before = {name: Path(name).read_bytes() if Path(name).exists() else b"" for name in names}
    ops = record(folder / "tape", "finish", store, side, twists=[SMALL_LOG, *twists])
    assert sum(op.call == "ftruncate" for op in ops) > 2, "the log was never moved into the file"
    told = [[name for word, name in whole_lines(op.data.decode()) if word == "ack"] if op.file == str(side) else [] for op in ops]
    assert any(told), "nothing was acknowledged"
    for number in range(cuts):
        disk, moment = Disk(before), bench.chance.randrange(len(ops))
        for op in ops[:moment]:
            disk.do(op)
        acknowledged = set(chain.from_iterable(told[:moment]))
        image = folder / "image.db"
        for name, data in disk.after_a_power_cut(bench.chance).items():
            Path(name.replace(str(store), str(image))).write_bytes(data)
        Path(f"{image}-shm").unlink(missing_ok=True)
        tally.case(_lost(image, acknowledged, number))
        if tally.failures:
            return


def _lost(image: Path, acknowledged: set[str], number: int) -> list[str]:
    done = {
        f"{item} {stage}" for item, stage in sql(image, "SELECT item_id, stage FROM stage_statuses WHERE state = 'completed'")
    }
    found = [f"{name} was acknowledged and is lost" for name in acknowledged - done]
    return found + (faults(image) if number % 20 == 0 else [row[0] for row in sql(image, "PRAGMA quick_check") if row[0] != "ok"])


@pytest.mark.promise("an acknowledged write survives a power cut (unsynced writes dropped or torn)")
def test_a_power_cut_loses_nothing_acknowledged(bench: Bench, tally: Tally) -> None:
    cut(bench, tally, CUTS)
    tally.check()


def test_the_lab_would_see_what_is_not_synced(bench: Bench, tally: Tally) -> None:
    cut(bench, tally, CUTS, ("sync_less",))
    assert tally.failures


@pytest.mark.promise("a death or an error at any write, cut or sync loses nothing (system calls)")
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_every_system_call_may_be_the_last_or_fail(bench: Bench, tally: Tally, fault: str) -> None:
    calls = "pwrite64,fdatasync,ftruncate"
    for number in range(1, 1_000):
        folder = bench.folder()
        store, side = folder / "s.db", folder / "side"
        bench.start(folder, "fill", store, 12).finish()
        options = ["-qq", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={number}", "-o", str(folder / "tape")]
        done = traced(options, "finish", store, side, twists=[SMALL_LOG])
        happened = "INJECTED" in (folder / "tape").read_text() or done.returncode != 0
        if done.returncode != 0:
            bench.start(folder, "finish", store, side).finish()
        tally.case(faults(store, Witness(side), ended=True))
        if not happened:
            break
    tally.check()
