// The inbox: one review at a time, one key a decision. Keys, clicks, and news from elsewhere.

import { send } from './http.js';
import { bind } from './keys.js';
import { openBulk } from './inbox-bulk.js';
import { approve, choose, decide, discard, undo } from './inbox-decide.js';
import { back, closeChoice, isHeld, move, open, openNext, recheck, review, settleIn } from './inbox-desk.js';
import { hasUnkept } from './inbox-drafts.js';
import * as edits from './inbox-edit.js';
import { announce, notice } from './inbox-notices.js';
import { forgetPage, forgetPages } from './inbox-pages.js';
import { refreshProgress } from './inbox-progress.js';
import * as queue from './inbox-queue.js';
import { problemOf, pump } from './inbox-send.js';

const $ = (id) => document.getElementById(id);
const inbox = $('inbox');
const HANDS = 20_000; // milliseconds after which who holds what is asked for again
const isNarrow = matchMedia('(max-width: 720px)');

function showQueue() {
  inbox.dataset.shows = 'queue';
  document.querySelector('.queue-row.chosen a, .queue-row a')?.focus();
}

// What happens elsewhere

function look() {
  queue.refresh();
  refreshProgress();
  if (review) recheck();
}

document.body.addEventListener('treadle:changed', (event) => {
  for (const item of event.detail?.items ?? []) queue.keys().filter((key) => key.startsWith(`${item}/`)).forEach(forgetPage);
  if (event.detail?.more) forgetPages();
  clearTimeout(look.timer);
  look.timer = setTimeout(look, 300);
});
document.addEventListener('inbox:stale', () => { if (review) recheck(); });
document.addEventListener('inbox:bulk', async (event) => {
  announce(event.detail);
  forgetPages();
  refreshProgress();
  await queue.refresh();
  const next = document.querySelector('.queue-row.chosen.gone') && await queue.after(review.key);
  if (next) await openNext(next);
  else if (review) recheck();
});

// Keys and clicks

const ACTS = {
  approve, undo, edit: () => edits.startEdit(review), reject: () => edits.startReason(review, 'reject'),
  changes: () => edits.startReason(review, 'changes'), help: () => $('help').showModal(), back: showQueue,
  reopen: () => $('reopen').showModal(), discard,
};
const NEEDS_REVIEW = new Set(['approve', 'edit', 'reject', 'changes']);

function run(name) {
  if (NEEDS_REVIEW.has(name) && (!review?.may || isHeld())) {
    return announce(isHeld() ? `In the hands of ${review.holder}.` : 'There is nothing to decide here.');
  }
  return ACTS[name]();
}

function key(name, act) {
  bind(name, (event) => {
    if (event.shiftKey && name !== '?') return false;
    if (document.querySelector('dialog[open]')) return false;
    if (edits.isOpening()) return true;
    if (!event.repeat) act(event);
    return true;
  });
}

key('j', () => move(1));
key('k', () => move(-1));
key('a', () => run('approve'));
key('e', () => run('edit'));
key('r', () => run('reject'));
key('c', () => run('changes'));
key('u', () => run('undo'));
key('b', openBulk);
key('?', () => run('help'));
key('/', () => { if (isNarrow.matches) showQueue(); $('filter-item').focus(); $('filter-item').select(); });
for (let digit = 1; digit < 10; digit += 1) {
  key(String(digit), () => { if (!$('choose').hidden && review.attempts.includes(String(digit))) choose(digit); });
}
key('Escape', () => {
  if (!$('choose').hidden) closeChoice();
  else if (edits.isReasoning()) edits.stopReason();
  else if (edits.isEditing()) edits.stopEdit();
  else if (isNarrow.matches) showQueue();
  else $('desk').focus();
});
$('reason-text').addEventListener('keydown', (event) => {
  if (event.key === 'Escape') { event.stopPropagation(); edits.stopReason(); $('desk').focus(); }
});

document.addEventListener('click', (event) => {
  const act = event.target.closest('[data-act]');
  if (act) return run(act.dataset.act);
  const attempt = event.target.closest('[data-attempt]');
  if (attempt) return decide('approve', { attempt: Number(attempt.dataset.attempt) });
  const row = event.target.closest('.queue-row a');
  if (row && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    open(row.closest('li').dataset.key, { push: isNarrow.matches, focus: true });
  }
  return undefined;
});
$('bulk-open').addEventListener('click', openBulk);
$('reason-back').addEventListener('click', () => { edits.stopReason(); $('desk').focus(); });
$('choose-back').addEventListener('click', () => { closeChoice(); $('desk').focus(); });
$('reason').addEventListener('submit', (event) => {
  event.preventDefault();
  const { kind, text } = edits.reason();
  if (!text) return announce('Say why, in a few words.');
  edits.saveNow();
  $('desk').focus();
  return kind === 'reject' ? decide('reject', { reason: text }) : decide('request_changes', { feedback: text });
});
$('reopen-back').addEventListener('click', () => $('reopen').close());
$('reopen-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { key: asked } = review;
  const answer = await send('POST', `/api/v1/reviews/${encodeURIComponent(asked)}/reopen`, { reason: $('reopen-why').value }).catch(() => null);
  if (!answer?.ok) return notice('conflict', answer ? (await problemOf(answer)).detail : 'The server cannot be reached. What you typed is kept.', { bad: true });
  $('reopen').close();
  $('reopen-why').value = '';
  return back(asked, 'It waits again.');
});
addEventListener('popstate', (event) => {
  if (event.state?.key) open(event.state.key);
  else inbox.dataset.shows = 'queue';
});
addEventListener('beforeunload', (event) => {
  edits.saveNow();
  if (hasUnkept()) event.preventDefault();
});

// Claims are no events: who holds what is asked for now and then.
setInterval(() => { if (!document.hidden) queue.refresh(); }, HANDS);

settleIn();
refreshProgress();
pump();
