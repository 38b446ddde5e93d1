// Places the nodes of a drawing that the server has written, and joins them. The layout is dagre's; the drawing is ours.

import { Graph, layout } from './vendor/dagre.esm.js';

const LEAST = 0.85;
const MARGIN = 4;
const SVG = 'http://www.w3.org/2000/svg';
const known = new Map();

const nodesOf = (svg) => [...svg.querySelectorAll('[data-node]')].map((element) => ({
  element,
  name: element.dataset.node,
  needs: element.dataset.needs ? element.dataset.needs.split(' ') : [],
  width: Number(element.dataset.width),
  height: Number(element.dataset.height),
}));

/** Where dagre puts the nodes when the DAG runs that way. */
function laidOut(nodes, direction) {
  const key = `${direction}\n${nodes.map((node) => `${node.name} ${node.needs} ${node.width} ${node.height}`).join('\n')}`;
  if (!known.has(key)) {
    const graph = new Graph();
    graph.setGraph({ rankdir: direction, nodesep: 22, ranksep: direction === 'LR' ? 38 : 34, marginx: MARGIN, marginy: MARGIN });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const { name, width, height } of nodes) graph.setNode(name, { width, height });
    for (const { name, needs } of nodes) for (const need of needs) if (graph.hasNode(need)) graph.setEdge(need, name);
    layout(graph);
    known.set(key, graph);
  }
  return known.get(key);
}

/** From left to right while that can be read, else from top to bottom if that is larger. */
function best(nodes, room) {
  const wide = laidOut(nodes, 'LR');
  const scaleOf = (graph) => Math.min(1, room / graph.graph().width);
  if (scaleOf(wide) >= LEAST) return [wide, scaleOf(wide), 'LR'];
  const high = laidOut(nodes, 'TB');
  return scaleOf(high) > scaleOf(wide) ? [high, Math.max(scaleOf(high), LEAST), 'TB'] : [wide, Math.max(scaleOf(wide), LEAST), 'LR'];
}

/** A curve from the edge of one node to the edge of the other, past where dagre leads it. */
function curve(graph, edge, direction) {
  const [from, to] = [graph.node(edge.v), graph.node(edge.w)];
  const across = direction === 'LR';
  const start = across ? { x: from.x + from.width / 2, y: from.y } : { x: from.x, y: from.y + from.height / 2 };
  const end = across ? { x: to.x - to.width / 2, y: to.y } : { x: to.x, y: to.y - to.height / 2 };
  const through = graph.edge(edge).points.slice(1, -1);
  const points = [start, ...(through.length > 1 ? through : []), end];
  let path = `M${start.x},${start.y}`;
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1], points[i]];
    path += across
      ? `C${(a.x + b.x) / 2},${a.y} ${(a.x + b.x) / 2},${b.y} ${b.x},${b.y}`
      : `C${a.x},${(a.y + b.y) / 2} ${b.x},${(a.y + b.y) / 2} ${b.x},${b.y}`;
  }
  return path;
}

/** In a drawing that is larger than its frame, what is chosen is in sight, or else where it begins. */
function show(svg, graph, scale) {
  const [frame, chosen] = [svg.parentElement, svg.querySelector('.is-chosen') ?? svg.querySelector('.box')];
  const node = graph.node(chosen.closest('[data-node]').dataset.node);
  frame.scrollTop = node.y * scale - frame.clientHeight / 2;
  frame.scrollLeft = node.x * scale - frame.clientWidth / 2;
}

function place(svg) {
  const nodes = nodesOf(svg);
  if (!nodes.length) return;
  const style = getComputedStyle(svg.parentElement);
  const room = svg.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const [graph, scale, direction] = best(nodes, room);
  for (const { element, name } of nodes) {
    const { x, y, width, height } = graph.node(name);
    element.setAttribute('transform', `translate(${x - width / 2},${y - height / 2})`);
  }
  const { width, height } = graph.graph();
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('width', Math.ceil(width * scale));
  svg.setAttribute('height', Math.ceil(height * scale));
  svg.querySelector('.edges').replaceChildren(...graph.edges().map((edge) => {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', curve(graph, edge, direction));
    return path;
  }));
  if (!svg.classList.contains('is-placed')) show(svg, graph, scale);
  svg.classList.add('is-placed');
}

const drawings = () => document.querySelectorAll('svg[data-dag]');
const isPlaced = (svg) => svg.classList.contains('is-placed') && !svg.querySelector('[data-node]:not([transform])');

// What the server sends anew comes without places; it gets them before it is painted.
new MutationObserver(() => { for (const svg of drawings()) if (!isPlaced(svg)) place(svg); })
  .observe(document.getElementById('main'), { childList: true, subtree: true, attributes: true, attributeFilter: ['transform', 'class'] });
addEventListener('resize', () => { for (const svg of drawings()) place(svg); });
for (const svg of drawings()) place(svg);
