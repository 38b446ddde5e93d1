"""``treadle review --url`` in a real terminal: the desk of the command line, before the reviews of a server."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import treadle
from tests.web.conftest import Server, serving
from tests.web.pipeline import SAMPLE, letters
from treadle.web import Role
from treadle.web.private import private_folder
from treadle.web.users import Users

pexpect = pytest.importorskip("pexpect")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    treadle.run(letters, SAMPLE, store=tmp_path / "letters.db", concurrency=1)
    with serving(tmp_path / "letters.db", letters) as found:
        yield found


@pytest.fixture
def desk(server: Server, tmp_path: Path) -> Iterator[Any]:
    token = Users(private_folder(str(server.store))).add("bob", Role.REVIEWER)
    script = tmp_path / "editor.sh"
    script.write_text("#!/bin/sh\nsed -i 's/Well,/Good,/' \"$1\"\n")
    script.chmod(0o700)
    env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
    env |= {"TREADLE_TOKEN": token, "EDITOR": str(script), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env.pop("VISUAL", None)
    child = pexpect.spawn(
        sys.executable, ["-m", "treadle.cli", "review", "--url", server.url], env=env, dimensions=(40, 100), timeout=20, encoding="utf-8"
    )  # fmt: skip
    yield child
    child.close(force=True)


def test_the_desk_decides_edits_and_undoes_on_a_server(desk: Any) -> None:
    desk.expect("ask-1")
    desk.expect("bob")
    desk.send("a")
    desk.expect("ask-1 · summary approved")
    desk.expect("ask-2")
    desk.send("u")
    desk.expect("waits again")
    desk.send("a")
    desk.expect("ask-2")
    desk.send("e")
    desk.expect("your edit")
    desk.send("y")
    desk.expect("ask-2 · summary edited")
    desk.send("q")
    desk.expect(re.compile("2 decided.*1 approved, 1 edited"))
    desk.expect(pexpect.EOF)
