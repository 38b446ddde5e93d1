// The inbox: one review at a time, one key a decision.

import { send } from './http.js';
import { bind, typing } from './keys.js';
import { openBulk } from './inbox-bulk.js';
import * as claims from './inbox-claim.js';
import { draftOf, hasUnkept, keepDraft } from './inbox-drafts.js';
import * as edits from './inbox-edit.js';
import { forgetPage, forgetPages, pageOf } from './inbox-pages.js';
import { count, refreshProgress } from './inbox-progress.js';
import * as queue from './inbox-queue.js';
import { enqueue, isUnsent, onSent, problemOf, pump, unsent, withdraw } from './inbox-send.js';
import { visible } from './visible.js';

const $ = (id) => document.getElementById(id);
const inbox = $('inbox');
const RESTS = 8;
const HANDS = 20_000;
const SAID = { approve: 'approved', approve_with_edits: 'edited', reject: 'rejected', request_changes: 'sent back' };
const isNarrow = matchMedia('(max-width: 720px)');

/** The review before you: what its page says of it. */
let review = null;
let opening = 0;
let hiding = 0;
/** This sitting's decisions, the last of which can be taken back. */
const made = [];

function read() {
  const body = document.querySelector('.review-body');
  if (!body) return null;
  const { key, item, stage, revision, digest, holder, until, askedBy, attempts, reason, guidance, decided } = body.dataset;
  return {
    key, item, stage, revision: Number(revision), digest, holder, until: until ? Date.parse(until) : 0, askedBy, reason, guidance, decided,
    attempts: attempts ? attempts.split(' ') : [], may: body.dataset.may === 'yes', isOpen: body.dataset.open === 'yes', isMade: body.dataset.made === 'yes',
  };
}

const isHeld = () => Boolean(review?.holder) && review.holder !== inbox.dataset.reader && review.until > Date.now();

function announce(text) {
  $('said').textContent = '';
  requestAnimationFrame(() => { $('said').textContent = text; });
}

// Notices: at most one of a kind.

function notice(kind, text, { bad = false, act = null, label = '' } = {}) {
  clearNotice(kind);
  const line = document.createElement('div');
  line.dataset.kind = kind;
  line.classList.toggle('bad', bad);
  line.append(Object.assign(document.createElement('span'), { textContent: visible(text) }));
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: label || 'Close' });
  button.addEventListener('click', () => { line.remove(); act?.(); });
  line.append(button);
  $('notices').append(line);
}

const clearNotice = (kind) => document.querySelector(`.notices [data-kind="${kind}"]`)?.remove();

// Opening

function settleIn() {
  const part = $('evidence-part');
  $('evidence').replaceChildren(...(part ? [part] : []));
  review = read();
  $('review').scrollTop = 0;
  queue.choose(review?.key);
  enable();
  closeChoice();
  if (!review) return;
  document.title = `${review.item} · Inbox`;
  if (!review.isOpen) claims.forget();
  else if (review.may && !isHeld()) claims.hold(review.key);
  edits.restore(review);
  queue.ahead(review.key, 2).forEach((key) => pageOf(key).catch(() => {}));
}

/** The review is on the page; false where it is no more. */
async function open(key, { push = false, focus = false } = {}) {
  const turn = opening += 1;
  edits.leave();
  let part;
  try {
    part = await pageOf(key);
  } catch (error) {
    if (turn !== opening) return true;
    notice('open', error.status === 404 ? `${key} is not there any more.` : error.status === 401 ? 'Your sign-in has expired. What you typed is kept.' : 'The server cannot be reached. What you typed is kept.', { bad: true });
    return false;
  }
  if (turn !== opening) return true;
  if (review?.key !== key) claims.release();
  clearNotice('open');
  clearNotice('changed');
  clearNotice('draft');
  $('review').innerHTML = part;
  inbox.dataset.shows = 'review';
  history[push ? 'pushState' : 'replaceState']({ key }, '', queue.addressOf(key));
  settleIn();
  if (focus) $('review-title')?.focus({ preventScroll: true });
  announce(`${review?.item}, ${review?.stage}: ${document.querySelector('.asks')?.textContent ?? ''}`);
  return true;
}

function showNothing() {
  edits.leave();
  claims.release();
  $('review').innerHTML = '<div class="nothing" data-nothing><p class="nothing-words">Nothing waits for you.</p><p class="muted">What is asked from now on appears here by itself.</p></div>';
  $('evidence').replaceChildren();
  review = null;
  history.replaceState({}, '', queue.addressOf('').replace(/\/(?=\?|$)/, ''));
  enable();
  announce('Nothing waits for you.');
}

