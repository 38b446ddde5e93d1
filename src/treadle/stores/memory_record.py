"""One item in the store of this process."""

from __future__ import annotations

from treadle.state import ItemState, SubtaskBoard


class Group:
    """Items that stand alike, by their phases and the states of their stages."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size: int = 0


class Record(ItemState):
    """An item's rows as they are stored, and who has it."""

    __slots__ = ("expiry", "group", "wake", "worker")

    def __init__(self, item_id: str, key: int, added: int) -> None:
        super().__init__(item_id, None, key)
        self.added = added
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
            state.reviews = self.reviews.copy()
        return state
