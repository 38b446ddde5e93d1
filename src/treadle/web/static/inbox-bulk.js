// One answer to everything the filter finds: first what it comes to, then, if it is meant, the decision.

import { url, send } from './http.js';
import { filters } from './inbox-queue.js';
import { visible } from './visible.js';
import { problemOf } from './inbox-send.js';

const $ = (id) => document.getElementById(id);
const NAMES = ['stage', 'asked_by', 'verdict', 'holder', 'older_than', 'item'];
const WORDS = {
  approve: { said: 'approved', label: 'Note, if you like', act: 'Approve' },
  request_changes: { said: 'asked again', label: 'What should the next attempts do better?', act: 'Ask again about' },
  reject: { said: 'rejected', label: 'Why?', act: 'Reject' },
};
let preview = null;

function wanted() {
  const found = filters();
  return Object.fromEntries(NAMES.filter((name) => found.get(name)).map((name) => [name, found.get(name)]));
}

function body(isDry) {
  const decision = new FormData($('bulk-form')).get('decision');
  const text = $('bulk-words').value.trim();
  const named = { approve: { note: text || null }, reject: { reason: text }, request_changes: { feedback: text } }[decision];
  return { decision, ...named, filter: { ...wanted(), opened_before: preview?.before ?? new Date().toISOString() }, dry_run: isDry };
}

function chosen() {
  return WORDS[new FormData($('bulk-form')).get('decision')];
}

function reset() {
  preview = null;
  const { label } = chosen();
  document.querySelector('label[for=bulk-words]').textContent = label;
  $('bulk-words').required = label !== WORDS.approve.label;
  $('bulk-preview').replaceChildren();
  $('bulk-send').textContent = 'Show what it comes to';
}

export function openBulk() {
  const said = Object.entries(wanted()).map(([name, value]) => `${name.replace('_', ' ')} ${value}`).join(', ');
  $('bulk-which').textContent = said ? `All that the filter finds: ${said}.` : 'All that wait; no filter is set.';
  reset();
  $('bulk').showModal();
}

const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: visible(text) });

function listed(lines) {
  const list = document.createElement('ul');
  list.className = 'bulk-list';
  list.tabIndex = 0;
  list.append(...lines.map((text) => line('li', text)));
  return list;
}

async function look() {
  const asked = { ...body(true) };
  const query = new URLSearchParams({ ...wanted(), limit: '50' });
  const [answer, first] = await Promise.all([
    send('POST', '/api/v1/reviews/bulk', asked),
    fetch(url(`/api/v1/reviews?${query}`), { headers: { Accept: 'application/json' } }),
  ]);
  if (!answer.ok) return fail(await problemOf(answer));
  const result = await answer.json();
  const refused = new Set(result.refused.map((one) => `${one.item_id}/${one.stage}`));
  const which = (await first.json()).reviews.filter((one) => !refused.has(`${one.item_id}/${one.stage}`));
  preview = { before: asked.filter.opened_before, decided: result.decided };
  const { said, act } = chosen();
  show(result, `${count(result.decided)} would be ${said}`, which.map((one) => `${one.item_id} · ${one.stage}: ${one.review.summary}`.slice(0, 200)));
  $('bulk-send').textContent = `${act} ${count(result.decided)}`;
  $('bulk-send').disabled = result.decided === 0;
}

const count = (number) => `${number.toLocaleString('en')} ${number === 1 ? 'review' : 'reviews'}`;

function show(result, head, which) {
  const more = result.decided - which.length;
  $('bulk-preview').replaceChildren(
    line('p', `${head}.`),
    ...(which.length ? [listed([...which, ...(more > 0 ? [`and ${more.toLocaleString('en')} more`] : [])])] : []),
    ...(result.refused_count ? [line('p', `${result.refused_count.toLocaleString('en')} refused:`), listed(result.refused.slice(0, 100).map((one) => one.reason))] : []),
  );
}

function fail({ detail, problems }) {
  preview = null;
  $('bulk-preview').replaceChildren(line('p', problems.length ? problems.join('; ') : detail));
}

async function act() {
  const { said } = chosen();
  $('bulk-send').textContent = 'Deciding …';
  const answer = await send('POST', '/api/v1/reviews/bulk', body(false));
  if (!answer.ok) return fail(await problemOf(answer));
  const result = await answer.json();
  preview = null;
  show(result, `${count(result.decided)} ${said}`, []);
  $('bulk-send').textContent = 'Show what it comes to';
  document.dispatchEvent(new CustomEvent('inbox:bulk', { detail: `${count(result.decided)} ${said}` }));
}

$('bulk-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  $('bulk-send').disabled = true;
  try {
    await (preview ? act() : look());
  } catch {
    fail({ detail: 'The server cannot be reached. Nothing that you typed is lost; try again.', problems: [] });
  }
  $('bulk-send').disabled = preview?.decided === 0;
});
$('bulk-form').addEventListener('input', reset);
$('bulk-back').addEventListener('click', () => $('bulk').close());
