"""What a process did to its files, recorded by strace, and the files as a power cut could have left them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.lab import ROOT, Twist

_CALL = re.compile(r'^(\d+) +(\w+)\(\d+<([^>]*)>(?:, (?:"((?:\\x[0-9a-f]{2})*)"|(\d+)))?(.*)$')
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>.*= (-?\d+)")
SECTOR = 512


class Op(NamedTuple):
    """One call that took effect."""

    call: str
    file: str
    data: bytes = b""
    at: int = 0


def traced(options: Sequence[str], *words: Any, twists: Sequence[Twist] = ()) -> subprocess.CompletedProcess[str]:
    """A process that does a function of ``apps`` under strace."""
    plain = [str(word) if isinstance(word, Path) else word for word in words]
    order = {"start": plain, "twists": list(twists), "errors": "/dev/null"}
    code = "import json, sys; from tests.crash import nursery; nursery.become(json.loads(sys.argv[1]))"
    command = ["strace", "-f", *options, sys.executable, "-c", code, json.dumps(order)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def record(log: Path, *words: Any, twists: Sequence[Twist] = ()) -> list[Op]:
    """Everything that the process wrote, cut and synced, in the order in which that was done."""
    options = ["-y", "-xx", "-s", "1000000", "-e", "trace=pwrite64,write,fsync,fdatasync,ftruncate", "-o", str(log)]
    done = traced(options, *words, twists=twists)
    assert done.returncode == 0, done.stderr
    return list(_ops(log.read_text(errors="replace").splitlines()))


def _ops(lines: Sequence[str]) -> Iterator[Op]:
    pending: dict[str, Op] = {}
    for line in lines:
        if resumed := _RESUMED.match(line):
            op = pending.pop(resumed[1], None)
            if op is not None and int(resumed[2]) >= 0:
                yield op
        elif found := _CALL.match(line):
            pid, call, file, text, number, rest = found.groups()
            file = bytes.fromhex(file.replace("\\x", "")).decode() if file.startswith("\\x") else file
            data = bytes.fromhex((text or "").replace("\\x", ""))
            place = re.match(r", \d+, (\d+)", rest)
            op = Op(call, file, data, int(number or 0) if call == "ftruncate" else int(place[1]) if place else 0)
            if "<unfinished" in rest:
                pending[pid] = op
            elif not re.search(r"= -1", rest):
                yield op


class Disk:
    """Files with what is certain of them, and what a power cut may still undo."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._certain = {name: bytearray(data) for name, data in files.items()}
        self._open: dict[str, list[Op]] = {name: [] for name in files}

    def do(self, op: Op) -> None:
        """It happened; what was written before a sync is certain after it."""
        if op.file not in self._certain:
            return
        if op.call in ("fsync", "fdatasync"):
            for one in self._open[op.file]:
                _apply(self._certain[op.file], one, one.data)
            self._open[op.file] = []
        else:
            self._open[op.file].append(op)

    def after_a_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files then: of what was not synced, each piece is there, is not, or is torn."""
        left = {}
        for name, data in self._certain.items():
            image = bytearray(data)
            for op in self._open[name]:
                if (luck := chance.random()) < 0.4:
                    _apply(image, op, op.data)
                elif luck < 0.7:
                    _tear(image, op, chance)
            left[name] = bytes(image)
        return left


def _apply(image: bytearray, op: Op, data: bytes) -> None:
    if op.call == "ftruncate":
        del image[op.at :]
        image.extend(b"\0" * (op.at - len(image)))
        return
    image.extend(b"\0" * (op.at + len(data) - len(image)))
    image[op.at : op.at + len(data)] = data


def _tear(image: bytearray, op: Op, chance: random.Random) -> None:
    """Some sectors of it were written."""
    for start in range(0, len(op.data), SECTOR):
        if chance.random() < 0.5:
            piece = op.data[start : start + SECTOR]
            _apply(image, op._replace(at=op.at + start), piece)
