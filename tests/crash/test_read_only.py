"""What cannot be written can be read; what lies where locks do not hold is refused."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.lab import ran, treadle
from treadle import Engine, StageStatus, StoreCorrupt, StoreUnavailable, Workflow, open_store, run
from treadle.clock import now_us
from treadle.state import Transition
from treadle.stores.filesystem import ALLOW, network_filesystem

pytestmark = pytest.mark.may_block  # files are made and mounted by the test itself

READING = [
    ("status",), ("status", "x"), ("items",), ("show", "x"), ("events",), ("export",), ("doctor",), ("workers",), ("gates",),
    ("review", "list"), ("review", "stats"),
]  # fmt: skip


def flow() -> Workflow:
    made = Workflow("read")

    @made.stage
    async def body(item: dict[str, str]) -> str:
        return "done"

    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    run(flow(), [{"id": "x"}], store=tmp_path / "store" / "s.db")
    return tmp_path / "store"


@pytest.fixture
def mounted(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder once more, on a file system that cannot be written."""
    view = tmp_path / "view"
    view.mkdir()
    if subprocess.run(["mount", "--bind", folder, view], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        yield view
    finally:
        subprocess.run(["umount", view], check=True)


def test_every_reading_command_reads_on_a_read_only_file_system(folder: Path, mounted: Path) -> None:
    before = tree(folder)
    for words in READING:
        done = ran(*treadle(*words, "--store", mounted / "s.db"))
        assert done.returncode == 0, (words, done.stderr)
    assert tree(folder) == before
    assert ran(*treadle("pause", "--store", mounted / "s.db")).returncode == 3


def test_a_file_without_leave_to_write_is_read_and_not_changed(folder: Path) -> None:
    file = folder / "s.db"
    before = file.read_bytes()
    file.chmod(0o400)
    for words in READING:
        assert ran(*treadle(*words, "--store", file)).returncode == 0, words
    assert file.read_bytes() == before


async def test_what_would_write_is_refused_with_the_way_out(folder: Path) -> None:
    async with open_store(folder / "s.db", read_only=True) as store:
        assert (await store.counts()).items == 1
        with pytest.raises(StoreUnavailable, match="opened for reading only"):
            await store.set_status("x", "body", StageStatus.pending())
        state = await store.load("x")
        assert state is not None
        for number in (1, 2):
            refused = await store.commit_all([(state, Transition(now_us()))] * number)
            assert [type(error) for error in refused] == [StoreUnavailable] * number
            assert "opened for reading only" in str(refused[0])
    with pytest.raises(StoreUnavailable, match="no store at"):
        await open_store(folder / "none.db", read_only=True)
    assert not (folder / "none.db").exists()


async def test_a_log_that_cannot_be_read_is_not_left_out(folder: Path, mounted: Path) -> None:
    async with open_store(folder / "s.db") as store:
        await store.set_status("late", "body", StageStatus.completed())
        log = (folder / "s.db-wal").read_bytes()
    (folder / "s.db-wal").write_bytes(log)
    with pytest.raises(StoreUnavailable, match=r"s\.db-wal holds what is not in the file yet"):
        await open_store(mounted / "s.db", read_only=True)


async def test_a_reader_sees_what_a_writer_beside_it_writes(folder: Path) -> None:
    async with open_store(folder / "s.db") as store, open_store(folder / "s.db", read_only=True) as reader:
        await store.set_status("new", "body", StageStatus.completed())
        assert await reader.get_status("new", "body") == await store.get_status("new", "body")


async def test_a_store_copied_while_in_use_opens_clean_or_is_refused(tmp_path: Path) -> None:
    slow = Workflow("copied")

    @slow.stage
    async def first(item: dict[str, str]) -> str:
        return "x" * 2_000

    @slow.stage
    async def second(item: dict[str, str], first: str) -> int:
        return len(first)

    store, opened, refused = tmp_path / "s.db", 0, 0
    async with open_store(store) as live, Engine(slow, live) as engine:
        moving = asyncio.create_task(engine.run([{"id": f"i{n}"} for n in range(3_000)], concurrency=50))
        for number in range(20):
            copy = tmp_path / f"copy{number}.db"
            for end in ("", "-wal"):
                await asyncio.to_thread(shutil.copyfile, f"{store}{end}", f"{copy}{end}")
            await asyncio.sleep(0)
            try:
                async with open_store(copy) as taken:
                    counts = await taken.counts()
                    assert counts.items == sum(counts.phases.values())
                    opened += 1
            except StoreCorrupt:
                refused += 1
        assert (await moving).completed == 3_000
    assert opened + refused == 20
    assert opened


MOUNTS = """\
25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 25 0:40 / /home rw - nfs4 server:/home rw
41 40 8:2 / /home/local rw - xfs /dev/sda2 rw
42 25 0:41 / /mnt/with\\040space rw - cifs //server/share rw
43 25 0:42 / /over rw - ext4 /dev/sdb rw
44 43 0:43 / /over rw - fuse.sshfs server: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ann/s.db", "nfs4"), ("/home/local/s.db", None), ("/mnt/with space/s.db", "cifs"), ("/var/s.db", None),
        ("/over/s.db", "fuse.sshfs"), ("/homes/s.db", None),
    ],
)  # fmt: skip
def test_network_file_systems_are_told_apart(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == kind


async def test_a_store_on_a_network_file_system_is_refused_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.stores.filesystem.network_filesystem", lambda path: "nfs4")
    with pytest.raises(StoreUnavailable, match=f"lies on nfs4.*{ALLOW}=1"):
        await open_store(tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()
    monkeypatch.setenv(ALLOW, "1")
    async with open_store(tmp_path / "s.db") as store:
        assert (await store.counts()).items == 0
