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
    "work": ("treadle.cli.working:work", "move items until told to stop"),
    "workers": ("treadle.cli.working:workers", "who works, and what they hold"),
    "pause": ("treadle.cli.working:pause", "let nobody claim items"),
    "resume": ("treadle.cli.working:resume", "let workers claim again"),
    "drain": ("treadle.cli.working:drain", "let workers finish what they hold, and end"),
    "status": ("treadle.cli.reading:status", "where all items are, or one of them"),
    "items": ("treadle.cli.reading:items", "items by id, a page at a time"),
    "show": ("treadle.cli.showing:show", "what an item's stages made, with every attempt"),
    "events": ("treadle.cli.reading:events", "the journal"),
    "retry": ("treadle.cli.acting:retry", "try again what failed"),
    "rerun": ("treadle.cli.rerunning:rerun", "do again what has finished"),
    "cancel": ("treadle.cli.acting:cancel", "stop items for good"),
    "gates": ("treadle.cli.review_looking:gates", "how often each gate was right"),
    "plan": ("treadle.cli.changing:plan", "what a changed workflow makes stale"),
    "migrate": ("treadle.cli.changing:migrate", "say what became of a stage"),
    "graph": ("treadle.cli.defining:graph", "draw a workflow"),
    "check": ("treadle.cli.defining:check", "find every problem of a workflow"),
    "serve": ("treadle.cli.serving:serve", "show it all in a browser, and let people decide there"),
    "export": ("treadle.cli.reading:export", "every item as JSON lines or CSV"),
    "backup": ("treadle.cli.keeping:backup", "copy the store beside whoever works on it"),
    "prune": ("treadle.cli.pruning:prune", "let go of items that ended long ago"),
    "doctor": ("treadle.cli.keeping:doctor", "what is wrong, and what to do"),
}
_REVIEW = {
    "list": ("treadle.cli.review_looking:review_list", "what waits, or was decided"),
    "show": ("treadle.cli.review_looking:review_show", "one review with all that is known"),
    "approve": ("treadle.cli.review_answering:review_approve", "accept it, or an earlier attempt"),
    "edit": ("treadle.cli.review_answering:review_edit", "accept another artefact in its place"),
    "reject": ("treadle.cli.review_answering:review_reject", "refuse it"),
    "changes": ("treadle.cli.review_answering:review_changes", "have it done again, with feedback"),
    "claim": ("treadle.cli.review_answering:review_claim", "take it into your hands for a while"),
    "release": ("treadle.cli.review_answering:review_release", "give it back"),
    "undo": ("treadle.cli.review_answering:review_undo", "take the last decision back"),
    "reopen": ("treadle.cli.review_answering:review_reopen", "ask a decided question anew"),
    "stats": ("treadle.cli.review_looking:review_stats", "how much waits, and how fast people are"),
}
_BULK = {
    "approve": ("treadle.cli.review_bulk:bulk_approve", "accept all that the filters find"),
    "reject": ("treadle.cli.review_bulk:bulk_reject", "refuse all that the filters find"),
    "changes": ("treadle.cli.review_bulk:bulk_changes", "have all of it done again"),
}
_USER = {
    "add": ("treadle.cli.teaming:user_add", "let somebody sign in"),
    "list": ("treadle.cli.teaming:user_list", "who may sign in"),
    "remove": ("treadle.cli.teaming:user_remove", "let somebody in no more"),
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
    app.command(_review_app(App, is_bare=words[:1] == ["review"] and all(word.startswith("-") for word in words[1:2])))
    user = App(name="user", help="Who may sign in on the web.")
    for name, (where, about) in _USER.items():
        user.command(where, name=name, help=about)
    app.command(user)
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


def _review_app(new: type[App], *, is_bare: bool) -> App:
    """The review commands; the one without a name cannot be given by its path, so it is imported where it is meant."""
    review = new(name="review", help="What waits for a person, and your answer.")
    if is_bare:
        from treadle.cli.reviewing import review as interactive

        review.default(interactive)
    bulk = new(name="bulk", help="One answer to many reviews.")
    for app, commands in ((review, _REVIEW), (bulk, _BULK)):
        for name, (where, about) in commands.items():
            app.command(where, name=name, help=about)
    review.command(bulk)
    return review
