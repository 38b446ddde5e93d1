"""The artefact of a review from the desk to the editor and back, until it fits or is given up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from treadle.cli.any_inbox import AnyInbox
from treadle.cli.draft import BrokenDraft, Draft
from treadle.cli.paint import ASKS, BAD, GOOD, LOUD, QUIET, joined, said
from treadle.cli.review_queue import Queue
from treadle.cli.screen import Page, Screen
from treadle.cli.session import Session
from treadle.errors import InvalidArtefact, ItemNotFound
from treadle.inbox import ReviewCase
from treadle.outcome import ApproveWithEdits

_STYLE = {"+": GOOD, "-": BAD, "@": QUIET}


class Editing:
    """Edits of one sitting; a text that was not sent stays in its file, and is what the next edit begins with."""

    def __init__(
        self, run: Callable[[Coroutine[Any, Any, Any]], Any], inbox: AnyInbox, queue: Queue, screen: Screen, session: Session
    ) -> None:  # fmt: skip
        self._run = run
        self._inbox = inbox
        self._queue = queue
        self._screen = screen
        self._session = session
        self._folder: Path | None = None
        self._drafts: dict[tuple[str, str, int], Draft] = {}

    def edit(self, case: ReviewCase) -> ApproveWithEdits | str:
        """The edit that the person wants to send, or why there is none."""
        draft = self._draft(case)
        while True:
            try:
                value = self._edited(case, draft)
            except BrokenDraft as error:
                draft.explain(error.problems)
                if self._wants_again(case, draft, error.problems):
                    continue
                return f"nothing was sent; your text is in {draft.path}, and e goes on with it"
            if not draft.differs(value):
                self._forget(case)
                return "nothing was changed, so nothing was sent"
            match self._confirmed(case, draft, value):
                case "y":
                    return ApproveWithEdits(value)
                case "e":
                    continue
                case _:
                    return f"nothing was sent; your text is in {draft.path}, and e goes on with it"

    def sent(self, case: ReviewCase) -> None:
        """The edit is stored: its file is not needed any more."""
        self._forget(case)

    def _draft(self, case: ReviewCase) -> Draft:
        review = case.review
        key = (review.item_id, review.stage, review.revision)
        if key not in self._drafts:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="treadle-"))
            artefact = self._run(self._inbox.artefact(review.item_id, review.stage))
            self._drafts[key] = Draft(self._folder, review.item_id, review.stage, artefact)
            self._session.kept.append(self._drafts[key].path)
        return self._drafts[key]

    def _forget(self, case: ReviewCase) -> None:
        draft = self._drafts.pop((case.review.item_id, case.review.stage, case.review.revision))
        self._session.kept.remove(draft.path)
        draft.drop()
        if self._folder is not None and not self._drafts:
            self._folder.rmdir()
            self._folder = None

    def _edited(self, case: ReviewCase, draft: Draft) -> Any:
        """What the person made of it, if it fits the stage's type."""
        with self._screen.left():
            value = draft.edit(lambda: self._run(self._queue.renew()))
        try:
            self._run(self._inbox.preview(case.review.item_id, case.review.stage, value))
        except InvalidArtefact as error:
            raise BrokenDraft(error.problems) from error
        except ItemNotFound as error:
            raise BrokenDraft([str(error)]) from error
        return value

    def _wants_again(self, case: ReviewCase, draft: Draft, problems: Sequence[str]) -> bool:
        body: list[RenderableType] = [Text.assemble(("× ", BAD), said(problem)) for problem in problems]
        body += ["", said(f"Your text is kept in {draft.path}; these lines now stand at its top.", QUIET)]
        self._screen.show(
            Page(_head(case, "this cannot be sent yet"), lambda _width, _whole: body, (("e", "edit again"), ("Esc", "back")))
        )
        return self._screen.one_of("e") == "e"

    def _confirmed(self, case: ReviewCase, draft: Draft, value: Any) -> str | None:
        body = [said(line, _STYLE.get(line[:1], "")) for line in draft.diff(value)]
        named = (("y", "send this and approve"), ("e", "edit again"), ("Esc", "back"))
        self._screen.show(Page(_head(case, "your edit"), lambda _width, _whole: body, named))
        return self._screen.one_of("ye")


def _head(case: ReviewCase, what: str) -> list[RenderableType]:
    return [joined(said(case.review.item_id, LOUD), case.review.stage, said(what, ASKS))]