async function move(by) {
  const key = await queue.step(review?.key, by);
  if (key && key !== review?.key) await open(key);
}

function showQueue() {
  inbox.dataset.shows = 'queue';
  document.querySelector('.queue-row.chosen a, .queue-row a')?.focus();
}

function enable() {
  const may = Boolean(review?.may) && !isHeld();
  for (const button of document.querySelectorAll('#actions [data-act]')) {
    if (['approve', 'edit', 'changes', 'reject'].includes(button.dataset.act)) button.disabled = !may;
  }
}

claims.onHeld((left) => {
  const place = $('held');
  if (!place || !review) return;
  const clock = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;
  if (isHeld()) place.textContent = `held by ${review.holder}, ${clock(review.until - Date.now())} left`;
  else if (left > 0) place.textContent = `held by you, ${clock(left)} left`;
  else place.textContent = '';
  if (review.holder && review.until <= Date.now()) {
    review.holder = '';
    enable();
    queue.told();
    if (review.may) claims.hold(review.key);
  }
});

// Deciding

function body(decision, more) {
  const { revision, digest } = review;
  return JSON.stringify({ decision, ...more, revision, digest, rests: RESTS });
}

/** Sent at once; the next review is here before the answer is. */
async function decide(decision, more = {}) {
  const { key, item } = review;
  const draft = draftOf(key);
  claims.forget();
  enqueue({ key, act: 'decide', body: body(decision, more), words: SAID[decision] });
  made.push({ key, item, words: SAID[decision], draft });
  edits.leave();
  sayUndo();
  count(1);
  const next = await queue.after(key);
  queue.take(key);
  forgetPage(key);
  review = null;
  if (!next || !(await open(next))) showNothing();
}

async function approve() {
  if (edits.isEditing()) return approveEdit();
  if (draftOf(review.key)?.kind === 'edit') {
    // Whoever has begun an edit does not mean what stood there before.
    await edits.startEdit(review, { focus: false });
    return notice('draft', 'Here is your edit, which is not sent yet. Approve again to send it.', { label: 'Discard it', act: () => discard() });
  }
  if (review.askedBy === 'escalation' && review.attempts.length > 1) return chooseAttempt();
  if (!review.isMade && review.askedBy === 'escalation') return confirmEmpty();
  return decide('approve');
}

function discard() {
  clearNotice('draft');
  edits.discard();
  $('desk').focus();
}

/** An edit is answered before the next review comes: it may not fit. */
async function approveEdit() {
  if (edits.isUnchanged()) return decide('approve');
  const text = edits.edited();
  if (text === null) return announce('It cannot be sent yet.');
  const { key, item, revision, digest } = review;
  edits.saveNow();
  const draft = draftOf(key);
  const sent = `{"decision":"approve_with_edits","artefact":${text},"revision":${revision},"digest":${JSON.stringify(digest)},"rests":${RESTS}}`;
  const answer = await send('POST', `/api/v1/reviews/${encodeURIComponent(key)}/decide`, sent).catch(() => null);
  if (answer === null) return notice('server', 'The server cannot be reached. Your edit is kept; send it again when it is back.', { bad: true });
  if (answer.status === 401) return notice('server', 'Your sign-in has expired. Your edit is kept: sign in in another tab, then send it again.', { bad: true });
  if (!answer.ok) {
    const problem = await problemOf(answer);
    if (problem.status === 422) return edits.showProblems(problem.problems.length ? problem.problems : [problem.detail]);
    return conflict(key, `Not approved: ${problem.detail}`);
  }
  clearNotice('server');
  clearNotice('draft');
  edits.forget(key);
  claims.forget();
  made.push({ key, item, words: SAID.approve_with_edits, draft });
  sayUndo();
  count(1);
  const next = await queue.after(key);
  queue.take(key);
  queue.settle(key);
  forgetPage(key);
  if (!next || !(await open(next))) showNothing();
}

function chooseAttempt() {
  const buttons = review.attempts.map((number) => {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.append(`Attempt ${number} `, Object.assign(document.createElement('kbd'), { textContent: number }));
    button.addEventListener('click', () => choose(number));
    return button;
  });
  $('choose-attempts').replaceChildren(...buttons);
  $('choose').hidden = false;
  $('actions').hidden = true;
  buttons.at(-1).focus();
}

