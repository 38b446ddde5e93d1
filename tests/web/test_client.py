"""``treadle.client`` and ``treadle review --url``: the same calls, the same answers, the same errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.web.conftest import Server
from tests.web.pipeline import letters
from treadle import (
    Approve,
    ApproveWithEdits,
    Inbox,
    InvalidArtefact,
    ItemNotFound,
    QualityFeedback,
    Reject,
    RequestChanges,
    ReviewConflict,
    ReviewFilter,
    StageNotFound,
    StoreUnavailable,
    TreadleError,
    open_store,
)
from treadle.client import Client
from treadle.state import Decided

ODD = "ask/3 ü"


def run(words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}
    return subprocess.run(
        [sys.executable, "-m", "treadle.cli", *words], capture_output=True, text=True, timeout=60, check=False, env=kept | more, stdin=subprocess.DEVNULL
    )  # fmt: skip


@pytest.fixture
def token(store_path: Path) -> str:
    """The token of bob, a reviewer."""
    added = run(["user", "add", "bob", "--role", "reviewer", "--store", str(store_path)])
    assert added.returncode == 0, added.stderr
    return added.stdout.strip().split()[-1]


@pytest.fixture
def client(token: str, server: Server) -> Client:
    return Client(server.url, token)


async def test_client_reads_what_the_inbox_reads(client: Client, store_path: Path) -> None:
    assert await client.name() == "bob"
    async with open_store(store_path) as store:
        inbox = Inbox(store)
        assert await client.list() == await inbox.list()
        assert await client.list(ReviewFilter(stage="summary", verdict="uncertain"), limit=2) == await inbox.list(limit=2)
        assert (await client.list(ReviewFilter(is_open=False))).reviews == []
        there, here = [asdict(await one.show(ODD, "summary")) for one in (client, Inbox(store, letters))]
        assert json.dumps(there, default=str) == json.dumps(here, default=str)
        assert await client.stats() == await inbox.stats()


async def test_client_decides_as_whoever_the_token_belongs_to(client: Client) -> None:
    held = await client.claim("ask-1", "summary", minutes=3)
    assert held.holder == "bob"
    await client.release("ask-1", "summary")
    await client.decide("ask-1", "summary", ApproveWithEdits({"title": "T", "words": 1, "urgent": True}, "short"))
    review = (await client.show("ask-1", "summary")).review
    assert (review.decision, review.reviewer, review.note) == (Decided.APPROVE_WITH_EDITS, "bob", "short")
    await client.undo("ask-1", "summary")
    await client.decide("ask-1", "summary", RequestChanges(QualityFeedback("again", guidance="slowly")))
    await client.decide(ODD, "summary", Approve(), revision=1, digest=(await client.show(ODD, "summary")).review.digest)
    assert (await client.bulk(ReviewFilter(item_id="ask-2"), Reject("no"), dry_run=True)).decided == 1
    assert (await client.bulk(ReviewFilter(item_id="ask-2"), Reject("no"))).decided == 1
    assert (await client.list()).reviews == []


async def test_client_raises_what_the_inbox_raises(client: Client) -> None:
    with pytest.raises(ItemNotFound, match="nobody"):
        await client.show("nobody", "summary")
    with pytest.raises(StageNotFound):
        await client.show("ask-1", "nowhere")
    with pytest.raises(InvalidArtefact) as found:
        await client.preview("ask-1", "summary", {"title": 3})
    assert [problem.partition(":")[0] for problem in found.value.problems] == ["title", "words"]
    with pytest.raises(ReviewConflict, match="look again"):
        await client.decide("ask-1", "summary", Approve(), revision=1, digest="other")
    await client.decide("ask-1", "summary", Approve())
    with pytest.raises(ReviewConflict, match="approved by bob"):
        await client.decide("ask-1", "summary", Reject("no"))
    with pytest.raises(TreadleError, match="bob is a reviewer; this takes a operator"):
        await client.reopen("ask-1", "summary", reason="why not")


async def test_client_says_who_is_refused_and_what_cannot_be_reached(server: Server) -> None:
    with pytest.raises(TreadleError, match="sign in"):
        await Client(server.url, "wrong").list()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await Client(f"http://127.0.0.1:{free.getsockname()[1]}", "x").list()
    for url in ("file:///etc/passwd", "ftp://example.org", "reviews.example.org"):
        with pytest.raises(ValueError, match="no address of a server"):
            Client(url, "x")


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A server that sends everybody on, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/taken")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", asked
    made.shutdown()
    thread.join()
    made.server_close()


async def test_client_takes_its_token_nowhere_else(elsewhere: tuple[str, list[str]]) -> None:
    url, asked = elsewhere
    with pytest.raises(TreadleError, match="302"):
        await Client(url, "secret").stats()
    assert asked == ["/api/v1/reviews/stats"]


def test_review_commands_work_against_a_server(token: str, server: Server, tmp_path: Path) -> None:
    at = ["--url", server.url]
    listed = run(["review", "list", "--format", "json", *at], TREADLE_TOKEN=token)
    assert {review["item_id"] for review in json.loads(listed.stdout)["reviews"]} == {"ask-1", "ask-2", ODD}
    assert "Is this one odd?" in run(["review", "show", ODD, "summary", *at], TREADLE_TOKEN=token).stdout
    assert "approved by bob" in run(["review", "approve", "ask-1", "summary", *at], TREADLE_TOKEN=token).stdout
    late = run(["review", "reject", "ask-1", "summary", "no", *at], TREADLE_TOKEN=token)
    assert (late.returncode, "approved by bob" in late.stderr) == (2, True)
    edit = tmp_path / "edit.json"
    edit.write_text('{"title": "A", "words": "many"}')
    wrong = run(["review", "edit", "ask-2", "summary", "--file", str(edit), *at], TREADLE_TOKEN=token)
    assert (wrong.returncode, "words" in wrong.stderr) == (2, True)
    secret = tmp_path / "token"
    secret.write_text(f"{token}\n")
    secret.chmod(0o600)
    done = run(["review", "bulk", "approve", "--yes", *at, "--token-file", str(secret)])
    assert "2 reviews approved by bob" in done.stdout, done.stderr
    assert "3 recent decisions" in run(["review", "stats", *at], TREADLE_TOKEN_FILE=str(secret)).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "needs a token"),
        (["--store", "x.db"], "--store does not go with --url"),
        (["--token-file", "missing"], "cannot be read"),
        (["--token-file", "open"], "others can read open"),
    ],
)
def test_a_token_is_yours_alone(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("open").write_text("token")
    Path("open").chmod(0o644)
    given = {"TREADLE_TOKEN": "x"} if "--store" in words else {}
    refused = run(["review", "list", "--url", "http://127.0.0.1:1", *words], **given)
    assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr


def test_a_server_that_is_away_is_an_unavailable_store() -> None:
    answer = run(["review", "list", "--url", "http://127.0.0.1:1"], TREADLE_TOKEN="x")
    assert (answer.returncode, "cannot be reached" in answer.stderr) == (3, True)
