"""Markdown as HTML that can do no harm."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from treadle.web.templating import visible

_BELOW = 3
"""Its headings are below those of the page."""
_LOWEST = 6

# Raw HTML stays text, links lead to the web or to mail alone, and pictures, which would name other hosts, are left as text.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "html_block", "html_inline"])


def rendered(text: str) -> Markup:
    """The text as HTML; what would mislead a reader is made visible."""
    tokens = _PARSER.parse(visible(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + _BELOW, _LOWEST)}"
        for child in token.children or ():
            _harmless_link(child)
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}))  # noqa: S704 - the renderer escapes all text


def _harmless_link(token: Token) -> None:
    if token.type != "link_open":
        return
    if not str(token.attrGet("href") or "").lower().startswith(("http://", "https://", "mailto:")):
        token.attrSet("href", "#")
    token.attrSet("rel", "noreferrer noopener nofollow")
    token.attrSet("target", "_blank")
