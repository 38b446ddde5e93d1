"""``treadle review`` on a terminal: one review a screen, one key a decision."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from treadle.cli import keys
from treadle.cli.any_inbox import AnyInbox
from treadle.cli.case import case_parts, choices
from treadle.cli.desk_editing import Editing
from treadle.cli.paint import BAD, GOOD, LOUD, QUIET, joined, said
from treadle.cli.review_looking import short
from treadle.cli.review_queue import Queue
from treadle.cli.screen import Page, Screen, both_ends
from treadle.cli.session import Session, word_of
from treadle.errors import InvalidTransition, ItemNotFound, LeaseLost, ReviewConflict
from treadle.history import Attempt
from treadle.inbox import ReviewCase
from treadle.outcome import Approve, ApproveWithEdits, Decision, Reject, RequestChanges
from treadle.state import AskedBy

Run = Callable[[Coroutine[Any, Any, Any]], Any]
REFUSED = (ReviewConflict, InvalidTransition, ItemNotFound, LeaseLost)
"""What another person, or the item itself, may have done meanwhile."""

_KEYS = (
    ("a", "approve"), ("e", "edit"), ("r", "reject"), ("c", "request changes"), ("s", "skip"), ("u", "undo"), ("q", "quit"),
    ("?", "help"),
)  # fmt: skip
_HELP = """\
a  approve: the stage completes with what waits. When no attempt was left, you choose the attempt.
e  edit what waits in your editor (VISUAL or EDITOR), see the difference, then approve it.
r  reject: the stage fails, with your reason.
c  request changes: one more attempt, which is told your feedback.
s  skip: it goes on waiting, for you or for others.
u  undo your last decision, if nothing was built on it yet.
q  quit. What you did not decide goes on waiting.

v  show all of what is cut, or cut it again.
space, b, ↑, ↓, Home, End  move in a long page.
Esc  goes back from every question. Nothing is sent before you say so.

