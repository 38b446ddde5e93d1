"""What a run measured, kept as JSON, and what moved since another run."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Figures = Mapping[str, Sequence[float]]
"""Every round of each figure, by its label."""

_ALWAYS_NOISE = 0.05
"""What differs by less than this is never news."""
_SMALLER_IS_BETTER = (", ms", " ms", "bytes", "memory", "MB", "cost")
"""Words of figures of which less is better, unless they are rates."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A figure that is beyond the noise of two runs."""

    label: str
    before: float
    after: float

    @property
    def is_better(self) -> bool:
        """Whether that is good news."""
        is_smaller_better = not self.label.endswith("/s") and any(word in self.label for word in _SMALLER_IS_BETTER)
        return (self.after < self.before) == is_smaller_better

    def __str__(self) -> str:
        change = 100 * (self.after / self.before - 1) if self.before else 0.0
        word = "better" if self.is_better else "worse"
        return f"{self.label:<58}{self.before:>12,.1f}{self.after:>12,.1f}{change:>+8.0f} %  {word}"


def spread(rounds: Sequence[float]) -> float:
    """How far the rounds lie apart, as a share of their median."""
    middle = median(rounds)
    return (max(rounds) - min(rounds)) / abs(middle) if middle else 0.0


def table(figures: Figures) -> str:
    """Medians for people, with the spread of their rounds."""
    lines = [f"{'':<58}{'median':>14}  spread"]
    for label, rounds in figures.items():
        digits = 0 if abs(median(rounds)) >= 100 else 2
        lines.append(f"{label:<58}{median(rounds):>14,.{digits}f}  {f'{spread(rounds):.0%}' if len(rounds) > 1 else '':>6}")
    return "\n".join(lines)


def save(figures: Figures, path: Path) -> None:
    """Keep the run: every round, and what it ran on."""
    machine = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "system": platform.platform()}
    kept = {
        label: {"median": round(median(rounds), 3), "rounds": [round(r, 3) for r in rounds]} for label, rounds in figures.items()
    }
    path.write_text(json.dumps({"machine": machine, "figures": kept}, indent=1) + "\n")


def load(path: Path) -> dict[str, list[float]]:
    """The rounds of a run that was kept."""
    return {label: figure["rounds"] for label, figure in json.loads(path.read_text())["figures"].items()}


def moved(before: Figures, after: Figures) -> list[Moved]:
    """Figures whose medians differ by more than either run's own rounds do, worst first.

    A figure that was measured once has no noise of its own: it has to differ by as much as the noisiest one beside it.
    """
    typical = max((spread(rounds) for rounds in [*before.values(), *after.values()] if len(rounds) > 1), default=_ALWAYS_NOISE)
    found = []
    for label in [label for label in after if label in before]:
        was, now = median(before[label]), median(after[label])
        noise = max(spread(r) if len(r) > 1 else typical for r in (before[label], after[label]))
        if abs(now - was) > max(noise, _ALWAYS_NOISE) * abs(was):
            found.append(Moved(label, was, now))
    return sorted(found, key=lambda figure: (figure.is_better, figure.label))


def compared(before: Figures, after: Figures) -> str:
    """Which figures moved beyond noise, for people."""
    found = moved(before, after)
    if not found:
        return "nothing moved beyond noise"
    return "\n".join([f"{'moved beyond noise':<58}{'before':>12}{'now':>12}", *map(str, found)])
