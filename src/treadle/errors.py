"""The errors Treadle raises.

.. code-block:: text

    TreadleError
    ├── InvalidWorkflow      the definition has problems; all of them are in ``.problems``
    ├── StageNotFound        no stage of that name
    ├── ItemNotFound         no item of that id
    ├── ItemConflict         the id is taken by an item with other content
    ├── InvalidItem          the item has no id, a bad id, or content that is not JSON
    ├── InvalidTransition    the stage is not in a state that allows the act
    ├── ReviewConflict       the review was decided, or changed, by somebody else
    ├── InvalidArtefact      a value does not fit its type; path and reason a field
    ├── SourceFailed         the iterable of items raised; what came before it is safe
    ├── LeaseLost            another worker owns the item now; nothing was written
    └── StoreError           the store refused
        ├── StoreUnavailable     it cannot be reached or opened
        ├── StoreFull            no space is left
        ├── StoreCorrupt         what it holds cannot be read
        └── SchemaTooNew         a later Treadle wrote it

What user code raises is never one of these: it is recorded on the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.wording import counted


class TreadleError(Exception):
    """The root of everything Treadle raises."""


class InvalidWorkflow(TreadleError):
    """The definition cannot run; ``problems`` holds every reason found, one sentence each."""

    def __init__(self, workflow: str, problems: Sequence[str]) -> None:
        self.workflow: str = workflow
        self.problems: list[str] = list(problems)
        count = counted(len(self.problems), "problem")
        super().__init__("\n".join([f"workflow {workflow!r} has {count}:", *(f"  - {p}" for p in self.problems)]))


class StageNotFound(TreadleError):
    """No stage of that name exists; the message lists those that do."""

    def __init__(self, stage: str, known: Sequence[str] = ()) -> None:
        self.stage: str = stage
        hint = f"; stages are {', '.join(known)}" if known else ""
        super().__init__(f"no stage {stage!r}{hint}")


class ItemNotFound(TreadleError):
    """The store holds no item of that id."""

    def __init__(self, item_id: str) -> None:
        self.item_id: str = item_id
        super().__init__(f"no item {item_id!r} in this store; `treadle items` lists those it has")


class ItemConflict(TreadleError):
    """An item of that id is stored with other content; the stored one is untouched."""

    def __init__(self, item_id: str) -> None:
        self.item_id: str = item_id
        super().__init__(
            f"item {item_id!r} is already stored with other content; give the new one another id, or put its version into the id"
        )


class InvalidItem(TreadleError):
    """The item was not taken: no id, a bad id, or content that cannot be stored as JSON."""


class InvalidTransition(TreadleError):
    """The stage's state does not allow the act; nothing was changed."""


class ReviewConflict(TreadleError):
    """Somebody decided first, or the stage is not waiting; says who and what."""


class InvalidArtefact(TreadleError):
    """A value does not fit the type it is stored as; ``problems`` is ``path: reason`` a field."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems: list[str] = list(problems)
        super().__init__(f"{where}: {'; '.join(self.problems)}")


class SourceFailed(TreadleError):
    """The iterable of items raised; items it gave before are stored and moved on."""


class LeaseLost(TreadleError):
    """The claim is another worker's now, or was revoked; nothing was written."""


class StoreError(TreadleError):
    """The store could not do what was asked; ``may_pass`` says that the same may work a moment later."""

    may_pass: bool = False


class StoreUnavailable(StoreError):
    """The store cannot be opened or reached now."""


class StoreFull(StoreError):
    """No space is left; nothing unacknowledged was kept."""


class StoreCorrupt(StoreError):
    """What is stored cannot be read; the message names the row or the file, ``item_id`` the item if it is one's row."""

    def __init__(self, message: str, item_id: str | None = None) -> None:
        self.item_id: str | None = item_id
        super().__init__(message)


class SchemaTooNew(StoreError):
    """A later Treadle wrote this store; it was left untouched."""
