"""What axe-core finds on a page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

_AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
_GRAVE = {"serious", "critical"}


@functools.cache
def _script() -> str:
    return _AXE.read_text("utf-8")


async def barriers(page: Page) -> list[str]:
    """Its serious findings: rule, and the first place."""
    if not _AXE.exists():
        pytest.skip("axe-core is not installed: `npm ci --ignore-scripts` in web/")
    await page.evaluate(_script())
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])} places)"
        for one in found["violations"]
        if one["impact"] in _GRAVE
    ]
