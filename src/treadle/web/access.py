"""Who somebody is, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each may do all that those before it may."""

    VIEWER = "viewer"
    """Look."""
    REVIEWER = "reviewer"
    """Decide reviews."""
    OPERATOR = "operator"
    """Retry, rerun and cancel items."""

    def covers(self, other: Role) -> bool:
        """Whether somebody of this role may do what ``other`` may."""
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who is signed in; ``name`` is who the audit trail says acted."""

    name: str
    role: Role = Role.OPERATOR
