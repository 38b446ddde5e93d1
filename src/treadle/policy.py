"""How often a stage may try, and when a person is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import ClassVar, Literal, TypeAlias

_DAY = 86_400.0

RetryOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class ExhaustedAction(StrEnum):
    """What happens when the attempts are spent."""

    FAIL = "fail"
    ESCALATE = "escalate"
    """A person sees every attempt, and decides."""


@dataclass(frozen=True, slots=True)
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
        retry_on: exception types worth another attempt, or a function that says so of an exception; others fail at once.
        on_exhausted: whether the stage fails, or a person is asked, when no attempt is left.

    Example:
        >>> RetryBudget(max_attempts=4, delay=2, backoff=2, jitter=False).wait_after(2)
        4.0
    """

    max_attempts: int = 1
    _: KW_ONLY
    delay: float | None = None
    backoff: float = 1.0
    max_delay: float = 300.0
    jitter: bool = True
    attempt_timeout: float | None = None
    retry_on: RetryOn = Exception
    on_exhausted: ExhaustedAction = ExhaustedAction.FAIL

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int or self.max_attempts < 1:
            raise ValueError(f"RetryBudget(max_attempts={self.max_attempts!r}): a whole number, 1 or more")
        for name, least in (("delay", 0.0), ("backoff", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value >= least):
                raise ValueError(f"RetryBudget({name}={value!r}): a number of at least {least:g}")
        if self.attempt_timeout is not None and not self.attempt_timeout > 0:
            raise ValueError(f"RetryBudget(attempt_timeout={self.attempt_timeout!r}): seconds, more than 0")
        if not isinstance(self.on_exhausted, ExhaustedAction):
            raise ValueError(f"RetryBudget(on_exhausted={self.on_exhausted!r}): an ExhaustedAction")  # noqa: TRY004 - a bad value like the others
        types = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        if not all((isinstance(t, type) and issubclass(t, BaseException)) or (t is self.retry_on and callable(t)) for t in types):
            raise ValueError(f"RetryBudget(retry_on={self.retry_on!r}): exception types, or a function of an exception")

    def is_worth_retrying(self, error: BaseException) -> bool:
        """Whether another attempt may help after ``error``; what a function in ``retry_on`` raises comes out."""
        if isinstance(self.retry_on, type | tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))

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


_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0, "day": _DAY}


def parse_rate(text: str) -> tuple[float, float]:
    """Calls and seconds of a rate such as ``60/min``, ``5/s`` or ``1000/hour``; raises ``ValueError`` if it is none."""
    calls, _, unit = text.partition("/")
    if unit.strip() not in _UNITS or not calls.strip().isdecimal() or int(calls) < 1:
        raise ValueError(f"{text!r} is no rate; give a whole number, 1 or more, by s, min, hour or day: 60/min")
    return float(calls), _UNITS[unit.strip()]


def is_share(rate: object) -> bool:
    """Whether it is a number from 0 to 1."""
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1


