"""What an organisation allows, denies, or wants to be asked about."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from . import spdx

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")


class Decision(StrEnum):
    """What may be done with a licence, from best to worst."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_WORST_LAST = tuple(Decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """A decision, and why."""

    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """Whether a distribution may be used, and why: by the policy or by a person."""

    allowed: bool
    reason: str


class PolicyError(ValueError):
    """A policy file that cannot be used; the message names the file and the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The decision on each identifier; whatever has none is asked about.

    An entry may be a licence with its exception, as in `GPL-2.0-only WITH Classpath-exception-2.0`.
    """

    rules: Mapping[str, Decision]

    def evaluate(self, expression: str, undeclared: Iterable[str] = ()) -> Ruling:
        """The ruling on a valid SPDX expression, and on licences whose texts come along without being in it.

        `A OR B` is as good as the better of the two, because one may choose; `A AND B` as bad as the worse.
        An undeclared licence is never denied: its text alone binds nobody, but somebody should look.

        Raises:
            ValueError: `expression` is not valid.
        """
        ruling = spdx.fold(expression, one=self._on_licence, every=_worst, some=_best)
        return _worst([ruling, *(self._on_undeclared(licence) for licence in undeclared)])

    def _on_licence(self, licence: str, exception: str | None = None) -> Ruling:
        if exception and (decision := self.rules.get(f"{licence} WITH {exception}")):
            return Ruling(decision=decision, reason=f"{licence} WITH {exception} is in the list {decision}")
        decision = self.rules.get(licence)
        if decision is None:
            return Ruling(decision=Decision.ASK, reason=f"{licence} is in no list")
        if exception and decision is Decision.DENY:  # an exception permits more, perhaps enough
            return Ruling(decision=Decision.ASK, reason=f"{licence} WITH {exception} is in no list")
        return Ruling(decision=decision, reason=f"{licence} is in the list {decision}")

    def _on_undeclared(self, licence: str) -> Ruling:
        ruling = self._on_licence(licence)
        if ruling.decision is Decision.ALLOW:
            return ruling
        return Ruling(decision=Decision.ASK, reason=f"{ruling.reason}; its text comes along undeclared")


def load_policy(path: Path = DEFAULT_POLICY) -> Policy:
    """Read the lists `allow`, `ask` and `deny` of a TOML file.

    Raises:
        PolicyError: The file cannot be read, a key is unknown or no list of SPDX identifiers, or one
            identifier is in two lists.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read as TOML: {error}") from error
    rules: dict[str, Decision] = {}
    for key, listed in data.items():
        if key not in _WORST_LAST:
            raise PolicyError(f"{path}: unknown key {key!r}; a policy has the lists {', '.join(_WORST_LAST)}")
        if not isinstance(listed, list):
            raise PolicyError(f"{path}: {key} must be a list of SPDX identifiers")
        for index, entry in enumerate(listed):
            where = f"{path}: {key}[{index}]"
            licence = _identifier(entry, where)
            if rules.setdefault(licence, Decision(key)) != key:
                raise PolicyError(f"{where}: {licence} is in the list {rules[licence]} already")
    return Policy(rules=rules)


def _identifier(entry: object, where: str) -> str:
    meanings = spdx.meanings(entry) if isinstance(entry, str) else ()
    if len(meanings) > 1:
        raise PolicyError(f"{where}: {entry!r} names two licences; write {' or '.join(meanings)}")
    if not meanings or len(spdx.licences(meanings[0]) - {spdx.SPECIAL_EXCEPTION}) > 1:
        raise PolicyError(f"{where}: {entry!r} is not an SPDX identifier")
    return meanings[0]


def _worst(rulings: list[Ruling]) -> Ruling:
    return max(rulings, key=lambda ruling: _WORST_LAST.index(ruling.decision))


def _best(rulings: list[Ruling]) -> Ruling:
    return min(rulings, key=lambda ruling: _WORST_LAST.index(ruling.decision))
