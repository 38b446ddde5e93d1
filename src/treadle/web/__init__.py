"""The web: everything a store holds as pages, and the same as JSON under ``/api/v1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.web.access import AccessError as AccessError
from treadle.web.access import Principal as Principal
from treadle.web.access import Role as Role

if TYPE_CHECKING:
    from treadle.web.app import create_app as create_app

__all__ = ["AccessError", "Principal", "Role", "create_app"]


def __getattr__(name: str) -> Any:
    # Users are kept without the libraries that serving takes.
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from treadle.web.app import create_app as found

    return found
