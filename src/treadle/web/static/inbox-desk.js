// The review before you: opened, left, and followed while somebody else may change it.

import { typing } from './keys.js';
import * as claims from './inbox-claim.js';
import { draftOf } from './inbox-drafts.js';
import * as edits from './inbox-edit.js';
import { announce, clearNotice, notice } from './inbox-notices.js';
import { forgetPage, pageOf } from './inbox-pages.js';
import * as queue from './inbox-queue.js';
import { isUnsent } from './inbox-send.js';

const $ = (id) => document.getElementById(id);
const inbox = $('inbox');
const DECIDES = new Set(['approve', 'edit', 'changes', 'reject']);
const NOTHING = document.getElementById('nothing').innerHTML;

/** What the page says of the review before you; null where there is none. */
export let review = null;
let opening = 0;

function read() {
  const body = document.querySelector('.review-body');
  if (!body) return null;
  const { key, item, stage, revision, digest, holder, until, askedBy, attempts, reason, guidance, decided } = body.dataset;
  return {
    key, item, stage, revision: Number(revision), digest, holder, until: until ? Date.parse(until) : 0, askedBy, reason, guidance, decided,
    attempts: attempts ? attempts.split(' ') : [], may: body.dataset.may === 'yes', isOpen: body.dataset.open === 'yes', isMade: body.dataset.made === 'yes',
  };
}

/** Whether somebody else has it in their hands. */
export const isHeld = () => Boolean(review?.holder) && review.holder !== inbox.dataset.reader && review.until > Date.now();

/** The page shows a review, or none: all around it follows. */
export function settleIn() {
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
  else if (review.may && !isHeld() && !isUnsent(review.key)) claims.hold(review.key);
  edits.restore(review);
  queue.ahead(review.key, 2).forEach((key) => pageOf(key).catch(() => {}));
}

/** The review is on the page; false where it is no more. Without `show`, a narrow page stays in the queue where it is there. */
export async function open(key, { push = false, focus = false, show = true } = {}) {
  const turn = opening += 1;
  edits.leave();
  let part;
  try {
    part = await pageOf(key);
  } catch (error) {
    if (turn !== opening) return true;
    const why = { 404: `${key} is not there any more.`, 401: 'Your sign-in has expired. What you typed is kept.' }[error.status];
    notice('open', why ?? 'The server cannot be reached. What you typed is kept.', { bad: true });
    return false;
  }
  if (turn !== opening) return true;
  if (review?.key !== key) claims.release();
  ['open', 'changed', 'draft'].forEach(clearNotice);
  $('review').innerHTML = part;
  if (show) inbox.dataset.shows = 'review';
  history[push ? 'pushState' : 'replaceState']({ key }, '', queue.addressOf(key));
  settleIn();
  if (focus) $('review-title')?.focus({ preventScroll: true });
  announce(`${review?.item}, ${review?.stage}: ${document.querySelector('.asks')?.textContent ?? ''}`);
  return true;
}

/**
 * What was before you is decided: the next review is on the page, or that there is none. It may come late, and whoever
 * has gone back to the queue by then is left there.
 */
export async function openNext(key) {
  claims.forget();
  review = null;
  if (!key || !(await open(key, { show: false }))) showNothing();
}

function showNothing() {
  edits.leave();
  claims.release();
  $('review').innerHTML = NOTHING;
  history.replaceState({}, '', queue.addressOf(''));
  settleIn();
  announce('Nothing waits for you.');
}

export async function move(by) {
  const key = await queue.step(review?.key, by);
  if (key && key !== review?.key) await open(key);
}

/** A review is back before you, as the server has it now; as late as the next one. */
export async function back(key, words, { show = false } = {}) {
  forgetPage(key);
  await queue.giveBack(key);
  await open(key, { show });
  announce(words);
}

/** Somebody else was first, which must be seen: what was typed is kept. */
export async function conflict(key, words) {
  edits.saveNow();
  await back(key, words, { show: true });
  notice('conflict', words, { bad: true });
}

/** Where many attempts could be meant, the keys are there again. */
export function closeChoice() {
  $('choose').hidden = true;
  $('actions').hidden = edits.isReasoning();
}

function enable() {
  const may = Boolean(review?.may) && !isHeld();
  for (const button of document.querySelectorAll('#actions [data-act]')) {
    if (DECIDES.has(button.dataset.act)) button.disabled = !may;
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
    if (review.may && !isUnsent(review.key)) claims.hold(review.key);
  }
});

/** What the server has of the review before you now; another question or answer takes its place, unless somebody types. */
export async function recheck() {
  const { key } = review;
  forgetPage(key);
  const part = await pageOf(key).catch(() => null);
  if (!part || review?.key !== key) return;
  const template = document.createElement('template');
  template.innerHTML = part;
  const { revision, digest, decided, holder, until, open: isOpen } = template.content.querySelector('.review-body').dataset;
  if (Number(revision) === review.revision && digest === review.digest && (isOpen === 'yes') === review.isOpen) {
    Object.assign(review, { holder, until: until ? Date.parse(until) : 0 });
    enable();
    return;
  }
  if (isUnsent(key)) return;
  const words = decided ? `Meanwhile: ${decided}.` : 'The question is another one now.';
  if (typing()) {
    notice('changed', `${words} What you type is kept.`);
    return;
  }
  edits.leave();
  $('review').innerHTML = part;
  settleIn();
  notice('changed', draftOf(key) ? `${words} What you typed is kept.` : words);
}
