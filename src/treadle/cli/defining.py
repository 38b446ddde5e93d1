"""Commands about the definition: init, check, graph."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from treadle import drawing
from treadle.cli.common import WrongUse, load_app
from treadle.wording import counted

_PIPELINE = '''"""Counts the words of text files, and asks a person about the short ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from treadle import AwaitingReview, Completed, ReviewData, Workflow


@dataclass(frozen=True)
class Letter:
    id: str
    path: str


letters = Workflow("letters", item=Letter)


@letters.source
def scan(folder: Path = Path()) -> Iterator[Letter]:
    for path in sorted(folder.glob("*.txt")):
        yield Letter(path.name, str(path.resolve()))


@letters.stage
def words(letter: Letter) -> list[str]:
    return Path(letter.path).read_text().split()


@letters.stage
def checked(letter: Letter, words: list[str]) -> Completed | AwaitingReview:
    if len(words) >= 3:
        return Completed(len(words))
    return AwaitingReview(ReviewData(f"it is short ({' '.join(words)}): keep it?"))
'''
_TEST = """from pathlib import Path

from pipeline import letters, scan
from treadle import run


def test_letters(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("a letter of many words")
    (tmp_path / "short.txt").write_text("hello")
    report = run(letters, scan(tmp_path), store="memory:")
    assert (report.completed, report.awaiting_review) == (1, 1)
"""
_PROJECT = '[tool.treadle]\napp = "pipeline.py:letters"\nstore = "treadle.db"\n'


def init(folder: Path = Path()) -> int:
    """Write a small working pipeline and its test.

    Args:
        folder: where; here without it.
    """
    files = {"pipeline.py": _PIPELINE, "test_pipeline.py": _TEST, "pyproject.toml": _PROJECT}
    if there := [name for name in files if (folder / name).exists()]:
        raise WrongUse(f"{folder} already has {', '.join(there)}; nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise WrongUse(f"{folder} cannot be written: {error.strerror}") from error
    print(f"wrote {', '.join(files)} in {folder}; next: `treadle run pipeline.py FOLDER_OF_TEXTS`, and `pytest`")
    return 0


def check(app: str | None = None) -> int:
    """Find every problem of a workflow without running it.

    Args:
        app: file.py:name, module:name, or a file with one workflow.
    """
    workflow = load_app(app)
    workflow.validate()
    print(f"{workflow.name}: {counted(len(workflow.stages), 'stage')}, no problems")
    return 0


def graph(app: str | None = None, *, format: Literal["tree", "mermaid", "dot", "svg", "json"] = "tree") -> int:  # noqa: A002
    """Draw a workflow's stages.

    Args:
        app: file.py:name, module:name, or a file with one workflow.
        format: tree, mermaid, dot, svg or json.
    """
    workflow = load_app(app)
    stages = workflow.graph
    drawn = {
        "tree": lambda: drawing.tree(stages),
        "mermaid": lambda: drawing.mermaid(stages),
        "dot": lambda: drawing.dot(workflow.name, stages),
        "svg": lambda: drawing.svg(stages),
        "json": lambda: drawing.as_json(workflow.name, stages),
    }
    print(drawn[format]().rstrip("\n"))
    return 0
