// The queue: which review is before you, which comes next, and rows that follow what happens elsewhere.

import { url } from './http.js';
import { draftOf } from './inbox-drafts.js';

const list = document.getElementById('queue');
const none = document.getElementById('queue-empty');
const reader = document.getElementById('inbox').dataset.reader;
const MOST = 200;
const sent = new Set();

const rows = () => [...list.querySelectorAll('.queue-row')];
export const rowOf = (key) => rows().find((row) => row.dataset.key === key);
export const keys = () => rows().map((row) => row.dataset.key);
export const filters = () => new URLSearchParams(location.search);

/** The address of a review (of the inbox, without one), with the filters of the moment. */
export const addressOf = (key) => url(key ? `/inbox/${encodeURIComponent(key)}` : '/inbox') + location.search;

export function choose(key) {
  for (const row of rows()) {
    const chosen = row.dataset.key === key;
    if (!chosen && row.classList.contains('gone')) row.remove();
    row.classList.toggle('chosen', chosen);
    const link = row.querySelector('a');
    if (chosen) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
    if (chosen) row.scrollIntoView({ block: 'nearest' });
  }
}

const isOthers = (row) => row.dataset.holder && row.dataset.holder !== reader && Date.parse(row.dataset.until) > Date.now();

/** The row so many places on; the end of the list fetches more. */
export async function step(from, by) {
  const all = keys();
  const at = all.indexOf(from);
  if (by > 0 && at + by >= all.length && await more()) return step(from, by);
  return all[at < 0 ? 0 : Math.min(Math.max(at + by, 0), all.length - 1)] ?? null;
}

/** The next review that this person may decide now, after one that leaves the list. */
export async function after(key) {
  const all = rows();
  const at = all.findIndex((row) => row.dataset.key === key);
  const free = [...all.slice(at + 1), ...all.slice(0, Math.max(at, 0))].find((row) => !isOthers(row) && !row.dataset.own && row.dataset.key !== key);
  if (all.length - at < 5) more();
  return free?.dataset.key ?? null;
}

/** The keys of the reviews that are likely to be looked at next. */
export function ahead(key, count) {
  const all = keys();
  const at = all.indexOf(key);
  return [...all.slice(at + 1, at + 1 + count), ...all.slice(Math.max(at - 1, 0), Math.max(at, 0))];
}

/** The row is gone while its decision is on its way, whatever the server still says. */
export function take(key) {
  sent.add(key);
  rowOf(key)?.remove();
  told();
}

export function settle(key) {
  sent.delete(key);
}

async function part(query) {
  const answer = await fetch(url(`/parts/inbox/queue?${query}`)).catch(() => null);
  if (!answer?.ok) return null;
  const template = document.createElement('template');
  template.innerHTML = await answer.text();
  return template.content;
}

let adding = null;

async function more() {
  const button = list.querySelector('.queue-more button');
  if (!button) return false;
  adding ??= (async () => {
    const query = filters();
    query.set('after', button.dataset.after);
    const content = await part(query);
    if (content && button.isConnected) button.parentElement.replaceWith(content);
    adding = null;
    told();
    return content !== null;
  })();
  return adding;
}

/** The rows are what the server has now; what stays is not touched. */
export async function refresh() {
  const query = filters();
  query.set('limit', Math.min(Math.max(rows().length + sent.size, 50), MOST));
  const content = await part(query);
  if (!content) return;
  const known = new Map(rows().map((row) => [row.dataset.key, row]));
  const chosen = list.querySelector('.chosen');
  const focused = list.contains(document.activeElement) ? document.activeElement.closest('li')?.dataset.key : null;
  const fresh = [...content.children].map((row) => {
    const old = known.get(row.dataset.key);
    if (!old || old.dataset.revision !== row.dataset.revision) return row;
    Object.assign(old.dataset, { holder: row.dataset.holder, until: row.dataset.until });
    old.querySelector('time').textContent = row.querySelector('time').textContent;
    return old;
  });
  const kept = fresh.filter((row) => !sent.has(row.dataset.key));
  // Whoever reads a row that is gone by now keeps their place.
  if (chosen && !kept.includes(chosen) && !sent.has(chosen.dataset.key) && !kept.some((row) => row.dataset.key === chosen.dataset.key)) {
    chosen.classList.add('gone');
    kept.splice(Math.min(rows().indexOf(chosen), kept.length), 0, chosen);
  }
  list.replaceChildren(...kept);
  if (chosen) choose(chosen.dataset.key);
  if (focused) rowOf(focused)?.querySelector('a').focus();
  told();
}

/** A row that was decided is back, where it stood. */
export async function giveBack(key) {
  sent.delete(key);
  await refresh();
}

/** Rows say who has them and what lies unsent. */
export function told() {
  for (const row of rows()) {
    const held = row.querySelector('.queue-held'), draft = row.querySelector('.queue-draft');
    held.hidden = !isOthers(row);
    held.textContent = row.dataset.holder;
    draft.hidden = !draftOf(row.dataset.key);
  }
  none.hidden = rows().length > 0;
}

list.addEventListener('click', (event) => {
  if (event.target.closest('.queue-more button')) more();
});
list.addEventListener('scroll', () => {
  if (list.scrollTop + list.clientHeight > list.scrollHeight - 300) more();
}, { passive: true });

told();
