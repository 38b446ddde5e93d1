"""Read models: how the stages do, from the end of the journal and a bounded number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from treadle.clock import from_us, now_us
from treadle.errors import StageNotFound
from treadle.event import EventKind
from treadle.failure_groups import Failures, failures
from treadle.state import ItemPhase, StageState
from treadle.store import Counts, EventFilter, Shape, StateStore

_SECOND = 1_000_000
_TAIL = 50_000
"""Events that rates stand on: at most the last hour, less where more happens."""
_POINTS = 60
_WIDTHS = (1, 2, 5, 10, 15, 30, 60)
_RATE_OVER = 60
"""Seconds that the rate of the moment is taken over; less if everything began later, but never less than the next."""
_LEAST = 5
_VERDICT_TAIL = 300_000
SAMPLE = 500
"""Completions of a stage that durations and attempts stand on."""

_ENDED = frozenset({EventKind.STAGE_COMPLETED, EventKind.STAGE_FAILED, EventKind.STAGE_SKIPPED})
_JUDGED = frozenset({EventKind.QUALITY_CHECK_PASSED, EventKind.QUALITY_CHECK_FAILED, EventKind.REVIEW_REQUIRED})
_OPEN = (StageState.PENDING, StageState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many stages came to an end, in stretches of ``width`` seconds that begin at ``since``.

    Args:
        ended: so many in each stretch, the last one being now.
        per_minute: the rate of the last minute, of all stages and by stage.
        seconds: how long that rate was taken over.
    """

    since: datetime
    width: int
    ended: Sequence[int]
    per_minute: float
    by_stage: Mapping[str, float]
    seconds: float


