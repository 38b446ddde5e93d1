"""Who somebody is, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from treadle.codec import bad_name
from treadle.errors import TreadleError


class AccessError(TreadleError):
    """Somebody cannot be let in as the configuration says; the message says what to change."""


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
    """Somebody who is signed in; ``name`` is who the audit trail says acted.

    Raises:
        AccessError: nobody can go by that name.
    """

    name: str
    role: Role = Role.OPERATOR

    def __post_init__(self) -> None:
        if reason := bad_name(self.name) or ("" if self.name.strip() else "it is blank"):
            raise AccessError(f"{self.name!r:.80} cannot be anybody's name: {reason}")
        object.__setattr__(self, "role", Role(self.role))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from, and how that is known.

    Args:
        token: what a change must carry besides, because a browser sends by itself what identifies the person;
            the empty string where nothing is sent by itself.
    """

    principal: Principal
    token: str = ""
