"""Commands for whoever keeps a store: doctor, backup."""

from __future__ import annotations

import asyncio
from pathlib import Path

from treadle.cli.common import Format, WrongUse, as_json, clean, existing_store, store_url
from treadle.clock import now_us
from treadle.presence import is_gone
from treadle.stores.sqlite_backup import back_up
from treadle.stores.sqlite_health import Finding, Weight, examine

_MARKS = {Weight.GOOD: "✓", Weight.NOTE: "·", Weight.PROBLEM: "×"}


def doctor(*, deep: bool = False, store: str | None = None, format: Format = "table") -> int:  # noqa: A002 - the flag's name
    """What is wrong with the store or this machine, each with what to do. Ends with 1 if something is.

    Args:
        deep: compare every index with its table too; on a large file that takes minutes.
        store: the store's path or address.
        format: table or json.
    """
    path = _file(store)

    async def shape() -> str:
        async with existing_store(store, read_only=True) as opened:
            known = await opened.shape()
            return "none yet" if known is None else known.workflow

    findings = examine(path, now_us(), is_gone, deep=deep)
    is_whole = all(finding.weight is not Weight.PROBLEM for finding in findings if finding.about == "integrity")
    workflow = asyncio.run(shape()) if is_whole else "unknown"
    if format == "json":
        print(as_json({"store": path, "workflow": workflow, "findings": [finding._asdict() for finding in findings]}))
    else:
        print(clean(f"store {store_url(store)}: workflow {workflow}"))
        for finding in findings:
            print("\n".join(_lines(finding)))
    return 1 if any(finding.weight is Weight.PROBLEM for finding in findings) else 0


def _lines(finding: Finding) -> list[str]:
    said = clean(f"{_MARKS[finding.weight]} {finding.said}")
    return [said, f"    {clean(finding.do)}"] if finding.do else [said]


def backup(file: Path, *, store: str | None = None) -> int:
    """A whole copy of the store in FILE, made beside whoever works on it. FILE must not be there yet.

    Args:
        file: where the copy goes.
        store: the store's path or address.
    """
    size = back_up(_file(store), file)
    print(clean(f"{file}: {size:,} bytes, as the store was a moment ago"))
    return 0


def _file(store: str | None) -> str:
    url = store_url(store)
    existing_store(store)
    path = url.removeprefix("sqlite:///")
    if "://" in path or path == "memory:":
        raise WrongUse(f"{url} is no file; this command is for SQLite stores")
    return path
