"""Figures as the numbers that small drawings are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from treadle.dossier import Bar, Timeline
from treadle.figures import Durations, Pace, Verdicts
from treadle.status import lasted
from treadle.wording import counted

_LEAST_COLUMNS = 8
"""Fewer columns do not get wider."""
_LEAST_WIDTH = 0.4
"""Percent of a timeline that even the shortest bar is drawn with."""


class Line(NamedTuple):
    """A line over a ground of 100 by 40: its points, the greatest value, and what the left edge is."""

    points: str
    top: float
    since: datetime


def pace_line(pace: Pace) -> Line:
    """Stages a minute, from where anything ended; the stretch that has not ended yet is left out."""
    rates = [60 * n / pace.width for n in pace.ended[:-1]]
    first = next((place for place, rate in enumerate(rates) if rate), 0)
    rates = rates[max(first - 1, 0) :]
    top = max(rates, default=0) or 1
    step = 100 / max(len(rates) - 1, 1)
    points = " ".join(f"{place * step:.2f},{39 - 37 * rate / top:.2f}" for place, rate in enumerate(rates))
    return Line(points, max(rates, default=0), pace.since + timedelta(seconds=max(first - 1, 0) * pace.width))


class Column(NamedTuple):
    """A column over a ground of 100 percent: place, width, height, what it says, and what stands below it."""

    x: float
    width: float
    height: float
    label: str
    n: int
    tick: str


def duration_columns(durations: Durations) -> list[Column]:
    """The histogram."""
    return _columns([(f"{lasted(low)} to {lasted(high)}", f"{lasted(low)} +", n) for low, high, n in durations.histogram()])


def attempt_columns(durations: Durations) -> list[Column]:
    """How many needed so many attempts."""
    told = [(counted(number, "attempt"), str(number), n) for number, n in durations.attempts.items()]
    return _columns(told)


def _columns(told: Sequence[tuple[str, str, int]]) -> list[Column]:
    every = -(-len(told) // _LEAST_COLUMNS) or 1
    top, step = max((n for _, _, n in told), default=0) or 1, 100 / max(len(told), _LEAST_COLUMNS)
    return [
        Column(
            round(place * step + step * 0.08, 2),
            round(step * 0.84, 2),
            round(100 * n / top, 2),
            label,
            n,
            tick if place % every == 0 else "",
        )
        for place, (label, tick, n) in enumerate(told)
    ]


class Stack(NamedTuple):
    """What a gate said in one stretch of time, in percent of the highest stack."""

    x: float
    width: float
    accepted: float
    rejected: float
    asked: float
    label: str


def verdict_stacks(verdicts: Verdicts) -> list[Stack]:
    """A stack for each stretch."""
    top = max((sum(told) for told in verdicts.told), default=0) or 1
    step = 100 / max(len(verdicts.told), _LEAST_COLUMNS)
    found = []
    for place, (accepted, rejected, asked) in enumerate(verdicts.told):
        at = verdicts.since + timedelta(seconds=place * verdicts.width)
        label = f"{at:%H:%M}: {accepted:,} accepted, {rejected:,} rejected, {asked:,} to a person"
        good, bad, open_ = (round(100 * n / top, 2) for n in (accepted, rejected, asked))
        found.append(Stack(round(place * step, 2), round(step * 0.9, 2), good, bad, open_, label))
    return found


class Lane(NamedTuple):
    """A bar of a timeline, in percent of its whole length."""

    bar: Bar
    x: float
    width: float
    seconds: float
    is_first: bool
    """Whether it is the first of its stage."""


class Lanes(NamedTuple):
    """A timeline: its bars, where it begins and how long it is."""

    lanes: Sequence[Lane]
    since: datetime | None
    seconds: float


def lanes(timeline: Timeline) -> Lanes:
    """The timeline's bars, side by side."""
    bars = timeline.bars
    if not bars:
        return Lanes([], None, 0.0)
    since, until = min(bar.started_at for bar in bars), max(bar.ended_at for bar in bars)
    whole = max((until - since).total_seconds(), 1e-6)
    found: list[Lane] = []
    for place, bar in enumerate(bars):
        x = 100 * (bar.started_at - since).total_seconds() / whole
        seconds = (bar.ended_at - bar.started_at).total_seconds()
        width = min(max(100 * seconds / whole, _LEAST_WIDTH), 100)
        is_first = place == 0 or bars[place - 1].stage != bar.stage
        found.append(Lane(bar, round(min(x, 100 - width), 3), round(width, 3), seconds, is_first))
    return Lanes(found, since, whole)
