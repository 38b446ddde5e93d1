// Decisions: sent at once, taken back with one key, and said to have failed where somebody else was first.

import { send } from './http.js';
import { conclude, resume } from './inbox-claim.js';
import { back, closeChoice, conflict, open, openNext, review } from './inbox-desk.js';
import { draftOf, draftsOf, keepDrafts } from './inbox-drafts.js';
import * as edits from './inbox-edit.js';
import { announce, clearNotice, notice } from './inbox-notices.js';
import { forgetPage } from './inbox-pages.js';
import { count } from './inbox-progress.js';
import * as queue from './inbox-queue.js';
import { enqueue, onSent, problemOf, unsent, withdraw } from './inbox-send.js';

const $ = (id) => document.getElementById(id);
const SLOW = 2000; // milliseconds after which an edit does not wait for a claim any more
const RESTS = 8; // seconds that an item waits before it goes on, so that undo is in time
const SAID = { approve: 'approved', approve_with_edits: 'edited', reject: 'rejected', request_changes: 'sent back' };

/** This sitting's decisions, the last of which can be taken back. */
const made = [];
let hiding = 0;
let isSending = false;

function body(decision, more) {
  const { revision, digest } = review;
  return JSON.stringify({ decision, ...more, revision, digest, rests: RESTS });
}

/** Sent at once; the next review is here before the answer is. */
export async function decide(decision, more = {}) {
  const { key, item } = review;
  const drafts = draftsOf(key);
  conclude(key);
  enqueue({ key, act: 'decide', body: body(decision, more), words: SAID[decision] });
  made.push({ key, item, words: SAID[decision], drafts });
  edits.leave();
  sayUndo();
  count(1);
  const next = await queue.after(key);
  queue.take(key);
  forgetPage(key);
  await openNext(next);
}

export async function approve() {
  if (edits.isEditing()) return approveEdit();
  if (draftOf(review.key, 'edit')) {
    // Whoever has begun an edit does not mean what stood there before.
    await edits.startEdit(review, { focus: false });
    return notice('draft', 'Here is your edit, which is not sent yet. Approve again to send it.', { label: 'Discard it', act: () => discard() });
  }
  if (review.askedBy === 'escalation' && review.attempts.length > 1) return chooseAttempt();
  if (!review.isMade && review.askedBy === 'escalation') return confirmEmpty();
  return decide('approve');
}

export function discard() {
  clearNotice('draft');
  edits.discard();
  $('desk').focus();
}

/** An edit is answered before the next review comes: it may not fit. */
async function approveEdit() {
  if (edits.isUnchanged()) return decide('approve');
  const text = edits.edited();
  if (text === null) return announce('It cannot be sent yet.');
  if (isSending) return undefined;
  isSending = true;
  try {
    return await sendEdit(text);
  } finally {
    isSending = false;
  }
}

async function sendEdit(text) {
  const { key, item, revision, digest } = review;
  edits.saveNow();
  const drafts = draftsOf(key);
  const sent = `{"decision":"approve_with_edits","artefact":${text},"revision":${revision},"digest":${JSON.stringify(digest)},"rests":${RESTS}}`;
  await Promise.race([conclude(key), new Promise((resolve) => { setTimeout(resolve, SLOW); })]);
  const answer = await send('POST', `/api/v1/reviews/${encodeURIComponent(key)}/decide`, sent).catch(() => null);
  if (!answer?.ok) resume(key);
  if (answer === null) return notice('server', 'The server cannot be reached. Your edit is kept; send it again when it is back.', { bad: true });
  if (answer.status === 401) return notice('server', 'Your sign-in has expired. Your edit is kept: sign in in another tab, then send it again.', { bad: true });
  if (!answer.ok) {
    const problem = await problemOf(answer);
    if (problem.status === 422) return unfit(key, item, problem.problems.length ? problem.problems : [problem.detail]);
    return conflict(key, `Not approved: ${problem.detail}`);
  }
  clearNotice('server');
  clearNotice('draft');
  edits.forget(key);
  made.push({ key, item, words: SAID.approve_with_edits, drafts });
  sayUndo();
  count(1);
  const next = await queue.after(key);
  queue.take(key);
  queue.settle(key);
  forgetPage(key);
  if (review?.key === key) await openNext(next);
}

/** What is wrong with an edit is shown with it; whoever has gone on to another review is told which one it was. */
function unfit(key, item, problems) {
  if (review?.key === key) return edits.showProblems(problems);
  const show = { label: 'Show it', act: () => open(key, { push: true }) };
  return notice('unfit', `${item} was not approved: ${problems.join('; ')}. Your edit is kept.`, { bad: true, ...show });
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

export function choose(number) {
  closeChoice();
  decide('approve', { attempt: Number(number) });
}

function confirmEmpty() {
  notice('empty', 'No attempt made anything. Approve without?', { label: 'Approve', act: () => decide('approve') }).focus();
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

export async function undo() {
  const last = made.pop();
  $('undo').hidden = true;
  if (!last) return announce('There is no decision of this sitting to undo.');
  count(-1);
  if (withdraw(last.key)) {
    restore(last);
    return back(last.key, `${last.item} waits again`);
  }
  enqueue({ key: last.key, act: 'undo', body: null, words: last.words, drafts: last.drafts });
  return undefined;
}

/** What was typed for a decision that does not stand is a draft again. */
function restore({ key, drafts }) {
  if (Object.keys(drafts ?? {}).length) keepDrafts(key, drafts);
}

onSent({
  taken(entry) {
    if (entry.act === 'undo') {
      restore(entry);
      return back(entry.key, 'It waits again.');
    }
    edits.forget(entry.key);
    queue.settle(entry.key);
    return undefined;
  },
  refused(entry, problem) {
    const at = made.findLastIndex((one) => one.key === entry.key);
    if (entry.act === 'undo') {
      count(1);
      return notice('conflict', `Still ${entry.words}: ${problem.detail}`, { bad: true });
    }
    if (at >= 0) {
      restore(made[at]);
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
