"""How Sphinx builds these pages."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "Treadle"
author = "The Treadle authors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = installed_version("treadle")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"Treadle {release}"
html_show_sphinx = False
