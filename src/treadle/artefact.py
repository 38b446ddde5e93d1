"""What stands in a row for an artefact that is too large for it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from treadle.errors import StoreCorrupt

MAX_INLINE = 256 * 1024
"""Bytes of JSON that fit into a row; a larger artefact is kept beside the rows."""
MAX_ARTEFACT = 64 * 1024 * 1024
"""Bytes of JSON that one artefact may have."""
JSON_TYPE = "application/json"

_MARK = "@"
# No JSON text begins like this, so nothing that a stage returns can be taken for one.
_REFERENCE = re.compile(r"@sha256:([0-9a-f]{64}):([0-9]{1,12}):([a-z]+/[a-z0-9.+-]+)")


@dataclass(frozen=True, slots=True)
class StoredArtefact:
    """Stands for an artefact that is too large to be shown with other things; its bytes are kept beside the rows.

    Args:
        digest: SHA-256 of the bytes, in hexadecimal.
        size: how many bytes there are.
        type: what they are.
    """

    digest: str
    size: int
    type: str = JSON_TYPE

    @property
    def reference(self) -> str:
        """As rows have it."""
        return f"{_MARK}sha256:{self.digest}:{self.size}:{self.type}"

    def __str__(self) -> str:
        return f"{self.size:,} bytes of {self.type}, kept beside the rows (sha256 {self.digest[:12]})"


def is_large(text: str) -> bool:
    """Whether JSON text is too large for a row."""
    return len(text) > MAX_INLINE or (len(text) > MAX_INLINE // 4 and len(text.encode()) > MAX_INLINE)


def is_reference(text: str | None) -> bool:
    """Whether what a row has stands for something else."""
    return text is not None and text.startswith(_MARK)


def refer(data: bytes) -> StoredArtefact:
    """What will stand for these bytes of JSON."""
    return StoredArtefact(hashlib.sha256(data).hexdigest(), len(data))


def parse(reference: str) -> StoredArtefact:
    """What a reference says; raises ``StoreCorrupt`` if it is none."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise StoreCorrupt(f"{reference!r:.100} stands where a reference to an artefact should")
    return StoredArtefact(found[1], int(found[2]), found[3])


def shown(text: str | None) -> Any:
    """The value that a row has, with a ``StoredArtefact`` in place of a large one."""
    if text is None:
        return None
    return parse(text) if is_reference(text) else json.loads(text)


def comparable(text: str) -> Any:
    """A JSON value that is equal for equal artefacts: the value itself, or of a large one its reference."""
    return text if is_reference(text) else json.loads(text)
