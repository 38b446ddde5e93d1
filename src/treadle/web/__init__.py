"""The web: everything a store holds as pages, and the same as JSON under ``/api/v1``."""

from __future__ import annotations

from treadle.web.access import Principal as Principal
from treadle.web.access import Role as Role
from treadle.web.app import create_app as create_app

__all__ = ["Principal", "Role", "create_app"]
