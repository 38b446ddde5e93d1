// What changed between two texts, line by line.

import { visible } from './visible.js';

const MOST = 2000;
const CONTEXT = 2;
const WIDEST = 2000;

/**
 * Lines as [sign, text]; sign is '+', '-' or ' '.
 * @param {string} before
 * @param {string} after
 */
export function difference(before, after) {
  const old = before.split('\n'), now = after.split('\n');
  let start = 0, end = 0;
  while (start < Math.min(old.length, now.length) && old[start] === now[start]) start += 1;
  while (end < Math.min(old.length, now.length) - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  const same = (lines) => lines.map((line) => [' ', line]);
  return [
    ...same(old.slice(0, start)),
    ...between(old.slice(start, old.length - end), now.slice(start, now.length - end)),
    ...same(old.slice(old.length - end)),
  ];
}

function between(old, now) {
  if (old.length * now.length > MOST * MOST) return [...old.map((line) => ['-', line]), ...now.map((line) => ['+', line])];
  const width = now.length + 1;
  const longest = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = old[i] === now[j]
        ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const lines = [];
  let i = 0, j = 0;
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      lines.push([' ', old[i]]);
      i += 1; j += 1;
    } else if (i < old.length && (j === now.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      lines.push(['-', old[i]]);
      i += 1;
    } else {
      lines.push(['+', now[j]]);
      j += 1;
    }
  }
  return lines;
}

/** The place shows the difference, with a little around it; says whether there is one. */
export function showDifference(place, before, after) {
  const lines = difference(before, after);
  const near = (at) => lines.slice(Math.max(at - CONTEXT, 0), at + CONTEXT + 1).some(([sign]) => sign !== ' ');
  const shown = [];
  let gap = true;
  lines.forEach(([sign, text], at) => {
    if (!near(at)) {
      if (!gap) shown.push(row('gap', ' ', '…'));
      gap = true;
      return;
    }
    gap = false;
    shown.push(row({ '+': 'added', '-': 'removed', ' ': 'same' }[sign], sign, text));
  });
  const changed = lines.some(([sign]) => sign !== ' ');
  place.replaceChildren(...(changed ? shown : [row('same', ' ', 'Nothing is changed yet.')]));
  return changed;
}

function row(kind, sign, text) {
  const line = document.createElement('div');
  line.className = kind;
  const mark = document.createElement('span');
  mark.className = 'sign';
  mark.textContent = sign === '-' ? '−' : sign;
  line.append(mark, visible(text.length > WIDEST ? `${text.slice(0, WIDEST)}… (${text.length.toLocaleString('en')} characters)` : text));
  return line;
}
