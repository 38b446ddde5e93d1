"""Pictures of a graph: Mermaid, Graphviz, SVG, and a tree for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from treadle import graph as graphs

Graph = Mapping[str, Sequence[str]]
"""Each stage with the stages it waits for, in topological order."""

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 132, 34, 56, 20, 14

_MAX_LABEL = 17


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, left to right."""
    # Names may hold dots and hyphens, and words such as "end" are Mermaid's own: so nodes go by number.
    place = {name: f"s{index}" for index, name in enumerate(graph)}
    lines = ["flowchart LR", *(f'    {place[name]}["{name}"]' for name in graph)]
    lines += [f"    {place[need]} --> {place[name]}" for name, needs in graph.items() for need in needs]
    return "\n".join(lines) + "\n"


def dot(title: str, graph: Graph) -> str:
    """A Graphviz digraph, left to right."""
    lines = [f"digraph {json.dumps(title)} {{", "    rankdir=LR;", "    node [shape=box];"]
    lines += [f"    {json.dumps(name)};" for name in graph]
    lines += [f"    {json.dumps(need)} -> {json.dumps(name)};" for name, needs in graph.items() for need in needs]
    return "\n".join([*lines, "}"]) + "\n"


def as_json(title: str, graph: Graph) -> str:
    """The workflow's name and its stages with what they wait for."""
    return json.dumps({"workflow": title, "stages": [{"name": n, "needs": list(needs)} for n, needs in graph.items()]}, indent=2)


def tree(graph: Graph) -> str:
    """An indented tree from the roots; a stage with several needs stands under the last of them, naming the others."""
    order = list(graph)
    parent = {name: max(needs, key=order.index) if needs else None for name, needs in graph.items()}
    lines: list[str] = []

    def grow(name: str, lead: str, branch: str) -> None:
        others = ", ".join(need for need in graph[name] if need != parent[name])
        lines.append(f"{lead}{branch}{name}" + (f"  (and after {others})" if others else ""))
        below = [child for child in order if parent[child] == name]
        deeper = lead + {"": "", "├── ": "│   ", "└── ": "    "}[branch]
        for child in below:
            grow(child, deeper, "└── " if child == below[-1] else "├── ")

    for root in order:
        if parent[root] is None:
            grow(root, "", "")
    return "\n".join(lines)


def svg(graph: Graph) -> str:
    """A drawing by layers, left to right, that needs nothing from elsewhere."""
    layers = graphs.layers(graph)
    rows = max((len(layer) for layer in layers), default=1)
    at: dict[str, tuple[int, int]] = {}
    for column, layer in enumerate(layers):
        top = _MARGIN + (rows - len(layer)) * (_BOX_HEIGHT + _GAP_Y) // 2
        for row, name in enumerate(layer):
            at[name] = (_MARGIN + column * (_BOX_WIDTH + _GAP_X), top + row * (_BOX_HEIGHT + _GAP_Y))
    width = 2 * _MARGIN + len(layers) * (_BOX_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + rows * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y
    edges = [_edge(at[need], at[name]) for name, needs in graph.items() for need in needs]
    boxes = [_box(name, *place) for name, place in at.items()]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, *edges, *boxes, "</svg>"]) + "\n"


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _BOX_WIDTH, start[1] + _BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + _BOX_HEIGHT // 2
    bend = max((x2 - x1) // 2, 12)
    return f'<path d="M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}" fill="none" stroke="#b9b3a4" stroke-width="1.5"/>'


def _box(name: str, x: int, y: int) -> str:
    shown = name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…"
    return (
        f'<g><title>{escape(name)}</title><rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" fill="#fffdf9" stroke="#e2ddd2"/>'
        f'<text x="{x + 12}" y="{y + 22}" font-family="system-ui, sans-serif" font-size="13" font-weight="600" fill="#22252a">{escape(shown)}</text></g>'
    )
