"""``treadle serve`` and ``treadle user`` as commands: how they start, refuse, and end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.web.conftest import APP, ROOT, Server, eventually
from tests.web.pipeline import Letter, letters
from treadle import decide, open_store
from treadle.cli import main
from treadle.cli.common import load_app
from treadle.clock import now_us
from treadle.state import ItemPhase
from treadle.store import NewItem

Start = Callable[..., Server]


def call(*words: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command has ended."""
    start = ["-c", f"{code}; from treadle.cli import main; main()"] if code else ["-m", "treadle.cli"]
    return subprocess.run(
        [sys.executable, *start, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


@pytest.fixture
def server(store_path: Path, start_server: Start) -> Server:
    """Here it is a process."""
    return start_server(store_path)


def test_start_sign_in_stop(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    folder = server.store.with_name("letters.db.web")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "sign-in").read_text().strip() == server.link
    with httpx.Client(base_url=server.url, headers={"Origin": server.url, "Accept": "application/json"}) as client:
        assert client.get("/parts/header").status_code == 401
        assert client.post("/sign-in", data={"token": server.link.partition("#")[2]}).status_code == 200
        assert "letters" in client.get("/parts/header").text
        assert "server" not in client.get("/sign-in").headers
    assert server.stop(signal.SIGTERM) == 0
    assert not (folder / "sign-in").exists()


def test_without_app(store_path: Path, tmp_path: Path, start_server: Start) -> None:
    assert start_server(store_path, app="").stop(signal.SIGINT) == 0
    refused = call("serve", "--store", str(tmp_path / "no.db"))
    assert refused.returncode == 3
    assert "no store at" in refused.stderr


def test_port_in_use(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    refused = call("serve", APP, "--store", str(server.store), "--port", port)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another with --port, or --port 0 for a free one\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.py:flow"], "no file nowhere.py"),
        ([APP, "--host", "0.0.0.0"], "treadle user add"),
        ([APP, "--host", "::"], "treadle user add"),
        ([APP, "--port", "99999"], "cannot listen"),
        (
            [APP, "--host", "203.0.113.7", "--trusted-proxy-header", "X-User", "--trusted-proxy", "10.0.0.1"],
            "give another --host",
        ),
        ([APP, "--trusted-proxy-header", "X-User"], "go together"),
        ([APP, "--trusted-proxy-header", "X-User", "--trusted-proxy", "all"], "takes an address"),
        (["--work"], "which workflow?"),
        ([APP, "--concurrency", "0"], "1 or more"),
    ],
)
def test_wrong_use(tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words, "--store", str(tmp_path / "x.db")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_other_workflow(store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("import treadle\nother = treadle.Workflow('other')\n@other.stage\ndef one(item): ...\n")
    refused = call("serve", str(tmp_path / "other.py"), "--store", str(store_path), "--port", "0")
    assert refused.returncode == 2
    assert "belongs to workflow 'letters', not 'other'" in refused.stderr


def test_without_the_extra() -> None:
    refused = call("serve", APP, code="import sys; sys.modules['fastapi'] = None")
    assert refused.returncode == 2
    assert refused.stderr == "`treadle serve` needs fastapi: pip install 'treadle[web]'\n"


def test_team(store_path: Path, start_server: Start) -> None:
    store = ("--store", str(store_path))
    made = call("user", "add", "ann", "--role", "reviewer", *store)
    assert made.returncode == 0
    token = made.stdout.strip()
    assert "ann" in made.stderr
    assert call("user", "add", "ann", *store).returncode == 2
    assert call("user", "add", "bob", "--role", "king", *store).returncode == 2
    listed = json.loads(call("user", "list", "--format", "json", *store).stdout)
    assert [(user["name"], user["role"]) for user in listed] == [("ann", "reviewer")]
    assert "reviewer" in call("user", "list", *store).stdout
    server = start_server(store_path, "--host", "0.0.0.0", "--allow-host", "papers.example.org")
    assert server.link.endswith("/sign-in"), "there is no link for the owner where others can reach the server"
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    program = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/session", headers=program).json()["name"] == "ann"
    assert httpx.get(f"{url}/session", headers=program | {"Host": "papers.example.org"}).status_code == 200
    assert httpx.get(f"{url}/session", headers=program | {"Host": "evil.example"}).status_code == 421
    assert call("user", "remove", "ann", *store).returncode == 0
    assert httpx.get(f"{url}/session", headers=program).status_code == 401
    assert "no users" in call("user", "list", *store).stdout


def test_forwarded_addresses_are_not_believed(store_path: Path, start_server: Start) -> None:
    server = start_server(store_path, "--trusted-proxy-header", "X-Forwarded-User", "--trusted-proxy", "10.0.0.1")
    headers = {"X-Forwarded-User": "ann", "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1"}
    assert httpx.get(f"{server.url}/session", headers=headers).status_code == 401
    server.stop()
    believed = start_server(store_path, "--trusted-proxy-header", "X-Forwarded-User", "--trusted-proxy", "127.0.0.1")
    assert httpx.get(f"{believed.url}/session", headers=headers).json()["role"] == "viewer"


def test_work(tmp_path: Path, start_server: Start) -> None:
    path = tmp_path / "new.db"
    server = start_server(path, "--work")

    async def worked() -> None:
        flow = letters.definition
        async with open_store(path) as store:
            items = [NewItem(*flow.items.encode(Letter(f"item-{n}", "Dear all"))) for n in range(3)]
            assert not await store.add(items, decide.arrive(flow, now_us()))

            async def all_done() -> bool:
                return (await store.counts()).phases.get(ItemPhase.COMPLETED) == 3

            await eventually(all_done, "three items completed")

    asyncio.run(worked())
    assert server.stop(signal.SIGTERM) == 0


SLOW = """
import asyncio, pathlib, treadle
slow = treadle.Workflow("slow")
@slow.stage
async def wait(item):
    pathlib.Path(item["flag"]).touch()
    await asyncio.sleep(0.6)
    return "whole"
"""


def test_work_drains(tmp_path: Path, start_server: Start) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    flag, path = tmp_path / "flag", tmp_path / "slow.db"
    server = start_server(path, "--work", app=str(tmp_path / "slow.py"))

    flow = load_app(str(tmp_path / "slow.py")).definition

    async def begun() -> None:
        async with open_store(path) as store:
            await store.add([NewItem("a", json.dumps({"id": "a", "flag": str(flag)}))], decide.arrive(flow, now_us()))

    asyncio.run(begun())
    until = time.monotonic() + 20
    while not flag.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert server.stop(signal.SIGTERM) == 0

    async def state() -> str:
        async with open_store(path) as store:
            return (await store.get_all_statuses("a"))["wait"].state

    assert asyncio.run(state()) == "completed"


def test_port_is_free_again_at_once(server: Server, store_path: Path, start_server: Start) -> None:
    port = server.url.rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", int(port))):
        assert server.stop() == 0
    assert start_server(store_path, "--port", port).url == server.url
