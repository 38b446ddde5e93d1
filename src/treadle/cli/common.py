"""What commands share: where app and store are, and what may be printed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tomllib
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from treadle.artefact import StoredArtefact
from treadle.errors import StoreUnavailable, TreadleError
from treadle.store import StateStore
from treadle.stores.opening import Opening, open_store

Format = Literal["table", "json"]
DEFAULT_STORE = "treadle.db"
_NARROWEST = 8
"""Columns below which a cut cell says nothing any more."""


class WrongUse(TreadleError):
    """The command cannot do that; the message says what to give instead."""


def setting(name: str, given: str | None) -> str | None:
    """What was given, else ``TREADLE_<NAME>``, else ``[tool.treadle]`` in pyproject.toml here."""
    if given is not None:
        return given
    if found := os.environ.get(f"TREADLE_{name.upper()}"):
        return found
    try:
        table = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WrongUse(f"pyproject.toml cannot be read: {error}") from error
    value = table.get("tool", {}).get("treadle", {}).get(name)
    if value is not None and not isinstance(value, str):
        raise WrongUse(f"pyproject.toml: [tool.treadle] {name} is no string")
    return value


def store_url(given: str | None) -> str:
    """The address of the store."""
    return setting("store", given) or DEFAULT_STORE


def existing_store(given: str | None, *, read_only: bool = False) -> Opening[StateStore]:
    """A store that must be there: asking for its state must not make an empty one, nor change it (``read_only``)."""
    url = store_url(given)
    path = Path(url.removeprefix("sqlite:///"))
    if url != "memory:" and "://" not in url.removeprefix("sqlite:///") and not path.is_file():
        raise StoreUnavailable(f"no store at {url}; name one with --store or TREADLE_STORE, or make it with `treadle run`")
    return open_store(url, read_only=read_only)


def load_app(given: str | None) -> Any:
    """The workflow that ``file.py:name``, ``module:name`` or ``file.py`` names.

    Raises:
        WrongUse: it is not there, or is no workflow.
    """
    from treadle.workflow import Workflow

    app = setting("app", given)
    if app is None:
        raise WrongUse("which workflow? Give APP as file.py:name or module:name, or set [tool.treadle] app in pyproject.toml")
    where, _, name = app.rpartition(":") if ":" in app else (app, "", "")
    module = _module(where, app)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Workflow)}
    if name:
        if name not in found:
            raise WrongUse(f"{where} has no workflow {name!r}; it has {', '.join(found) or 'none'}")
        return found[name]
    if len(found) != 1:
        raise WrongUse(f"{where} has {len(found)} workflows ({', '.join(found) or 'none'}); name one as {where}:NAME")
    return next(iter(found.values()))


def _module(where: str, app: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where)
        if not path.is_file():
            raise WrongUse(f"no file {where}; APP is file.py:name or module:name")
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        if spec is None or spec.loader is None:
            raise WrongUse(f"{where} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except TreadleError:
        raise
    except (Exception, SystemExit) as error:
        raise WrongUse(f"{app} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def clean(text: object, *, lines: bool = False) -> str:
    """``text`` without what a terminal would obey: escapes, control characters, changes of direction."""
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else "\ufffd" for c in str(text))


def as_json(value: Any) -> str:
    """JSON for programs; times as ISO 8601, large artefacts as what stands for them."""
    return json.dumps(value, default=_plain, ensure_ascii=True, indent=2)


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, StoredArtefact) else str(value)


def table(head: list[str], rows: list[list[object]], *, width: int = 80) -> str:
    """Columns as wide as they need to be; where a line would be longer than ``width``, the widest ones are cut."""
    cells = [head, *([clean(cell) for cell in row] for row in rows)]
    widths = [max(cells_wide(row[column]) for row in cells) for column in range(len(head))]
    while (excess := sum(widths) + 2 * (len(widths) - 1) - width) > 0 and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        others = sorted(widths)[-2] if len(widths) > 1 else 0
        widths[widest] = max(widths[widest] - excess, min(others, widths[widest] - 1), _NARROWEST)
    return "\n".join("  ".join(fitted(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells)


def cells_wide(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fitted(text: str, width: int) -> str:
    """The text in exactly so many columns; cut, with a mark, if it is longer."""
    if (wide := cells_wide(text)) <= width:
        return text + " " * (width - wide)
    text = text[:width]
    while cells_wide(text) > width - 1:
        text = text[:-1]
    return text + "…" + " " * (width - 1 - cells_wide(text))


def terminal_width() -> int:
    """Columns of the terminal; a pipe has as many as it likes."""
    return os.get_terminal_size().columns if sys.stdout.isatty() else 200
