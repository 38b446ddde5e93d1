"""W1 on DBOS: a workflow an item, five steps each recorded in SQLite. Prints stages a second."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS

AT_ONCE = 10


@DBOS.step()
def stage(number: int) -> dict[str, int]:
    return {"n": number}


@DBOS.workflow()
def chain(number: int) -> None:
    for _ in range(5):
        stage(number)


def main(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{Path(folder) / 'dbos.db'}",
                "log_level": "ERROR",
                "run_admin_server": False,
            }
        )
        DBOS.launch()
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(chain, range(count)))
        elapsed = time.perf_counter() - began
        assert len(DBOS.list_workflows(status="SUCCESS", limit=count + 1)) == count
        DBOS.destroy()
    return 5 * count / elapsed


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    rate = main(int(sys.argv[1]))
    print(rate, flush=True)
    os._exit(0)  # its threads may outlive it
