"""``treadle review`` as a person meets it: the real command in a real terminal of 80 columns."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_review import APP, call, listed

pexpect = pytest.importorskip("pexpect")

KEYS = " help"
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z])")

Desk = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    assert call(tmp_path, "run", "app.py", "torn-a,torn-b,torn-c").returncode == 4
    (tmp_path / "drafts").mkdir()
    return tmp_path


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    opened: list[pexpect.spawn[str]] = []

    def sit_down(*words: str, editor: str = "true", reviewer: str = "ann", rows: int = 24) -> pexpect.spawn[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("TREADLE_")}
        env |= {"EDITOR": editor, "TERM": "xterm-256color", "TMPDIR": str(folder / "drafts"), "LANG": "C.UTF-8"}
        env.pop("VISUAL", None)
        child = pexpect.spawn(
            sys.executable,
            ["-m", "treadle.cli", "review", "--reviewer", reviewer, *words],
            cwd=str(folder), env=env, dimensions=(rows, 80), timeout=20, encoding="utf-8",
        )  # fmt: skip
        opened.append(child)
        return child

    yield sit_down
    for child in opened:
        child.close(force=True)


def scripted(folder: Path, *bodies: str) -> str:
    """An editor that does the first body when it is first called, the second one then, and so on."""
    path = folder / "editor.py"
    path.write_text(
        "import re, sys\nfrom pathlib import Path\n"
        f"count, file = Path({str(folder / 'calls')!r}), Path(sys.argv[1])\n"
        "number = int(count.read_text()) if count.exists() else 0\n"
        "count.write_text(str(number + 1))\n"
        "text = file.read_text()\n"
        f"exec({list(bodies)!r}[number])\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{sys.executable} {path}"


def on(child: pexpect.spawn[str], item: str, stage: str = "concepts") -> str:
    """What stood on the screen up to the keys of this review."""
    child.expect(f"{item}.* · .*{stage}")
    child.expect(KEYS)
    return child.before or ""


def bye(child: pexpect.spawn[str], code: int = 0) -> str:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert "\x1b[?1049l" in child.before
    return str(child.before)


def test_one_key_a_decision_and_the_next_one_loads_itself(folder: Path, desk: Desk) -> None:
    child = desk()
    on(child, "torn-a")
    assert listed(folder, "--holder", "ann") == [("torn-a", "concepts")]
    child.send("x")  # no key: nothing happens
    child.send("a")
    child.expect("✓ torn-a · concepts approved")
    on(child, "torn-b") if "torn-b" not in (child.before or "") else child.expect(KEYS)
    child.send("r")
    child.expect("Why reject\\?")
    child.send("\r")
    child.expect("Say it in a few words")
    child.send("too thinn\x7f, \u00e4h\r")
    child.expect("✓ torn-b · concepts rejected")
    child.expect(KEYS)
    child.send("c")
    child.expect("What should change\\?")
    child.send("\x1b")
    child.expect(KEYS)
    child.send("c")
    child.expect("What should change\\?")
    child.send("name the tables\r")
    child.expect("Nothing more waits for you")
    child.expect("undo")
    child.send("q")
    assert "3 decided" in bye(child)
    assert "rejected by ann: too thin, \u00e4h" in call(folder, "status", "torn-b").stdout
    assert "the next attempt is told: name the tables" in call(folder, "show", "torn-c").stdout
    assert listed(folder) == []


def test_undo_brings_the_last_one_back_and_skip_leaves_it(folder: Path, desk: Desk) -> None:
    child = desk("--stage", "concepts")
    on(child, "torn-a")
    child.send("a")
    child.expect("torn-a · concepts approved")
    child.expect(KEYS)
    child.send("u")
    child.expect("torn-a · concepts was approved and waits again")
    child.expect(KEYS)
    child.send("u")
    child.expect("no decision of this sitting to undo")
    child.expect(KEYS)
    for item in "ab":
        child.send("s")
        child.expect(f"torn-{item} · concepts skipped")
        child.expect(KEYS)
    child.send("?")
    child.expect("request changes: one more attempt")
    child.expect("goes back")
    child.send(" ")
    child.send("\x1b")
    child.expect(KEYS)
    child.send("r")
    child.expect("Why reject")
    child.send("no\r")
    child.expect("Nothing more waits")
    child.expect("undo")
    child.send("u")
    child.expect("torn-c · concepts was rejected and waits again")
    child.expect(KEYS)
    child.send("q")
    summary = bye(child)
    assert "0 decided" in summary
    assert "2 skipped" in summary
    assert len(listed(folder)) == len(listed(folder, "--holder", "")) == 3


def test_an_edit_is_checked_shown_and_confirmed(folder: Path, desk: Desk) -> None:
    editor = scripted(
        folder,
        'file.write_text(text.replace(\'"words": 1\', \'"words": "many"\'))',
        "assert '# ' in text and 'words: ' in text and 'many' in text; file.write_text(text.replace('\"many\"', '7,,'))",
        "assert 'not JSON: line 6' in text; file.write_text(text.replace('7,,', '7'))",
        "file.write_text(text.replace('7', '8'))",
    )
    child = desk("--app", "app.py", editor=editor)
    on(child, "torn-a")
    child.send("e")
    child.expect("cannot be sent yet")
    child.expect("words: ")
    child.expect("edit again")
    child.send("e")
    child.expect("not JSON: line 6")
    child.expect("edit again")
    child.send("e")
    child.expect("your edit")
    child.expect('-  "words": 1')
    child.expect('\\+  "words": 7')
    child.expect("send this and approve")
    child.send("e")
    child.expect('\\+  "words": 8')
    child.expect("send this and approve")
    child.send("y")
    child.expect("✓ torn-a · concepts edited")
    child.expect(KEYS)
    child.send("q")
    bye(child)
    shown = json.loads(call(folder, "show", "torn-a", "concepts", "--format", "json").stdout)
    assert shown["stages"][0]["artefact"]["words"] == 8
    assert list((folder / "drafts").iterdir()) == []


def test_an_editor_that_fails_keeps_the_text(folder: Path, desk: Desk) -> None:
    editor = scripted(
        folder,
        "file.write_text(text.replace('1', '5')); raise SystemExit(1)",
        "assert 'exit code 1' in text and '5' in text",
    )
    child = desk(editor=editor)
    on(child, "torn-a")
    child.send("e")
    child.expect("ended with exit code 1")
    child.expect("Your text is kept in")
    child.expect("Esc")
    child.send("\x1b")
    child.expect("nothing was sent; your text is in")
    child.expect(KEYS)
    child.send("e")
    child.expect('\\+  "words": 5')
    child.expect("send this")
    child.send("\x1b")
    child.expect("nothing was sent")
    child.expect(KEYS)
    child.send("q")
    assert "an edit that was not sent is kept in" in bye(child)
    (kept,) = (folder / "drafts").rglob("*.json")
    assert '"words": 5' in kept.read_text()
    assert ("torn-a", "concepts") in listed(folder)


@pytest.mark.parametrize(
    ("editor", "says"), [("true", "nothing was changed"), ("no-such-editor", "cannot be started"), ("rm", "cannot be read")]
)
def test_editors_that_do_nothing_useful(desk: Desk, editor: str, says: str) -> None:
    child = desk(editor=editor)
    on(child, "torn-a")
    child.send("e")
    child.expect(says)
    child.send("\x1b")
    child.expect(KEYS)
    child.send("q")
    bye(child)


def test_who_decided_first_is_said_and_the_next_one_comes(folder: Path, desk: Desk) -> None:
    child = desk()
    on(child, "torn-a")
    # The claim is given back by somebody who shares the login, and decided by another.
    assert call(folder, "review", "release", "torn-a", "concepts").returncode == 0
    assert call(folder, "review", "approve", "torn-a", "concepts", "--reviewer", "bob").returncode == 0
    child.send("r")
    child.expect("Why reject")
    child.send("no\r")
    child.expect("× not rejected: ")
    child.expect("was approved by bob at")
    child.expect(KEYS)
    child.send("a")
    child.expect("torn-b · concepts approved")
    child.expect(KEYS)
    child.send("q")
    assert "1 decided" in bye(child)


def test_what_others_hold_is_passed_over(folder: Path, desk: Desk) -> None:
    assert call(folder, "review", "claim", "torn-a", "concepts", "--reviewer", "bob").returncode == 0
    child = desk()
    child.expect("torn-b")
    child.expect("passed over: torn-a: concepts is in the hands of bob")
    child.expect(KEYS)
    child.send("q")
    assert "1 passed over" in bye(child)


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_being_stopped_leaves_the_terminal_sane_and_the_claim_free(
    folder: Path, desk: Desk, by: signal.Signals, code: int
) -> None:
    child = desk()
    on(child, "torn-a")
    assert not child.getecho()
    child.sendintr() if by is signal.SIGINT else child.kill(by)
    assert "\x1b[?25h" in bye(child, code)
    assert listed(folder, "--holder", "ann") == []
    assert len(listed(folder)) == 3


def test_an_escalation_asks_which_attempt(folder: Path, desk: Desk) -> None:
    assert call(folder, "run", "app.py", "weak").returncode == 4
    child = desk("--asked-by", "escalation")
    child.expect("this waits")
    child.expect(KEYS)
    child.send("a")
    child.expect("Which attempt")
    child.expect("attempt 2")
    child.send("1")
    child.expect("weak · concepts approved")
    child.send("q")
    bye(child)
    shown = json.loads(call(folder, "show", "weak", "concepts", "--format", "json").stdout)
    assert shown["stages"][0]["artefact"]["words"] == 1


def test_a_screen_of_80_columns_obeys_no_data_and_scrolls(desk: Desk) -> None:
    child = desk(rows=16)
    screen = on(child, "torn-a")
    assert "\ufffd[2J[red]this[/red]" in screen
    for line in _ESCAPES.sub("", screen).replace("\r", "").split("\n"):
        assert sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) <= 80
        assert "\x1b" not in line
    child.send(" ")
    child.expect("lines \\d+–(\\d+) of \\1")
    child.send("\x1b[H")
    child.expect("lines 1–")
    child.setwinsize(30, 100)
    child.expect("─{98}")
    child.expect(KEYS)
    child.send("q")
    bye(child)


def test_nothing_to_do_is_said_without_a_screen(folder: Path, desk: Desk) -> None:
    child = desk("--stage", "index")
    child.expect("nothing waits for you")
    child.expect(pexpect.EOF)
    assert "\x1b" not in child.before


def test_status_does_not_load_what_only_reviews_need(folder: Path) -> None:
    code = (
        "import sys\nfrom treadle.cli import main\ntry: main(['status'])\nfinally:"
        " print([m for m in sys.modules if m.startswith(('treadle.cli.desk', 'treadle.cli.paint', 'jsonschema'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
