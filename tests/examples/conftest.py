"""A site-packages folder to fill with distributions, sound ones and broken ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from examples.licence_audit.distributions import Distribution, scan

MIT = """\
Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

Install = Callable[..., Distribution]


@pytest.fixture
def mit() -> str:
    """The text of the MIT licence."""
    return MIT


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts a distribution into `tmp_path`: METADATA lines, and files by their path from there."""

    def put(metadata: str = "", files: Mapping[str, str] | None = None) -> Distribution:
        folder = tmp_path / "sample-1.0.dist-info"
        contents = {"METADATA": f"Metadata-Version: 2.4\nName: sample\nVersion: 1.0\n{metadata}"}
        contents |= {f"licenses/{name}": text for name, text in (files or {}).items()}
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return scan(tmp_path).distributions[0]

    return put
