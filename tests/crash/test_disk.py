"""A disk that is full costs time and nothing else."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, line, sql, started, until
from treadle import SqliteStateStore, StageStatus, StoreFull
from treadle.stores.sqlite_writer import Writer

pytestmark = pytest.mark.may_block  # other processes are what is tested: this one only waits for them

SCRIPT = """
import asyncio, logging, os, sys, time
from treadle import Engine, Workflow, open_store

witness = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
flow = Workflow("disk")
logging.basicConfig(level=logging.WARNING)


@flow.stage
async def make(item):
    os.write(witness, f"ran {item['id']}\\n".encode())
    # Some end when the disk is full, and not before: so it is never full between one stage and the next alone.
    while item["id"].endswith("0") and not os.path.exists(sys.argv[5]):
        await asyncio.sleep(0.005)
    return "x" * 4_000


@flow.stage
async def measure(item, make):
    return len(make)


def acknowledged(state, change):
    for row in change.stages:
        if row.state == "completed":
            os.write(witness, f"ack {state.id} {row.stage}\\n".encode())


async def watch():
    longest, last = 0.0, time.monotonic()
    while True:
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if now - watch.said > 0.5:
            watch.said = now
            with open(sys.argv[3], "w") as lag:
                lag.write(str(longest))
            longest = 0.0


watch.said = 0.0


async def main():
    async with open_store(sys.argv[1]) as store, Engine(flow, store) as engine:
        engine.observe(acknowledged)
        watching = asyncio.create_task(watch())
        print("up", flush=True)
        report = await engine.run(({"id": f"i{n}"} for n in range(int(sys.argv[4]))), concurrency=20)
        watching.cancel()
        print(report.completed, report.failed, flush=True)


asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(SCRIPT)
    return tmp_path / "app.py"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, with room for the log of a whole run however little of it goes into one commit."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(ballast: Path) -> None:
    """Not one more page fits on the disk."""
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, b"\0" * 4096)
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - the disk is full: that is what was wanted
    finally:
        os.close(handle)


def waits(errors: Path) -> bool:
    """Whether the process says that it waits for room."""
    return "changes wait until it can be written" in errors.read_text()


def acknowledged(witness: Path) -> set[tuple[str, str]]:
    words = [text.split() for text in witness.read_text().splitlines()]
    return {(said[1], said[2]) for said in words if said[0] == "ack"}


def stored(path: Path) -> set[tuple[object, ...]]:
    return set(sql(path, "SELECT item_id, stage FROM stage_statuses WHERE state = 'completed'"))


def finish(script: Path, store: Path, witness: Path, items: int, process: subprocess.Popen[str]) -> None:
    assert line(process) == f"{items} 0"
    assert process.wait(10) == 0
    assert acknowledged(witness) == stored(store)
    assert len(stored(store)) == 2 * items
    # What ran once and waited for room did not run again.
    ran = [text for text in witness.read_text().splitlines() if text.startswith("ran")]
    assert len(ran) == len(set(ran)) == items
    check_invariants(store)


def test_a_run_waits_while_the_disk_is_full_and_goes_on_by_itself(script: Path, disk: Path, tmp_path: Path) -> None:
    store, witness, errors = disk / "s.db", tmp_path / "witness", tmp_path / "errors"
    ballast = disk / "ballast"
    with started(script, store, witness, tmp_path / "lag", "400", tmp_path / "full", text=errors) as process:
        assert line(process) == "up"
        until(lambda: witness.exists() and witness.stat().st_size > 1_000)
        fill(ballast)
        (tmp_path / "full").touch()
        until(lambda: waits(errors))
        before = witness.stat().st_size
        # Nothing is acknowledged that is not stored, and nothing has failed.
        assert acknowledged(witness) <= stored(store)
        assert process.poll() is None
        until(lambda: (tmp_path / "lag").exists() and float((tmp_path / "lag").read_text() or 1) < 0.5)
        ballast.unlink()
        finish(script, store, witness, 400, process)
        assert witness.stat().st_size > before


def test_a_limit_on_the_file_is_waited_out_as_well(script: Path, tmp_path: Path) -> None:
    store, witness, errors = tmp_path / "s.db", tmp_path / "witness", tmp_path / "errors"
    with started(script, store, witness, tmp_path / "lag", "1500", tmp_path / "full", text=errors) as process:
        assert line(process) == "up"
        until(lambda: witness.exists() and witness.stat().st_size > 500)
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (Path(f"{store}-wal").stat().st_size + 4_096, most))
        (tmp_path / "full").touch()
        until(lambda: waits(errors))
        assert acknowledged(witness) <= stored(store)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        finish(script, store, witness, 1_500, process)


def test_a_full_disk_does_not_keep_a_worker_from_ending(script: Path, disk: Path, tmp_path: Path) -> None:
    store, witness, errors = disk / "s.db", tmp_path / "witness", tmp_path / "errors"
    with started(script, store, witness, tmp_path / "lag", "400", tmp_path / "full", text=errors) as process:
        assert line(process) == "up"
        until(lambda: witness.exists() and witness.stat().st_size > 1_000)
        fill(disk / "ballast")
        (tmp_path / "full").touch()
        until(lambda: waits(errors))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    (disk / "ballast").unlink()
    assert acknowledged(witness) <= stored(store)
    with started(script, store, witness, tmp_path / "lag", "400", tmp_path / "full", text=errors) as process:
        assert line(process) == "up"
        assert line(process) == "400 0"
    assert acknowledged(witness) <= stored(store)
    check_invariants(store)


async def test_a_long_log_makes_room_on_a_full_disk(disk: Path) -> None:
    """What overwrites rows needs no more room than the log has, once that was moved into the file."""
    long = StageStatus.failed("x" * 20_000)
    async with SqliteStateStore.open(disk / "s.db") as store:
        for number in range(500):
            await store.set_status(number, "scan", long)
        assert isinstance(store._writer, Writer)
        store._writer._truncate_log()
        for number in range(300):
            await store.set_status(number, "scan", long)
        fill(disk / "ballast")

        async def goes_on() -> bool:
            try:
                for number in range(300, 350):
                    await store.set_status(number, "scan", long)
            except StoreFull:
                return False
            return True

        # The first is told that the disk is full; nobody makes room, and the next works.
        assert [await goes_on() for _ in range(2)] == [False, True]
