"""One item in the store of this process."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.state import ItemPhase, ItemState, ReviewRow, StageRow, SubtaskBoard


class Group:
    """Items that stand alike, by their phases and the states of their stages."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size: int = 0


_PENDING = ItemPhase.PENDING
_NO_BOARDS: Mapping[str, SubtaskBoard] = {}
_NO_REVIEWS: Mapping[str, ReviewRow] = {}


class Record:
    """An item's rows as they are stored, and who has it; the fields that it shares with ``ItemState`` mean the same."""

    __slots__ = (
        "added",
        "boards",
        "expiry",
        "fence",
        "group",
        "id",
        "key",
        "lost",
        "news",
        "payload",
        "phase",
        "priority",
        "reviews",
        "stages",
        "urgency",
        "wake",
        "worker",
    )

    def __init__(self, item_id: str, key: int, added: int) -> None:
        self.id: str = item_id
        self.payload: str | None = None
        self.key: int = key
        self.fence: int = 0
        self.news: int = 0
        self.phase: ItemPhase = _PENDING
        self.priority: int = 0
        self.urgency: int = 0
        self.added: int = added
        self.lost: str | None = None
        self.stages: dict[str, StageRow] = {}
        self.boards: Mapping[str, SubtaskBoard] = _NO_BOARDS
        """Most items have neither these nor reviews, so whoever adds one puts another mapping in the place of all."""
        self.reviews: Mapping[str, ReviewRow] = _NO_REVIEWS
        self.worker: int | None = None
        """Who holds it."""
        self.wake: int | None = None
        """When it is due."""
        self.expiry: int | None = None
        self.group: Group | None = None
        """Where it is counted."""

    def copy(self, *, boards: bool = True) -> ItemState:
        """Its rows for somebody who changes them."""
        state = ItemState(
            self.id, self.payload, self.key, self.fence, self.news, self.phase, self.priority, self.urgency, self.added, self.lost
        )
        if self.stages:
            state.stages = self.stages.copy()
        if self.boards and boards:
            state.boards = {name: SubtaskBoard(board.rows) for name, board in self.boards.items()}
        if self.reviews:
            state.reviews = dict(self.reviews)
        return state
