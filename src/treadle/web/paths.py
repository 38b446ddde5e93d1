"""Paths of the app, wherever it is mounted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def path_of(scope: Mapping[str, Any]) -> str:
    """The path below the app that a request asks for."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def safe_next(path: str) -> str:
    """Where to go after signing in: ``path`` if it is one of this server, else its front page."""
    is_ours = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if is_ours else "/"
