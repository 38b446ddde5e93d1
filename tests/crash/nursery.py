"""A process that has imported everything once and forks a worker whenever it is told to, so that a thousand cost a minute.

It reads orders as lines of JSON and answers each with a line: ``{"start": [function, words...], "twists": [...], "errors":
path}`` with the pid of a new child, ``{"wait": pid}`` with the exit code of one that ends, ``{"ended": pid}`` with that
code or ``null``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from tests.crash import apps, twists


def main() -> None:
    """Serve until nobody gives orders any more."""
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            answer: int | None = _start(order)
        else:
            pid, options = (order["wait"], 0) if "wait" in order else (order["ended"], os.WNOHANG)
            ended, status = os.waitpid(pid, options)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _start(order: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        become(order)
        code = 0
    except BaseException:  # noqa: BLE001 - its parent reads it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def become(order: dict[str, Any]) -> None:
    """The child: its pipes are its own, what is twisted in it is twisted, and it does what it was started for."""
    nothing, errors = os.open(os.devnull, os.O_RDWR), os.open(order["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for place, handle in ((0, nothing), (1, nothing), (2, errors)):
        os.dup2(handle, place)
    for name, *words in order["twists"]:
        getattr(twists, name)(*words)
    function, *words = order["start"]
    getattr(apps, function)(*words)


if __name__ == "__main__":
    main()