function choose(number) {
  closeChoice();
  decide('approve', { attempt: Number(number) });
}

function closeChoice() {
  $('choose').hidden = true;
  $('actions').hidden = false;
}

function confirmEmpty() {
  notice('empty', 'No attempt made anything. Approve without?', { label: 'Approve', act: () => decide('approve') });
  document.querySelector('.notices [data-kind=empty] button').focus();
}

function sayUndo() {
  const last = made.at(-1);
  clearTimeout(hiding);
  $('undo').hidden = !last;
  if (!last) return;
  $('undo-item').textContent = last.item;
  $('undo-words').textContent = last.words;
  announce(`${last.item} ${last.words}. Press u to undo.`);
  hiding = setTimeout(() => { $('undo').hidden = true; }, RESTS * 1000);
}

async function undo() {
  const last = made.pop();
  $('undo').hidden = true;
  if (!last) return announce('There is no decision of this sitting to undo.');
  count(-1);
  if (last.draft) keepDraft(last.key, last.draft);
  if (withdraw(last.key)) return back(last.key, `${last.item} waits again`);
  enqueue({ key: last.key, act: 'undo', body: null, words: last.words });
  return undefined;
}

async function back(key, words) {
  forgetPage(key);
  await queue.giveBack(key);
  await open(key);
  announce(words);
}

async function conflict(key, words) {
  edits.saveNow();
  await back(key, words);
  notice('conflict', words, { bad: true });
}

onSent({
  taken(entry) {
    if (entry.act === 'undo') return back(entry.key, 'It waits again.');
    edits.forget(entry.key);
    queue.settle(entry.key);
    return undefined;
  },
  refused(entry, problem) {
    const at = made.findLastIndex((one) => one.key === entry.key);
    if (entry.act === 'undo') return notice('conflict', `Still ${entry.words}: ${problem.detail}`, { bad: true });
    if (at >= 0) {
      if (made[at].draft) keepDraft(entry.key, made[at].draft);
      made.splice(at, 1);
      count(-1);
      $('undo').hidden = true;
    }
    return conflict(entry.key, `Not ${entry.words}: ${problem.problems.join('; ') || problem.detail}`);
  },
  stuck(why) {
    clearNotice('server');
    const waits = `${unsent()} ${unsent() === 1 ? 'decision waits' : 'decisions wait'} here`;
    if (why === 'server') notice('server', `The server cannot be reached. ${waits} and will be sent when it is back.`, { bad: true });
    if (why === 'sign-in') notice('server', `Your sign-in has expired. ${waits}: sign in in another tab, and it is sent.`, { bad: true });
  },
});

// What happens elsewhere

async function look() {
  queue.refresh();
  if (!review) return;
  forgetPage(review.key);
  recheck();
}

async function recheck() {
  const { key } = review;
  const part = await pageOf(key).catch(() => null);
  if (!part || review?.key !== key) return;
  const template = document.createElement('template');
  template.innerHTML = part;
  const { revision, digest, decided, holder, until, open: isOpen } = template.content.querySelector('.review-body').dataset;
  const isAnother = Number(revision) !== review.revision || digest !== review.digest || (isOpen === 'yes') !== review.isOpen;
  if (!isAnother) {
    Object.assign(review, { holder, until: until ? Date.parse(until) : 0 });
    return enable();
  }
  if (isUnsent(key)) return undefined;
  const words = decided ? `Meanwhile: ${decided}.` : 'The question is another one now.';
  if (typing()) return notice('changed', `${words} What you type is kept.`);
  edits.leave();
  $('review').innerHTML = part;
  settleIn();
  notice('changed', draftOf(key) ? `${words} What you typed is kept.` : words);
  return undefined;
}

document.body.addEventListener('treadle:changed', (event) => {
  for (const item of event.detail?.items ?? []) queue.keys().filter((key) => key.startsWith(`${item}/`)).forEach(forgetPage);
  if (event.detail?.more) forgetPages();
  clearTimeout(look.timer);
  look.timer = setTimeout(() => { look(); refreshProgress(); }, 300);
});
document.addEventListener('inbox:stale', () => { if (review) { forgetPage(review.key); recheck(); } });
document.addEventListener('inbox:bulk', async (event) => {
  announce(event.detail);
  forgetPages();
  refreshProgress();
  await queue.refresh();
  const next = document.querySelector('.queue-row.chosen.gone') && await queue.after(review.key);
  if (next) await open(next);
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