async def pace(store: StateStore, *, now: int | None = None) -> Pace:
    """How fast stages end now, and did in the last hour or as far back as the journal's end goes."""
    moment = now_us() if now is None else now
    width = await _width(store, moment)
    first = (moment // _SECOND // width - _POINTS + 1) * width * _SECOND
    ended = [0] * _POINTS
    recent: Counter[str] = Counter()
    start = max(moment - _RATE_OVER * _SECOND, 0) // (width * _SECOND) * width * _SECOND
    tallied = await store.tally(EventFilter(kinds=_ENDED), _TAIL, width * _SECOND)
    for told in tallied:
        place = (told.at - first) // (width * _SECOND)
        if 0 <= place < _POINTS:
            ended[place] += told.n
        if told.at >= start and told.stage is not None:
            recent[told.stage] += told.n
    # What began a moment ago has no whole minute behind it.
    began = max(start, tallied[0].at) if tallied else start
    seconds = max(moment - began, _LEAST * _SECOND) / _SECOND
    by_stage = {stage: 60 * n / seconds for stage, n in recent.items()}
    return Pace(
        since=from_us(first), width=width, ended=ended, per_minute=sum(by_stage.values()), by_stage=by_stage, seconds=seconds
    )


async def _width(store: StateStore, now: int) -> int:
    """Seconds a stretch: the finest that reaches as far back as the events that are looked at."""
    newest = (await store.journal(EventFilter(), None, 1, newest_first=True)).events
    if not newest or newest[0].cursor <= _TAIL:
        oldest = (await store.journal(EventFilter(), None, 1)).events
    else:
        oldest = (await store.journal(EventFilter(), newest[0].cursor - _TAIL, 1)).events
    span = (now - round(oldest[0].at.timestamp() * _SECOND)) / _SECOND if oldest else 0
    return next((width for width in _WIDTHS if width * _POINTS >= span), _WIDTHS[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long a stage takes, by those of its completions that were looked at: the newest ones.

    Args:
        seconds: of each, sorted.
        attempts: how many needed so many attempts.
    """

    seconds: Sequence[float] = ()
    attempts: Mapping[int, int] = field(default_factory=dict)

    @property
    def p50(self) -> float | None:
        """The median."""
        return median(self.seconds) if self.seconds else None

    @property
    def mean(self) -> float:
        """The mean; 0 if nothing was looked at."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else 0.0

    def histogram(self, bars: int = 20) -> list[tuple[float, float, int]]:
        """From, to and how many, in steps of 1, 2, 5, 10 ... so that no more than ``bars`` are needed."""
        if not self.seconds:
            return []
        edges = [_edge(place) for place in range(_place(self.seconds[0]), _place(self.seconds[-1]) + 2)]
        if len(edges) - 1 > bars:
            edges = [edges[0], *edges[-bars:]]
        counted = [0] * (len(edges) - 1)
        place = 0
        for second in self.seconds:
            while place < len(counted) - 1 and second >= edges[place + 1]:
                place += 1
            counted[place] += 1
        return list(zip(edges, edges[1:], counted, strict=False))


_STEPS = (1, 2, 5)


def _edge(place: int) -> float:
    decade, step = divmod(place, len(_STEPS))
    return float(_STEPS[step] * 10.0 ** (decade - 6))


def _place(seconds: float) -> int:
    """The last edge that is not beyond ``seconds``; edges begin at a microsecond."""
    place = 0
    while _edge(place + 1) <= seconds:
        place += 1
    return place


async def durations(store: StateStore, stage: str | None = None) -> dict[str, Durations]:
    """How long stages take (or that one), by up to 500 completions of each."""
    seconds: dict[str, list[float]] = {}
    attempts: dict[str, Counter[int]] = {}
    for _, row in await store.recent(StageState.COMPLETED, SAMPLE, stage=stage):
        if row.started is not None:
            seconds.setdefault(row.stage, []).append(max(row.updated - row.started, 0) / _SECOND)
            attempts.setdefault(row.stage, Counter())[row.attempt] += 1
    return {
        name: Durations(seconds=sorted(took), attempts=dict(sorted(attempts[name].items()))) for name, took in seconds.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """How one stage does.

    Args:
        share: its part of the time that all completions took, 0 to 1.
        seconds_left: until all items that move have passed it, at its rate of the moment; ``None``: it does not move.
    """

    name: str
    needs: Sequence[str]
    counts: Mapping[StageState, int]
    per_minute: float = 0.0
    seconds_left: float | None = None
    p50: float | None = None
    share: float = 0.0

    def count(self, state: StageState) -> int:
        """How many items have it in that state."""
        return self.counts.get(state, 0)

    @property
    def items(self) -> int:
        """All items."""
        return sum(self.counts.values())


def stage_figures(shape: Shape, counts: Counts, moving: Pace, took: Mapping[str, Durations]) -> list[StageFigures]:
    """Every stage, in topological order."""
    spent = {
        name: took.get(name, Durations()).mean * counts.stages.get(name, {}).get(StageState.COMPLETED, 0) for name in shape.stages
    }
    total = sum(spent.values())
    found = []
    for name, needs in shape.stages.items():
        states, rate = counts.stages.get(name, {}), moving.by_stage.get(name, 0.0)
        left = _left(states, counts)
        found.append(
            StageFigures(
                name=name,
                needs=needs,
                counts=states,
                per_minute=rate,
                seconds_left=60 * left / rate if left and rate else None,
                p50=took[name].p50 if name in took else None,
                share=spent[name] / total if total else 0.0,
            )
        )
    return found


def _left(states: Mapping[StageState, int], counts: Counts) -> int:
    """How many items will still pass the stage by themselves: what waits behind a failure or a person does not move."""
    return min(sum(states.get(state, 0) for state in _OPEN), counts.phases.get(ItemPhase.PENDING, 0))


def seconds_left(counts: Counts, moving: Pace) -> float | None:
    """Until all items that move have come to their end, at the rate of the moment; ``None``: nothing moves."""
    left = sum(_left(states, counts) for states in counts.stages.values())
    return 60 * left / moving.per_minute if left and moving.per_minute else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What a stage's gate said in stretches of ``width`` seconds from ``since``, as far back as the journal's end goes.

    Args:
        told: how many were accepted, rejected, and handed to a person, in each stretch.
    """

    since: datetime
    width: int
    told: Sequence[tuple[int, int, int]] = ()


_ORDER = (EventKind.QUALITY_CHECK_PASSED, EventKind.QUALITY_CHECK_FAILED, EventKind.REVIEW_REQUIRED)
_SPANS = (*_WIDTHS, 300, 900, 3600, 4 * 3600, 24 * 3600)


async def verdicts(store: StateStore, stage: str) -> Verdicts:
    """What the stage's gate said lately."""
    wanted = EventFilter(stage=stage, kinds=_JUDGED)
    told = await store.tally(wanted, _VERDICT_TAIL, _WIDTHS[-1] * _SECOND)
    if not told:
        return Verdicts(since=from_us(now_us()), width=_WIDTHS[-1])
    first, last = told[0].at, told[-1].at
    minute = _WIDTHS[-1] * _SECOND
    width = next((w for w in _SPANS if w * _SECOND >= minute and (last - first) // (w * _SECOND) < _POINTS), _SPANS[-1])
    start = first // (width * _SECOND)
    found = [[0, 0, 0] for _ in range(min(last // (width * _SECOND) - start + 1, _POINTS))]
    start = last // (width * _SECOND) - len(found) + 1
    for one in told:
        place = one.at // (width * _SECOND) - start
        if place >= 0:
            found[place][_ORDER.index(one.kind)] += one.n
    return Verdicts(since=from_us(start * width * _SECOND), width=width, told=[(a, r, p) for a, r, p in found])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """Everything about one stage."""

    figures: StageFigures
    durations: Durations
    failures: Failures
    verdicts: Verdicts


async def stage_report(
    store: StateStore, stage: str, *, moving: Pace | None = None, took: Mapping[str, Durations] | None = None
) -> StageReport:
    """How the stage does; raises ``StageNotFound``. Who knows the pace and durations of all need not have them read again."""
    shape = await store.shape()
    if shape is None or stage not in shape.stages:
        raise StageNotFound(stage, () if shape is None else tuple(shape.stages))
    took = await durations(store) if took is None else took
    figures = stage_figures(shape, await store.counts(), await pace(store) if moving is None else moving, took)
    return StageReport(
        figures=next(one for one in figures if one.name == stage),
        durations=took.get(stage, Durations()),
        failures=await failures(store, stage),
        verdicts=await verdicts(store, stage),
    )
