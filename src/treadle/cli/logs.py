"""What the command line logs, where somebody asked for it."""

from __future__ import annotations

import logging
import sys
from typing import Literal, get_args

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


def configure_logging(level: LogLevel | None, shape: LogFormat | None) -> None:
    """Treadle logs to standard error from ``level`` on; without one, nothing does."""
    from treadle.cli.common import setting

    chosen = _one_of("log_level", setting("log_level", level), get_args(LogLevel))
    form = _one_of("log_format", setting("log_format", shape), get_args(LogFormat))
    if chosen is None:
        return
    handler = _ToStandardError()
    if form == "json":
        from treadle.logs import JsonFormatter

        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_Text("{asctime} {levelname} {message}", "%H:%M:%S", style="{"))
    logger = logging.getLogger("treadle")
    logger.addHandler(handler)
    logger.setLevel(chosen.upper())


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    from treadle.cli.common import WrongUse

    if value is not None and value not in known:
        raise WrongUse(f"{name} is {value!r}; it can be {', '.join(known)}")
    return value


class _Text(logging.Formatter):
    """Lines for people; what came from data cannot steer their terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from treadle.cli.common import clean

        return clean(super().format(record), lines=True)


class _ToStandardError(logging.Handler):
    """Writes to what standard error is at the moment: a progress bar takes it over to write above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)
