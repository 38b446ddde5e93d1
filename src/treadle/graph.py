"""Order in a graph of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Graph = Mapping[str, Sequence[str]]
"""Each name with the names it depends on; every dependency is itself a key."""


def cycles(graph: Graph) -> list[str]:
    """One written-out cycle, ``a -> b -> a``, for every group of names that depend on each other."""
    rest = {name: list(needs) for name, needs in graph.items()}
    found = []
    while True:
        try:
            TopologicalSorter(rest).prepare()
        except CycleError as error:
            # graphlib gives a path along "is needed by"; people read "depends on".
            path = list(reversed(error.args[1]))
            start = min(range(len(path) - 1), key=path.__getitem__)
            path = path[start:-1] + path[:start] + [path[start]]
            found.append(" -> ".join(path))
            broken = set(path)
            rest = {name: [n for n in needs if n not in broken] for name, needs in rest.items() if name not in broken}
        else:
            return found


def layers(graph: Graph) -> list[list[str]]:
    """Names by depth: each depends only on names in earlier layers. Keeps the given order within one."""
    depth: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        depth[name] = 1 + max((depth[need] for need in graph[name]), default=-1)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in graph:
        found[depth[name]].append(name)
    return found


def order(graph: Graph) -> list[str]:
    """Names in topological order; where it is free, in the order they were given."""
    sorter = TopologicalSorter(graph)
    place = {name: index for index, name in enumerate(graph)}
    sorter.prepare()
    ready = sorted(sorter.get_ready(), key=place.__getitem__)
    found = []
    while ready:
        name = ready.pop(0)
        found.append(name)
        sorter.done(name)
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
    return found
