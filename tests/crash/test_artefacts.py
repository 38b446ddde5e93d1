"""Large artefacts through kills, backups and the command line: never a row without its bytes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.crash.lab import check_invariants, ran, sql, started, treadle
from treadle import open_store
from treadle.artefact import parse
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.stores.artefact_files import ArtefactFiles
from treadle.stores.sqlite_health import Weight, examine

pytestmark = pytest.mark.may_block  # processes and files are what is tested

SCRIPT = """
import asyncio, os, signal, sys
from treadle import Engine, Workflow, open_store
from treadle.stores import artefact_files, sqlite_writer

flow = Workflow("big")


@flow.stage
async def make(item):
    return [item["id"]] + ["x" * 1000] * 3000


@flow.stage
async def use(item, make):
    return len(make)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(moment):
    files = artefact_files.ArtefactFiles
    if moment == "noted":
        files.put = die
    elif moment == "written":
        artefact_files.Path.replace = die
    elif moment == "renamed":
        replace = artefact_files.Path.replace
        artefact_files.Path.replace = lambda path, target: (replace(path, target), die())
    elif moment == "kept":
        put = files.put
        files.put = lambda *given: (put(*given), die())


async def main():
    kill_at(sys.argv[2])
    async with open_store(sys.argv[1]) as store, Engine(flow, store) as engine:
        print(await engine.run([{"id": f"i{n}"} for n in range(3)]))


asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "big.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def path(tmp_path: Path, script: Path) -> Path:
    """A store with three large artefacts."""
    done = ran(script, tmp_path / "s.db", "never")
    assert "3 completed" in done.stdout, done.stderr
    return tmp_path / "s.db"


def problems(path: Path, about: str, *, deep: bool = False) -> list[str]:
    return [f.said for f in examine(str(path), now_us(), is_gone, deep=deep) if f.about == about and f.weight is not Weight.GOOD]


def file_of(path: Path, item: str) -> Path:
    query = "SELECT artefact FROM stage_statuses WHERE item_id = ? AND stage = 'make'"
    return ArtefactFiles.of(path).path(parse(str(sql(path, query, item)[0][0])))


@pytest.mark.parametrize("moment", ["noted", "written", "renamed", "kept"])
def test_a_kill_at_any_moment_leaves_no_row_without_its_bytes(tmp_path: Path, script: Path, moment: str) -> None:
    path = tmp_path / "s.db"
    with started(script, path, moment) as child:
        assert child.wait(20) == -signal.SIGKILL
    assert sql(path, "SELECT count(*) FROM stages WHERE artefact IS NOT NULL") == [(0,)]
    assert problems(path, "artefacts") == []
    done = ran(script, path, "never")
    assert "3 completed" in done.stdout, done.stderr
    check_invariants(path)
    assert problems(path, "artefacts", deep=True) == []
    assert len(list(ArtefactFiles.of(path).digests())) == 3
    assert {file.stat().st_mode & 0o077 for file in path.parent.glob("s.db.artefacts/**/*")} == {0}


def test_they_are_written_out_in_pieces(path: Path) -> None:
    whole = json.loads(ran(*treadle("show", "i1", "make", "--artefact", "--store", path)).stdout)
    assert (whole[0], len(whole)) == ("i1", 3001)
    assert "bytes of application/json" in ran(*treadle("show", "i1", "--store", path)).stdout
    told = json.loads(ran(*treadle("show", "i1", "--format", "json", "--store", path)).stdout)["stages"][0]["artefact"]
    assert set(told) == {"digest", "size", "type"}
    lines = ran(*treadle("export", "--store", path)).stdout.splitlines()
    assert [json.loads(line)["artefacts"]["make"][0] for line in lines] == ["i0", "i1", "i2"]
    assert json.loads(lines[0])["artefacts"]["use"] == 3001
    assert ran(*treadle("show", "i1", "--artefact", "--store", path)).returncode == 2


def test_a_damaged_one_is_named_by_whatever_meets_it(path: Path, tmp_path: Path) -> None:
    file_of(path, "i1").write_bytes(b"[1]")
    file_of(path, "i2").unlink()
    assert problems(path, "artefacts") == ["2 large artefacts are missing or altered: 'i1' (make), 'i2' (make)"]
    done = ran(*treadle("show", "i1", "make", "--artefact", "--store", path))
    assert done.returncode == 3
    assert done.stderr.startswith("the artefact of stage 'make' of item 'i1': its file ")
    done = ran(*treadle("export", "--store", path))
    assert done.returncode == 1
    exported = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(line.get("damaged", {})) for line in exported] == [[], ["make"], ["make"]]
    assert [sorted(line["artefacts"]) for line in exported] == [["make", "use"], ["use"], ["use"]]
    done = ran(*treadle("backup", tmp_path / "copy.db", "--store", path))
    assert (done.returncode, "stage 'make' of item 'i1'" in done.stderr) == (3, True)
    assert not list(tmp_path.glob("copy*"))


def test_same_size_other_bytes_are_found_when_doctor_looks_deep(path: Path) -> None:
    file = file_of(path, "i1")
    file.write_bytes(file.read_bytes().replace(b"x", b"y", 1))
    assert problems(path, "artefacts") == []
    assert problems(path, "artefacts", deep=True) == ["1 large artefact is missing or altered: 'i1' (make)"]


async def test_a_backup_takes_them_along(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert ran(*treadle("backup", copy, "--store", path)).returncode == 0
    for file in ArtefactFiles.of(path).folder.glob("*/*"):
        file.unlink()
    whole = json.loads(ran(*treadle("show", "i2", "make", "--artefact", "--store", copy)).stdout)
    assert whole[0] == "i2"
    assert problems(copy, "artefacts", deep=True) == []
    async with open_store(copy) as store:
        assert (await store.counts()).items == 3


def test_files_that_belong_to_nobody_are_told_and_pruned(path: Path) -> None:
    con = ArtefactFiles.of(path)
    (con.folder / "ab").mkdir(exist_ok=True)
    (con.folder / "ab" / ("c" * 62)).write_text("lonely")
    assert problems(path, "orphans") == ["1 artefact file belongs to no item"]
    assert ran(*treadle("prune", "--older", "1d", "--store", path)).returncode == 0
    assert problems(path, "orphans") == []
    assert len(list(con.digests())) == 3
    assert ran(*treadle("prune", "--older", "0s", "--store", path)).returncode == 0
    assert list(con.digests()) == []
