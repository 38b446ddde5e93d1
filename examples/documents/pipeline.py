"""A folder of documents becomes a full-text index: ``treadle run examples/documents/pipeline.py FOLDER``."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from treadle import PermanentError, Skipped, Workflow

INDEX = Path("documents-index.db")


@dataclass(frozen=True)
class Document:
    """A file as it was when it was found: a changed one is another item."""

    id: str
    path: str


documents = Workflow("documents", item=Document)


@documents.source
def scan(folder: Path) -> Iterator[Document]:
    """Markdown, HTML, PDF and text files below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".md", ".html", ".htm", ".pdf", ".txt") and path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            yield Document(f"{path.relative_to(folder).as_posix()}@{digest}", str(path.resolve()))


class _Words(HTMLParser):
    """Collects what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


@documents.stage(timeout=60)
def text(document: Document) -> str | Skipped:
    """The words of the file, at most the first 60,000 characters."""
    path = Path(document.path)
    if path.suffix.lower() == ".pdf":
        found = _pdf(path)
    else:
        found = path.read_text("utf-8", "replace").replace("\x00", "")
        if path.suffix.lower() in (".html", ".htm"):
            parser = _Words()
            parser.feed(found)
            found = " ".join(parser.pieces)
    found = re.sub(r"\s+", " ", found).strip()[:60_000]
    return found or Skipped("no words in it")


def _pdf(path: Path) -> str:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        return " ".join(page.extract_text() for page in PdfReader(path).pages)
    except PyPdfError as error:
        raise PermanentError(f"{path.name} is no readable PDF: {error}") from error


@documents.stage(limit=1)
def index(document: Document, text: str | None) -> None:
    """The words are found under the document's id; doing it again changes nothing."""
    if text is None:
        return
    with closing(sqlite3.connect(INDEX, timeout=30)) as con, con:
        con.execute("CREATE VIRTUAL TABLE IF NOT EXISTS pages USING fts5 (id UNINDEXED, words)")
        con.execute("DELETE FROM pages WHERE id = ?", (document.id,))
        con.execute("INSERT INTO pages VALUES (?, ?)", (document.id, text))


def search(words: str, index: Path = INDEX) -> list[str]:
    """Ids of the documents with these words, the best first."""
    with closing(sqlite3.connect(index)) as con:
        return [row[0] for row in con.execute("SELECT id FROM pages WHERE pages MATCH ? ORDER BY rank", (words,))]
