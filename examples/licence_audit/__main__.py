"""Audit a Python environment and say where the report lies: ``python -m examples.licence_audit [FOLDER]``."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import treadle
from treadle import Inbox, StateStore, TreadleError, open_store
from treadle.cli.common import table, terminal_width
from treadle.codec import Codec
from treadle.state import AskedBy
from treadle.status import overview
from treadle.store import Filter

from .audited import Audited
from .distributions import Distribution, site_packages
from .files import write_text
from .identify import Identification
from .licence_files import licence_files
from .metadata import Metadata
from .notice import notice
from .pipeline import audit, installed
from .sbom import sbom

_APPROVE = "Accept as it is: {treadle} review approve {item} {stage} --reviewer YOU --store licence-audit/audit.db"
_SETTLE = "Settle a licence: {python} -m examples.licence_audit.settle {item} EXPRESSION YOU"


def main() -> int:
    """Run the audit; repeated, it goes on from what it knows."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else site_packages()
    if not folder.is_dir():
        print(f"{folder} is no folder; name a site-packages folder", file=sys.stderr)
        return 2
    out = Path("licence-audit")
    out.mkdir(exist_ok=True)
    try:
        report = treadle.run(audit, installed(folder), store=out / "audit.db")
    except TreadleError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    asyncio.run(_tell(out))
    return 0


async def _tell(out: Path) -> None:
    async with open_store(out / "audit.db") as store:
        print("\n" + overview(await store.counts(), terminal_width()))
        await _print_waiting(store)
        known = [one async for one in _audited(store)]
    write_text(out / "sbom.cdx.json", sbom(known))
    write_text(out / "NOTICE", notice(known))
    print(f"\nThe report: {out / 'sbom.cdx.json'} (CycloneDX) and {out / 'NOTICE'}")


async def _print_waiting(store: StateStore) -> None:
    waiting = [review async for review in Inbox(store).waiting()]
    if not waiting:
        return
    print(f"\n{len(waiting)} need a person:")
    rows: list[list[object]] = [[f"● {review.item_id}", review.review.summary] for review in waiting]
    print(table(["item", "asks"], rows, width=terminal_width()) + "\n")
    for asked_by in dict.fromkeys(review.asked_by for review in waiting):
        first = next(review for review in waiting if review.asked_by is asked_by)
        how = _SETTLE if asked_by is AskedBy.GATE else _APPROVE
        print(how.format(treadle=_command("treadle"), python=_command("python"), item=first.item_id, stage=first.stage))


def _command(name: str) -> str:
    """How the reader can call a program of this environment: it may not be on the path."""
    here = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found is not None and Path(found) == here else os.path.relpath(here)


async def _audited(store: StateStore) -> AsyncIterator[Audited]:
    """Every distribution with its licence, for the report."""
    page = await store.page(Filter(), None, 1000)
    while page:
        for state in page:
            described, found = state.stages.get("metadata"), state.stages.get("identified")
            if described is None or described.artefact is None or state.payload is None:
                continue
            distribution: Distribution = Codec(Distribution).decode(state.payload, state.id)
            about: Metadata = Codec(Metadata).decode(described.artefact, state.id)
            known: Identification | None = None
            if found is not None and found.artefact is not None:
                known = Codec(Identification).decode(found.artefact, state.id)
            yield Audited(
                name=distribution.name,
                version=distribution.version,
                expression=known.expression if known is not None else None,
                summary=about.summary,
                homepage=about.homepage,
                files=licence_files(distribution, about),
            )
        page = await store.page(Filter(), page[-1].id, 1000)


if __name__ == "__main__":
    raise SystemExit(main())
