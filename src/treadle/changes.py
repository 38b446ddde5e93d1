"""What a changed definition means for the items of a store: what is stale, what is left without a stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from treadle import decide
from treadle.clock import now_us
from treadle.definition import Definition
from treadle.errors import StageNotFound, StoreError
from treadle.state import Decided, ItemPhase, ItemState, StageRow, Transition
from treadle.store import Filter, StateStore

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleStage:
    """A stage whose results were made by another version of it, or are built on such.

    Args:
        items: how many items have such a result.
        versions: how many of them each other version made; empty where only what it is built on has changed.
        decisions: what people decided about these results, and may be asked again.
        seconds: how long these results took to make.
    """

    items: int = 0
    versions: Mapping[str | None, int] = field(default_factory=dict)
    decisions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a definition changes for what is stored.

    Args:
        added, moved: stages the store has not seen; stages that wait for others than before.
        removed: stages that are no more, each with how many items wait in it.
        stale: by stage, in topological order; ``rerun --stale`` does these again.
    """

    added: Sequence[str] = ()
    moved: Sequence[str] = ()
    removed: Mapping[str, int] = field(default_factory=dict)
    stale: Mapping[str, StaleStage] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Whether everything stored is as the definition would have it."""
        return not (self.added or self.moved or self.removed or self.stale)


async def plan(store: StateStore, flow: Definition) -> Plan:
    """What binding the store to ``flow`` would mean; nothing is changed."""
    shape = await store.shape()
    before = {} if shape is None else shape.stages
    live: Counter[str] = Counter()
    items: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    micros: Counter[str] = Counter()
    versions: dict[str, Counter[str | None]] = {}
    async for state in _items(store):
        for name, row in state.stages.items():
            if name not in flow.stages and decide.is_live(row) and state.phase is not ItemPhase.CANCELLED:
                live[name] += 1
        direct = set(stale_stages(flow, state))
        for name in _touched(flow, state, direct):
            row = state.stages[name]
            items[name] += 1
            decisions[name] += _is_decided(state, name)
            micros[name] += 0 if row.started is None else max(row.updated - row.started, 0)
            if name in direct:
                versions.setdefault(name, Counter())[row.version] += 1
    return Plan(
        added=[name for name in flow.stages if name not in before] if before else [],
        moved=[name for name, stage in flow.stages.items() if name in before and set(before[name]) != set(stage.needs)],
        removed={name: live[name] for name in before if name not in flow.stages},
        stale={
            name: StaleStage(
                items=items[name],
                versions=dict(versions.get(name, {})),
                decisions=decisions[name],
                seconds=micros[name] / 1_000_000,
            )
            for name in flow.stages
            if items[name]
        },
    )


def stale_stages(flow: Definition, state: ItemState) -> list[str]:
    """Finished stages of the item that another version of theirs made, in topological order."""
    if state.phase is ItemPhase.CANCELLED:
        return []
    return [
        name
        for name, stage in flow.stages.items()
        if (row := state.stages.get(name)) is not None and row.state.is_finished and row.attempt and row.version != stage.version
    ]


async def rerun_stale(store: StateStore, flow: Definition, operator: str, *, dry_run: bool = False) -> list[str]:
    """Ids of the items that had stale stages; those, and what was built on them, are pending again (not in a ``dry_run``).

    Raises:
        StoreError: items wait in stages that are no more, or the store is another workflow's.
    """
    if not dry_run:
        await store.bind(flow)
    found = []
    async for state in _items(store):
        if not stale_stages(flow, state):
            continue
        found.append(state.id)
        for _ in flow.stages if not dry_run else ():
            if not await _rerun_first(store, flow, state.id, operator):
                break
    return found


async def _rerun_first(store: StateStore, flow: Definition, item_id: str, operator: str) -> bool:
    """The item's first stale stage is pending again with all that was built on it; whether there was one."""
    done = False

    def change(state: ItemState) -> Transition:
        nonlocal done
        now, stale = now_us(), stale_stages(flow, state)
        done = bool(stale)
        if not stale:
            return Transition(now)
        reason = f"version {flow.stages[stale[0]].version}"
        return decide.rerun(flow, state, stale[0], now, cascade=True, operator=operator, reason=reason)

    await store.revise(item_id, change)
    return done


async def drop_stage(store: StateStore, stage: str, operator: str) -> int:
    """Items that waited in the stage skip it for good, and go on without it; how many there were.

    Raises:
        StageNotFound: the store knows no such stage.
    """
    shape = await store.shape()
    if shape is None:
        raise StoreError("this store has no workflow yet; there is no stage to drop")
    if stage not in shape.stages:
        raise StageNotFound(stage, tuple(shape.stages))
    rest = {name: [need for need in needs if need != stage] for name, needs in shape.stages.items() if name != stage}
    flow, dropped = Definition.from_shape(shape.workflow, rest), 0
    async for state in _items(store):
        row = state.stages.get(stage)
        if row is not None and decide.is_live(row):
            await store.revise(state.id, lambda found: decide.drop(flow, found, stage, operator, now_us()))
            dropped += 1
    return dropped


async def _items(store: StateStore) -> AsyncIterator[ItemState]:
    after = None
    while page := await store.page(Filter(), after, _PAGE):
        after = page[-1].id
        for state in page:
            if state.problem is None:
                yield state


def _touched(flow: Definition, state: ItemState, stale: set[str]) -> list[str]:
    """Stale stages and everything that was built on them."""
    below = set(stale)
    for name, stage in flow.stages.items():
        if below.intersection(stage.needs):
            below.add(name)
    return [name for name in flow.stages if name in below and _is_made(state.stages.get(name))]


def _is_made(row: StageRow | None) -> bool:
    return row is not None and row.attempt > 0


def _is_decided(state: ItemState, stage: str) -> bool:
    review = state.reviews.get(stage)
    return review is not None and review.decision not in (None, Decided.WITHDRAWN)