While a review is on your screen it is in your hands: others pass it over."""
_DIGITS = 9


class Desk:
    """A person at their inbox.

    Args:
        run: awaits something to its end.
        waiting: how many reviews there were to begin with, if that is known.
    """

    def __init__(self, run: Run, inbox: AnyInbox, queue: Queue, reviewer: str, waiting: int | None) -> None:
        self._run = run
        self._inbox = inbox
        self._queue = queue
        self._reviewer = reviewer
        self._waiting = waiting
        self._note: Text | None = None
        self.session: Session = Session()
        self._screen = Screen(lambda: run(queue.renew()))
        self._editing = Editing(run, inbox, queue, self._screen, self.session)
        self._acts: dict[str, Callable[[ReviewCase], bool]] = {
            "a": self._approve, "e": self._edit, "r": self._reject, "c": self._request_changes, "s": self._skip, "u": self._undo,
            "?": self._help,
        }  # fmt: skip

    def work(self) -> None:
        """Every review was shown, or the person has quit."""
        if (case := self._next()) is None:
            return
        with self._screen:
            while case is not None or self._at_the_end():
                if case is not None and not self._on(case):
                    return
                case = self._next()

    def _next(self) -> ReviewCase | None:
        case: ReviewCase | None = self._run(self._queue.next())
        passed = self._queue.passed_over
        if passed:
            self.session.passed_over += len(passed)
            more = f"; {len(passed) - 1} more passed over" if len(passed) > 1 else ""
            self._tell(f"passed over: {passed[0]}{more}", "")
            passed.clear()
        return case

    def _on(self, case: ReviewCase) -> bool:
        """The review was decided or left; false when the person quits."""
        self.session.shown += 1
        self._show(case, is_new=True)
        while (key := self._screen.key()) not in ("q", keys.END_OF_INPUT):
            act = self._acts.get(key)
            if act is None:
                continue
            if act(case):
                return True
            self._show(case, is_new=False)
        return False

    def _at_the_end(self) -> bool:
        body = [said("Nothing more waits for you.", LOUD), said(self.session.summary())]
        self._screen.show(Page(self._head(said("reviews", LOUD)), lambda _width, _whole: body, (("u", "undo"), ("q", "quit"))))
        self._note = None
        while (key := self._screen.key()) not in ("q", keys.END_OF_INPUT, keys.ENTER, keys.ESCAPE):
            if key == "u" and self._undo(None):
                return True
        return False

    def _show(self, case: ReviewCase, *, is_new: bool) -> None:
        head = self._head(joined(said(short(case.review.item_id), LOUD), case.review.stage))
        page = Page(
            head, lambda width, whole: case_parts(case, width=width, is_whole=whole, reader=self._reviewer), _KEYS, can_cut=True
        )
        self._screen.show(page, is_new=is_new)
        self._note = None

    def _head(self, title: Text) -> Sequence[RenderableType]:
        done = len(self.session.made)
        left = None if self._waiting is None else f"{max(self._waiting - done, 0):,} waiting"
        tally = joined(f"{done} decided" if done else None, left, self._reviewer)
        tally.style = QUIET
        top = both_ends(title, tally)
        return [top] if self._note is None else [top, self._note]

    def _tell(self, text: str, style: str) -> None:
        """This stands on the next page; what was to stand there already stays."""
        told = said(text, style)
        self._note = told if self._note is None else Text("\n").join([self._note, told])

    # what the keys do: whether the review is done with

    def _approve(self, case: ReviewCase) -> bool:
        made = choices(case)
        if case.review.asked_by is not AskedBy.ESCALATION or (len(made) == 1 and case.artefact is not None):
            return self._send(case, Approve())
        if made:
            number = self._chosen(made)
            return number is not None and self._send(case, Approve(attempt=number))
        is_sure = (
            case.artefact is not None or self._screen.ask("No attempt made anything. Approve without?", (("y", "yes"),)) == "y"
        )
        return is_sure and self._send(case, Approve())

    def _chosen(self, made: Sequence[Attempt]) -> int | None:
        numbers = [str(attempt.number) for attempt in made]
        if made[-1].number <= _DIGITS:
            answer = self._screen.ask("Which attempt?", [(number, f"attempt {number}") for number in numbers])
            return None if answer is None else int(answer)
        answer = self._screen.line(f"Which attempt? One of {', '.join(numbers)}:", numbers[-1])
        return int(answer) if answer in numbers else None

    def _edit(self, case: ReviewCase) -> bool:
        edited = self._editing.edit(case)
        if isinstance(edited, str):
            self._tell(edited, "")
            return False
        return self._send(case, edited)

    def _reject(self, case: ReviewCase) -> bool:
        reason = self._screen.line("Why reject?")
        return reason is not None and self._send(case, Reject(reason))

    def _request_changes(self, case: ReviewCase) -> bool:
        feedback = self._screen.line("What should change?")
        return feedback is not None and self._send(case, RequestChanges(feedback))

    def _send(self, case: ReviewCase, decision: Decision) -> bool:
        review = case.review
        where, word = f"{review.item_id} · {review.stage}", word_of(decision)
        deciding = self._inbox.decide(
            review.item_id, review.stage, decision, reviewer=self._reviewer, revision=review.revision, digest=review.digest
        )
        try:
            self._run(deciding)
        except REFUSED as error:
            self._tell(f"× not {word}: {error}", BAD)
            return True
        self._queue.decided()
        self.session.made.append((review.item_id, review.stage, word))
        if isinstance(decision, ApproveWithEdits):
            self._editing.sent(case)
        self._tell(f"✓ {where} {word}", GOOD)
        return True

    def _skip(self, case: ReviewCase) -> bool:
        self.session.skipped += 1
        self._tell(f"– {case.review.item_id} · {case.review.stage} skipped", "")
        return True

    def _undo(self, case: ReviewCase | None) -> bool:
        if not self.session.made:
            self._tell("there is no decision of this sitting to undo", "")
            return False
        item_id, stage, word = self.session.made.pop()
        try:
            self._run(self._inbox.undo(item_id, stage))
        except REFUSED as error:
            self._tell(f"× still {word}: {error}", BAD)
            return False
        here = [] if case is None else [(case.review.item_id, case.review.stage)]
        self._queue.first((item_id, stage), *here)
        self._tell(f"↻ {item_id} · {stage} was {word} and waits again", "")
        return True

    def _help(self, _case: ReviewCase) -> bool:
        page = Page([said("keys", LOUD)], lambda _width, _whole: [said(_HELP)], (("any key", "goes back"),))
        self._screen.show(page)
        self._screen.key()
        return False
