"""Times: aware UTC datetimes outside, integer microseconds in rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

MAX_WAIT = 100 * 365 * 86_400.0
"""Seconds: no wait is longer, so that every due time is a time that stores and calendars know."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """The aware ``moment`` as microseconds; a naive one is refused, since its zone is unknown."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; use datetime.now(UTC)")
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Microseconds as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=us)
