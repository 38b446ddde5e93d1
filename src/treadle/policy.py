"""How often a stage may try."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """The attempts a stage, or each of its subtasks, may spend.

    Args:
        max_attempts: how many in all, the first included.
        delay: seconds to wait before the second attempt; ``None`` is at once.
        backoff: every further wait is this many times longer.
        max_delay: no wait is longer than this many seconds.
        jitter: wait a random time between nothing and the computed one ("full jitter"), so that
            items which failed together do not come back together.
        attempt_timeout: seconds one attempt may take.
        retry_on: exception types worth another attempt; others fail at once.

    Example:
        >>> RetryBudget(max_attempts=4, delay=2, backoff=2, jitter=False).wait_after(2)
        4.0
    """

    max_attempts: int = 1
    delay: float | None = None
    backoff: float = 1.0
    max_delay: float = 300.0
    jitter: bool = True
    attempt_timeout: float | None = None
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int or self.max_attempts < 1:
            raise ValueError(f"RetryBudget(max_attempts={self.max_attempts!r}): a whole number, 1 or more")
        for name, least in (("delay", 0.0), ("backoff", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value >= least):
                raise ValueError(f"RetryBudget({name}={value!r}): a number of at least {least:g}")
        if self.attempt_timeout is not None and not self.attempt_timeout > 0:
            raise ValueError(f"RetryBudget(attempt_timeout={self.attempt_timeout!r}): seconds, more than 0")

    def wait_after(self, attempt: int, chance: float = 1.0) -> float:
        """Seconds to wait after the ``attempt``-th charged attempt (from 1) did not succeed.

        ``chance`` in [0, 1) is the caller's random number, so that deciding stays a pure function.
        """
        if not self.delay:
            return 0.0
        try:
            longest = min(self.delay * self.backoff ** (attempt - 1), self.max_delay)
        except OverflowError:
            longest = self.max_delay
        return longest * chance if self.jitter else longest
