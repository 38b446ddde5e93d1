"""Who acts."""

from __future__ import annotations

import getpass

from treadle.cli.common import WrongUse, setting


def who(reviewer: str | None) -> str:
    """Who decides: the name that was given, ``TREADLE_REVIEWER``, or the login name."""
    if found := setting("reviewer", reviewer):
        return found
    if reviewer is not None:
        raise WrongUse("--reviewer is empty; give a name")
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise WrongUse("nobody knows your login name here; give --reviewer NAME") from error
