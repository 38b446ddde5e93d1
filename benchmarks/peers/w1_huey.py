"""W1 on huey: a pipeline of five tasks an item through a SQLite queue, with fsync. Prints stages a second."""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
import time
from pathlib import Path

from huey import SqliteHuey

WORKERS = 4


def main(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        huey = SqliteHuey("w1", filename=str(Path(folder) / "huey.db"), fsync=True)
        done, left, lock = threading.Event(), [count], threading.Lock()

        @huey.task()
        def stage(number: int) -> int:
            return number

        @huey.task()
        def last(number: int) -> int:
            with lock:
                left[0] -= 1
                if not left[0]:
                    done.set()
            return number

        for number in range(count):
            huey.enqueue(stage.s(number).then(stage).then(stage).then(stage).then(last))
        consumer = huey.create_consumer(workers=WORKERS, periodic=False, initial_delay=0.001, max_delay=0.01)
        began = time.perf_counter()
        consumer.start()
        assert done.wait(600), left
        elapsed = time.perf_counter() - began
        consumer.stop(graceful=True)
    return 5 * count / elapsed


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(main(int(sys.argv[1])))
