"""Log records with their item, stage and attempt, as text or as JSON lines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else came with ``extra=``."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at, level, logger, message``, the record's own fields, ``error`` for a trace.

    Treadle's records carry ``item``, ``stage``, ``attempt`` and ``subtask`` where there is one.

    Example:
        >>> import logging
        >>> from treadle.logs import JsonFormatter
        >>> handler = logging.StreamHandler()
        >>> handler.setFormatter(JsonFormatter())
        >>> logging.getLogger("treadle").addHandler(handler)
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
