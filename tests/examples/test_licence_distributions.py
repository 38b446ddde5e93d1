"""A broken distribution is reported, and stops neither the scan nor the others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.licence_audit.distributions import Distribution, recorded_files, scan, site_packages
from examples.licence_audit.facts import Size, entry_points, native_files, requirements, size_on_disk
from examples.licence_audit.files import MOST_BYTES, write_text
from examples.licence_audit.licence_files import licence_files
from examples.licence_audit.metadata import Metadata, parse_metadata, read_metadata

METADATA = b"Metadata-Version: 2.1\nName: %b\nVersion: %b\n"


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_this_environment_is_listed():
    inventory = scan(site_packages())
    assert {"pytest", "license-expression"} <= {one.id.partition("==")[0] for one in inventory.distributions}


def test_ids_are_canonical_and_sorted(tmp_path):
    put(tmp_path, "Zope.Event-2.dist-info/METADATA", METADATA % (b"Zope.Event", b"2"))
    put(tmp_path, "A_b-1.dist-info/METADATA", METADATA % (b"A_b", b"1"))
    assert [one.id for one in scan(tmp_path).distributions] == ["a-b==1", "zope-event==2"]


@pytest.mark.parametrize(
    ("entry", "content", "id_", "problem"),
    [
        ("gone-1.0.dist-info/RECORD", b"", "gone==1.0", "no METADATA"),
        ("junk-1.0.dist-info/METADATA", bytes(range(256)) * 40, "junk==1.0", "no valid Name"),
        ("nul-1.0.dist-info/METADATA", METADATA % (b"n\x00ul", b"1.0"), "nul==1.0", None),
        ("bad-1.0.dist-info/METADATA", METADATA % (b"../../etc", b"1.0"), "bad==1.0", "no valid Name"),
        ("esc-1.0.dist-info/METADATA", METADATA % (b"esc", b"1\x1b[31m ;rm"), "esc==1.0", "no valid Version"),
        ("latin-1.dist-info/METADATA", METADATA % (b"latin", b"1") + b"Author: Jos\xe9\n", "latin==1", None),
        ("old-1.0-py3.11.egg-info", METADATA % (b"old", b"1.0"), "old==1.0", None),
        ("egg-1.0-py3.11.egg-info/PKG-INFO", METADATA % (b"egg", b"1.0"), "egg==1.0", None),
        ("egg-1.0-py3.11.egg-info/top_level.txt", b"", "egg==1.0", "no METADATA"),
        ("plain.dist-info/METADATA", b"", "plain==unknown", "no valid Version"),
    ],
)  # fmt: skip
def test_a_broken_distribution_keeps_its_name(tmp_path, entry, content, id_, problem):
    put(tmp_path, entry, content)
    inventory = scan(tmp_path)
    assert [one.id for one in inventory.distributions] == [id_]
    assert [problem in one.reason for one in inventory.problems] == ([True] if problem else [])
    metadata = read_metadata(inventory.distributions[0].folder) or Metadata()
    assert licence_files(inventory.distributions[0], metadata) == ()


def test_a_name_that_cannot_be_written_is_a_problem(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9-1.0.dist-info")).mkdir()
    put(tmp_path, "fine-1.0.dist-info/METADATA", METADATA % (b"fine", b"1.0"))
    put(tmp_path, os.fsdecode(b"fine-1.0.dist-info/LICENSE-\xe9\x1b[2J"), b"text")
    inventory = scan(tmp_path)
    assert [problem.entry for problem in inventory.problems] == ["caf-1.0.dist-info"]
    (file,) = licence_files(inventory.distributions[0], Metadata())
    assert file.name == "LICENSE-[2J"


def test_what_has_no_name_at_all_is_a_problem(tmp_path):
    put(tmp_path, "-.dist-info/METADATA", b"")
    put(tmp_path, "~ip-23.0.dist-info/METADATA", METADATA % (b"pip", b"23.0"))
    inventory = scan(tmp_path)
    assert inventory.distributions == ()
    assert len(inventory.problems) == 2


def test_the_second_of_two_alike_is_a_problem(tmp_path):
    put(tmp_path, "Twin-1.dist-info/METADATA", METADATA % (b"Twin", b"1"))
    put(tmp_path, "twin-1.dist-info/METADATA", METADATA % (b"twin", b"1"))
    put(tmp_path, "twin-2.dist-info/METADATA", METADATA % (b"twin", b"2"))
    inventory = scan(tmp_path)
    assert [one.id for one in inventory.distributions] == ["twin==1", "twin==2"]
    assert "twin==1 is listed already" in inventory.problems[0].reason


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "nowhere")


def test_licence_files_are_found_where_tools_put_them(tmp_path, install):
    distribution = install(
        "License-File: terms/LGPL\nLicense-File: README.md\n",
        {"terms/LGPL": "a", "AUTHORS": "b", "README.md": "c"},
    )
    put(distribution.folder, "COPYING", b"d")
    put(distribution.folder, "WHEEL", b"e")
    put(tmp_path, "sample/vendored/LICENSE.txt", b"f")
    put(tmp_path, "sample/license.py", b"g")
    put(
        distribution.folder,
        "RECORD",
        b"sample/vendored/LICENSE.txt,,\nsample/license.py,,\nsample/LICENSE,,\n",
    )
    metadata = read_metadata(distribution.folder)
    found = {file.name: file.bundled for file in licence_files(distribution, metadata)}
    assert found == {"COPYING": False, "licenses/terms/LGPL": False, "sample/vendored/LICENSE.txt": True}


def test_a_record_cannot_reach_outside(tmp_path, install):
    put(tmp_path.parent, "LICENSE", b"secret")
    distribution = install()
    put(distribution.folder, "RECORD", f"../LICENSE,,\n{tmp_path.parent}/LICENSE,,\nLICEN\0SE,,\n".encode())
    assert licence_files(distribution, Metadata()) == ()
    assert size_on_disk(distribution).files == 2


def test_a_huge_licence_file_is_read_in_part(install):
    distribution = install()
    (distribution.folder / "LICENSE").write_bytes("é".encode() * (25 << 20))
    (file,) = licence_files(distribution, Metadata())
    assert (file.whole, len(file.text)) == (False, MOST_BYTES // 2)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_a_pipe_named_license_is_not_opened(install):
    distribution = install()
    os.mkfifo(distribution.folder / "LICENSE")
    assert licence_files(distribution, Metadata()) == ()


def test_facts_are_read_from_metadata_and_record(tmp_path, install):
    distribution = install("Requires-Dist: attrs>=20; python_version < '3'\nRequires-Dist: six\n")
    put(distribution.folder, "entry_points.txt", b"[console_scripts]\nRun = sample:main\n[empty]\nbroken\n")
    put(tmp_path, "sample/_fast.cpython-311.so", b"1234")
    put(tmp_path, "sample.libs/libz.so.1", b"12")
    put(
        distribution.folder,
        "RECORD",
        b"sample/_fast.cpython-311.so,,4\nsample.libs/libz.so.1,,2\nsample/gone.py,,\n",
    )
    assert requirements(distribution) == ("attrs>=20; python_version < '3'", "six")
    assert entry_points(distribution)[0] == "console_scripts: Run = sample:main"
    assert native_files(distribution) == ("sample/_fast.cpython-311.so", "sample.libs/libz.so.1")
    assert size_on_disk(distribution) == Size(bytes=6, files=2, missing=1)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"no section = here\n", b"[a\n", b"=\n[]\n=\n", b"[\0]\nx = y\n", b'"' + b"x" * 200_000]
)
def test_facts_of_broken_files_are_empty_or_partial(install, content):
    distribution = install()
    for name in ("entry_points.txt", "RECORD"):
        put(distribution.folder, name, content)
    assert isinstance(entry_points(distribution), tuple)
    assert isinstance(native_files(distribution), tuple)
    assert size_on_disk(distribution).bytes == 0


def test_a_distribution_without_a_record_has_no_files(tmp_path):
    assert recorded_files(Distribution(id="x==1", name="x", version="1", folder=tmp_path)) == ()


@given(st.text())
def test_any_metadata_can_be_read(text):
    assert parse_metadata(text).requires is not None


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "NOTICE"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
