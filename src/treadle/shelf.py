"""The large artefacts of an item that is driven: put away after an attempt, taken out before one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from treadle.artefact import MAX_INLINE, is_large
from treadle.attempt import Subject, needs_of
from treadle.definition import StageDefinition
from treadle.errors import StoreCorrupt
from treadle.gathered import stored_text
from treadle.patience import patiently
from treadle.state import AttemptRow
from treadle.store import StateStore

log: logging.Logger = logging.getLogger("treadle.driver")

SURELY_INLINE = MAX_INLINE // 4
"""Characters that fit into a row, whatever they are."""


class Shelf:
    """Knows whether an item has anything beside its rows, so that the others pay nothing for it."""

    def __init__(self, store: StateStore, subject: Subject) -> None:
        self._store = store
        self._subject = subject
        self.is_used: bool = False
        self.look()

    def look(self) -> None:
        """Others may have changed the rows."""
        self.is_used = self.is_used or bool(self._subject.state.stages and self._subject.large(self._subject.state.stages))

    async def put(self, attempt: AttemptRow) -> AttemptRow:
        """The attempt with a reference in place of a large artefact, which is on disk by then; faults that pass are waited out."""
        text = attempt.artefact
        if text is None or not is_large(text):
            return attempt
        self.is_used = True
        item = self._subject.state
        keep = partial(self._store.keep, item, text)
        return attempt._replace(artefact=await patiently(keep, "a large artefact cannot be written now", log, item.id))

    async def texts(self, stage: StageDefinition) -> tuple[Mapping[str, str], StoreCorrupt | None]:
        """The JSON of the large artefacts that the stage may read, by reference; or what is wrong with one of them.

        They are read before the attempt and forgotten with it: decoding takes as long as reading them again.
        """
        state, found = self._subject.state, {}
        try:
            for need, reference in self._subject.large(needs_of(stage)):
                if reference not in found:
                    found[reference] = await self._read(state.id, need, reference)
        except StoreCorrupt as error:
            log.error("%s", error, extra={"item": state.id, "stage": stage.name})  # noqa: TRY400 - the message says it all
            return found, error
        return found, None

    async def _read(self, item_id: str, stage: str, reference: str) -> str:
        read = partial(stored_text, self._store, item_id, stage, reference)
        return await patiently(read, "a large artefact cannot be read now", log, item_id)
