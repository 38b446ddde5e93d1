"""Artefacts as a page shows them: a tree, text, Markdown, a picture; never more than fits a page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from markupsafe import Markup

from treadle.artefact import StoredArtefact
from treadle.web.markdown import rendered

MOST_TEXT = 20_000
"""Characters of a text that a page shows."""
_MOST_NODES = 800
_MOST_PARTS = 100
_MOST_WORD = 600
_MOST_DEPTH = 12
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
PREVIEWS = PICTURES | {"application/pdf"}


class Kind(StrEnum):
    """How an artefact is shown."""

    NOTHING = "nothing"
    TREE = "tree"
    TEXT = "text"
    MARKDOWN = "markdown"
    PREVIEW = "preview"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A value in a tree.

    Args:
        key: its name or place in what it is part of.
        kind: object, array, string, number, boolean or null.
        text: what it is, if it has no parts.
        more: how many parts, or letters, are not shown.
    """

    key: str
    kind: str
    text: str = ""
    size: int = 0
    parts: Sequence[Branch] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page shows of an artefact.

    Args:
        is_cut: whether there is more than is shown.
        media_type: of a preview.
        fields: names of fields that have a preview of their own, with their media types.
    """

    kind: Kind
    text: str = ""
    html: Markup | None = None
    tree: Branch | None = None
    is_cut: bool = False
    size: int = 0
    """Bytes, where that is known without looking."""
    media_type: str = ""
    fields: Sequence[tuple[str, str]] = ()


def view(value: Any, schema: Mapping[str, Any], *, head: str = "") -> View:
    """The artefact, shown as the schema of its type says; of one that is kept beside the rows, ``head`` is the beginning."""
    if value is None:
        return View(kind=Kind.NOTHING)
    if isinstance(value, StoredArtefact):
        if media_type_of(schema) in PREVIEWS:
            return View(kind=Kind.PREVIEW, media_type=media_type_of(schema), size=value.size)
        return View(kind=Kind.TEXT, text=head[:MOST_TEXT], is_cut=True, size=value.size)
    if isinstance(value, str):
        return _text(value, media_type_of(schema), len(value.encode(errors="replace")))
    builder = _Tree()
    tree = builder.branch("", value, 0)
    fields = [] if not isinstance(value, dict) else _fields(value, schema)
    return View(kind=Kind.TREE, tree=tree, is_cut=builder.is_cut, fields=fields)


def _text(value: str, media_type: str, size: int) -> View:
    if media_type in PREVIEWS:
        return View(kind=Kind.PREVIEW, media_type=media_type, size=size)
    is_cut = len(value) > MOST_TEXT
    if media_type == "text/markdown" and not is_cut:
        return View(kind=Kind.MARKDOWN, html=rendered(value), text=value, size=size)
    return View(kind=Kind.TEXT, text=value[:MOST_TEXT], is_cut=is_cut, size=size)


def media_type_of(schema: Mapping[str, Any]) -> str:
    """What the type says its text is."""
    said = schema.get("contentMediaType")
    return said.partition(";")[0].strip().lower() if isinstance(said, str) else ""


def _fields(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(name, media_type_of(_field_schema(schema, name))) for name in value]
    return [(name, media_type) for name, media_type in found if media_type in PREVIEWS and isinstance(value[name], str)]


def _field_schema(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, dict) else None
    return found if isinstance(found, dict) else {}


def preview(value: Any, schema: Mapping[str, Any], field: str | None) -> tuple[bytes, str] | None:
    """The bytes and media type of a picture or PDF, where the type says that the artefact, or that field of it, is one."""
    if field is not None:
        value, schema = (value.get(field) if isinstance(value, dict) else None), _field_schema(schema, field)
    media_type = media_type_of(schema)
    if media_type not in PREVIEWS or not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value), media_type
    except (binascii.Error, ValueError):
        return None


class _Tree:
    """Builds branches until there are as many as a page takes."""

    def __init__(self) -> None:
        self._left = _MOST_NODES
        self.is_cut = False

    def branch(self, key: str, value: Any, depth: int) -> Branch:
        self._left -= 1
        if isinstance(value, dict | list):
            pairs = list(value.items()) if isinstance(value, dict) else [(str(place), part) for place, part in enumerate(value)]
            shown = []
            for name, part in pairs[:_MOST_PARTS] if depth < _MOST_DEPTH else ():
                if self._left <= 0:
                    break
                shown.append(self.branch(_cut(name), part, depth + 1))
            more = len(pairs) - len(shown)
            self.is_cut |= more > 0
            return Branch(key=key, kind="object" if isinstance(value, dict) else "array", size=len(pairs), parts=shown, more=more)
        if isinstance(value, str):
            more = max(len(value) - _MOST_WORD, 0)
            self.is_cut |= more > 0
            return Branch(key=key, kind="string", text=value[:_MOST_WORD], more=more)
        kind = "null" if value is None else "boolean" if isinstance(value, bool) else "number"
        return Branch(key=key, kind=kind, text=json.dumps(value))


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_WORD else name[: _MOST_WORD - 1] + "…"
