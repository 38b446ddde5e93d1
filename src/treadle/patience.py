"""Wait until a store can do again what it could not for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from treadle.errors import StoreError

T = TypeVar("T")

_AGAIN = 0.25
"""Seconds after which a disk that is full or failing, or a lock that is held, is tried again."""


async def patiently(ask: Callable[[], Awaitable[T]], trouble: str, log: logging.Logger, item: str | None = None) -> T:
    """What the store answers, asked again and again while its fault may pass; ``trouble`` says what cannot be done meanwhile.

    Raises:
        StoreError: a fault that stays.
    """
    while True:
        try:
            return await ask()
        except StoreError as error:
            if not error.may_pass:
                raise
            log.warning("%s, trying again: %s", trouble, error, extra={} if item is None else {"item": item})
            await asyncio.sleep(_AGAIN)
