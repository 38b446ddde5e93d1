"""The ``treadle`` command."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from treadle import __version__
from treadle.cli.logs import LogFormat, LogLevel, configure_logging
from treadle.errors import StoreError, TreadleError

DONE, SOME_FAILED, WRONG_USE, STORE_UNAVAILABLE, PEOPLE_MUST_DECIDE = 0, 1, 2, 3, 4

_COMMANDS = {
    "init": ("treadle.cli.defining:init", "write a small working pipeline and its test"),
    "run": ("treadle.cli.running:run", "move items as far as they can go"),
    "status": ("treadle.cli.reading:status", "where all items are, or one of them"),
    "items": ("treadle.cli.reading:items", "items by id, a page at a time"),
    "show": ("treadle.cli.reading:show", "what an item's stages made, with every attempt"),
    "events": ("treadle.cli.reading:events", "the journal"),
    "retry": ("treadle.cli.acting:retry", "try again what failed"),
    "cancel": ("treadle.cli.acting:cancel", "stop an item for good"),
    "graph": ("treadle.cli.defining:graph", "draw a workflow"),
    "check": ("treadle.cli.defining:check", "find every problem of a workflow"),
    "export": ("treadle.cli.reading:export", "every item as JSON lines or CSV"),
    "doctor": ("treadle.cli.reading:doctor", "what is wrong, and what to do"),
}
_REVIEW = {
    "list": ("treadle.cli.acting:review_list", "what waits"),
    "approve": ("treadle.cli.acting:review_approve", "accept it"),
    "reject": ("treadle.cli.acting:review_reject", "refuse it"),
}
_EVERYWHERE = Parameter(group=Group("With every command", sort_key=99), negative="")


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(given)
    except TreadleError as error:
        if "--debug" in given:
            traceback.print_exc()
        else:
            from treadle.cli.common import clean

            print(clean(str(error), lines=True), file=sys.stderr)
        code = STORE_UNAVAILABLE if isinstance(error, StoreError) else WRONG_USE
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read has seen enough (``| head``); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    raise SystemExit(code)


def _dispatch(words: list[str]) -> int:
    """Commands are named by import path, so that only the one at hand is imported."""
    app = App(name="treadle", help="Move work items through stages, durably, with people in the loop.", version=__version__)
    for name, (where, about) in _COMMANDS.items():
        app.command(where, name=name, help=about)
    review = App(name="review", help="What waits for a person, and your answer.")
    for name, (where, about) in _REVIEW.items():
        review.command(where, name=name, help=about)
    app.command(review)
    app.register_install_completion_command()

    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        log_level: Annotated[LogLevel | None, _EVERYWHERE] = None,
        log_format: Annotated[LogFormat | None, _EVERYWHERE] = None,
        debug: Annotated[bool, _EVERYWHERE] = False,
    ) -> Any:
        """Run the command.

        Args:
            tokens: the command and what belongs to it.
            log_level: log to standard error from this level on; or set TREADLE_LOG_LEVEL.
            log_format: text, or json for one object a line; or set TREADLE_LOG_FORMAT.
            debug: show the whole trace of an error.
        """
        del debug  # ``main`` looks at it, since errors pass through here
        configure_logging(log_level, log_format)
        return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")

    app.meta.default(launch)
    try:
        result = app.meta(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"{error} See `treadle --help`.".replace("\n", " "), file=sys.stderr)
        return WRONG_USE
    return result if isinstance(result, int) else DONE