def in_sample(rate: float, seed: str, *parts: str) -> bool:
    """Whether what ``parts`` name belongs to a share of its kind; always the same answer for the same seed."""
    digest = hashlib.sha256("\x00".join((seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") < rate * 2**64


Then: TypeAlias = Literal["approve", "reject", "escalate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPolicy:
    """When a person is asked about an attempt. Use the named ones, and join them with ``|``.

    ``NEVER`` (the default), ``ALWAYS``, ``ON_ESCALATION``, ``ON_UNCERTAIN``, ``ON_ESCALATION_OR_UNCERTAIN``.
    Whatever the policy, ``Uncertain`` goes to a person, and so does ``ExhaustedAction.ESCALATE``.

    Example:
        >>> ReviewPolicy.ON_ESCALATION | ReviewPolicy.sample(0.05, seed="2026")
        ReviewPolicy(always=False, escalation=True, uncertain=False, samples=((0.05, '2026'),), expires=None, then=None, author=None)

    Args:
        always: every accepted result.
        escalation: what is left without an attempt.
        uncertain: what the gate cannot tell.
        samples: shares of the accepted results, each with its seed.
        expires: seconds after which an unanswered review is answered by ``then``.
        author: the item's field that names who may not review it.
    """

    NEVER: ClassVar[ReviewPolicy]
    ALWAYS: ClassVar[ReviewPolicy]
    ON_ESCALATION: ClassVar[ReviewPolicy]
    ON_UNCERTAIN: ClassVar[ReviewPolicy]
    ON_ESCALATION_OR_UNCERTAIN: ClassVar[ReviewPolicy]

    always: bool = False
    escalation: bool = False
    uncertain: bool = False
    samples: tuple[tuple[float, str], ...] = ()
    expires: float | None = None
    then: Then | None = None
    author: str | None = None

    @classmethod
    def sample(cls, rate: float, *, seed: str | int = 0) -> ReviewPolicy:
        """A share of the accepted results, 0 to 1. The same item gets the same answer, always and everywhere."""
        if not is_share(rate):
            raise ValueError(f"ReviewPolicy.sample({rate!r}): a share from 0 to 1")
        return cls(samples=((float(rate), str(seed)),))

    def due(self, *, days: float = 0, hours: float = 0, minutes: float = 0, then: Then) -> ReviewPolicy:
        """The same, but whoever is asked has so long; then the answer is ``then``.

        ``escalate`` leaves the question open and says in the journal and the inbox that it is overdue.
        """
        seconds = days * _DAY + hours * 3600 + minutes * 60
        if not (isfinite(seconds) and seconds > 0):
            raise ValueError(f"ReviewPolicy.due(...): {seconds:g} s; give days, hours or minutes, more than 0")
        if then not in ("approve", "reject", "escalate"):
            raise ValueError(f"ReviewPolicy.due(then={then!r}): approve, reject or escalate")
        return replace(self, expires=seconds, then=then)

    def excluding(self, author: str) -> ReviewPolicy:
        """The same, but whom the item's field ``author`` names cannot decide: nobody approves their own work."""
        if not author.isidentifier():
            raise ValueError(f"ReviewPolicy.excluding({author!r}): the name of one of the item's fields")
        return replace(self, author=author)

    def __or__(self, other: ReviewPolicy) -> ReviewPolicy:
        """Ask whenever one of the two would."""
        if not isinstance(other, ReviewPolicy):
            return NotImplemented
        sooner = min((p for p in (self, other) if p.expires is not None), key=lambda p: p.expires or 0, default=self)
        return ReviewPolicy(
            always=self.always or other.always,
            escalation=self.escalation or other.escalation,
            uncertain=self.uncertain or other.uncertain,
            samples=self.samples + other.samples,
            expires=sooner.expires,
            then=sooner.then,
            author=self.author or other.author,
        )

    @property
    def words(self) -> str:
        """When a person is asked, as people say it."""
        said = [
            *(["every result"] if self.always else []),
            *(["when no attempt is left"] if self.escalation else []),
            *(["when the gate is uncertain"] if self.uncertain else []),
            *(f"a sample of {100 * rate:g} %" for rate, _ in self.samples),
        ]
        return ", ".join(said) or "only when the stage or its gate asks"

    def samples_item(self, item_id: str, stage: str) -> bool:
        """Whether a share of the accepted results, of which this is one, goes to a person."""
        return any(in_sample(rate, seed, stage, item_id) for rate, seed in self.samples)


ReviewPolicy.NEVER = ReviewPolicy()
ReviewPolicy.ALWAYS = ReviewPolicy(always=True)
ReviewPolicy.ON_ESCALATION = ReviewPolicy(escalation=True)
ReviewPolicy.ON_UNCERTAIN = ReviewPolicy(uncertain=True)
ReviewPolicy.ON_ESCALATION_OR_UNCERTAIN = ReviewPolicy(escalation=True, uncertain=True)
