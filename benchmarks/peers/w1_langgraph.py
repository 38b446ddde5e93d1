"""W1 on LangGraph: a thread an item, a checkpoint in SQLite after each of five nodes. Prints stages a second."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

STAGES = ("one", "two", "three", "four", "five")


class Item(TypedDict):
    n: int


def main(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        con = sqlite3.connect(Path(folder) / "langgraph.db", check_same_thread=False)
        saver = SqliteSaver(con)
        saver.setup()
        con.execute("PRAGMA synchronous=FULL")
        graph = StateGraph(Item)
        for name, before in zip(STAGES, (START, *STAGES), strict=False):
            graph.add_node(name, lambda state: {"n": state["n"]})
            graph.add_edge(before, name)
        graph.add_edge("five", END)
        compiled = graph.compile(checkpointer=saver)
        began = time.perf_counter()
        for number in range(count):
            # "sync": a node's result is on disk before the next one starts.
            compiled.invoke({"n": number}, {"configurable": {"thread_id": f"item-{number}"}}, durability="sync")
        elapsed = time.perf_counter() - began
        (threads,) = con.execute("SELECT count(DISTINCT thread_id) FROM checkpoints").fetchone()
        assert threads == count, threads
        con.close()
    return 5 * count / elapsed


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
