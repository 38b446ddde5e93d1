// What the page says: notices at the top of the desk, at most one of a kind, and words for a screen reader.

import { visible } from './visible.js';

const said = document.getElementById('said');
const place = document.getElementById('notices');

export function announce(text) {
  said.textContent = '';
  requestAnimationFrame(() => { said.textContent = text; });
}

/** @param {string} kind takes the place of the last one of that kind */
export function notice(kind, text, { bad = false, act = null, label = '' } = {}) {
  clearNotice(kind);
  const line = document.createElement('div');
  line.dataset.kind = kind;
  line.classList.toggle('bad', bad);
  line.append(Object.assign(document.createElement('span'), { textContent: visible(text) }));
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: label || 'Close' });
  button.addEventListener('click', () => { line.remove(); act?.(); });
  line.append(button);
  place.append(line);
  return button;
}

export const clearNotice = (kind) => place.querySelector(`[data-kind="${kind}"]`)?.remove();
