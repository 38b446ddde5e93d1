// What a person types about the review before them: an edit of its result, or a reason. All of it is a draft until it was sent.

import { url } from './http.js';
import { showDifference } from './inbox-diff.js';
import { draftOf, dropDrafts, keepDraft } from './inbox-drafts.js';
import { notice } from './inbox-notices.js';
import { library, openEditor } from './inbox-form.js';
import { told } from './inbox-queue.js';
import { visible } from './visible.js';

const $ = (id) => document.getElementById(id);
const WORDS = {
  reject: { label: 'Why reject?', send: 'Reject' },
  changes: { label: 'What should the next attempt do better?', send: 'Ask again' },
};

const LARGEST = 3_000_000; // characters that the server takes, with some room

let editor = null;
/** The form on its way, and which of all that is: one that was given up meanwhile is not shown when it comes. */
let opening = null;
let turn = 0;
let awaited = 0;
let saving = 0;
let before = null;
let about = null;
let reasonKind = null;

export const isEditing = () => editor !== null;
/** Whether a form is about to take the focus: what is typed meanwhile means no keys. */
export const isOpening = () => awaited > 0;
export const isReasoning = () => reasonKind !== null;

function keep(kind, text, base) {
  const isKept = keepDraft(about.key, { kind, text, base, revision: about.revision, digest: about.digest });
  if (!isKept) note('This browser keeps no more: what you type is lost when you close the page.');
  told();
}

/** An edit that was begun goes on where it was left; without one it begins with what waits. */
export async function startEdit(review, { focus = true } = {}) {
  if (focus) awaited += 1;
  try {
    if (!editor) await (opening ??= open(review));
    if (focus && about === review) editor?.focus();
  } finally {
    if (focus) awaited -= 1;
  }
}

async function open(review) {
  stopReason();
  about = review;
  const mine = turn += 1;
  const given = await editingOf(review);
  if (mine !== turn) return;
  if (!given || given.text.length > LARGEST) {
    opening = null;
    if (given) notice('large', 'This result is too large to be edited here; `treadle review edit` takes it from a file.');
    return;
  }
  const draft = draftOf(review.key, 'edit');
  before = given.text;
  showEdit(true);
  $('edit-problems').hidden = true;
  $('edit-diff').textContent = '';
  const opened = await openEditor($('edit-form'), given, draft?.text ?? given.text, typed);
  if (mine !== turn) {
    opened.close();
    return;
  }
  opening = null;
  editor = opened;
  note(editor.why ?? '');
  // A form writes numbers in its own way: 1 for 1.0.
  if (editor.isForm) before = JSON.stringify(JSON.parse(given.text), null, 2);
  if (draft && draft.digest !== review.digest) noteChange(draft);
  showDifference($('edit-diff'), before, editor.text());
}

function showEdit(isShown) {
  $('edit').hidden = !isShown;
  $('result').hidden = isShown;
  $('approve-words').textContent = isShown ? 'Approve with edits' : 'Approve';
}

async function editingOf(review) {
  const embedded = $('editing');
  if (embedded) return JSON.parse(embedded.textContent);
  const answer = await fetch(url(`/parts/inbox/editing/${encodeURIComponent(review.key)}`)).catch(() => null);
  return answer?.ok ? answer.json().catch(() => null) : null;
}

function typed(text) {
  if (!editor && text === before) return;
  clearTimeout(saving);
  const { key } = about;
  saving = setTimeout(() => {
    if (about?.key === key) save();
  }, 150);
}

function save() {
  if (!editor) return;
  const text = editor.text();
  showDifference($('edit-diff'), before, text);
  if (text !== before) keep('edit', text, before);
  else forgetDraft('edit');
}

/** What was typed is as it was before: there is nothing to keep. */
function forgetDraft(kind) {
  if (!draftOf(about.key, kind)) return;
  dropDrafts(about.key, kind);
  told();
}

/** Nothing typed waits for its moment to be kept. */
export function saveNow() {
  clearTimeout(saving);
  save();
  if (!reasonKind) return;
  const { value, defaultValue } = $('reason-text');
  if (value === defaultValue) forgetDraft(reasonKind);
  else keep(reasonKind, value, '');
}

function note(text) {
  $('edit-note').hidden = !text;
  $('edit-note').textContent = text;
}

function noteChange(draft) {
  note('The result is another one since you began. What changed in it is shown here; your text below is as you left it.');
  const lines = document.createElement('div');
  lines.className = 'diff';
  showDifference(lines, draft.base, before);
  $('edit-note').append(lines);
}

/** The form is away; what was typed stays a draft. */
export function stopEdit() {
  if (!editor && !opening) return;
  saveNow();
  editor?.close();
  editor = opening = null;
  turn += 1;
  showEdit(false);
}

/** The edit as JSON text; null where it cannot be sent, and says why. */
export function edited() {
  const problems = editor.problems();
  if (problems.length) {
    showProblems(problems);
    return null;
  }
  return editor.text();
}

export const isUnchanged = () => editor.text() === before;

/** What is wrong stands where it belongs. */
export function showProblems(problems) {
  const rest = editor ? editor.show(problems) : problems;
  const list = document.createElement('ul');
  list.append(...rest.map((problem) => Object.assign(document.createElement('li'), { textContent: visible(problem) })));
  $('edit-problems').replaceChildren(list);
  $('edit-problems').hidden = rest.length === 0;
}

function showReason(isShown) {
  $('reason').hidden = !isShown;
  $('actions').hidden = isShown;
}

/** Ask for the words of a rejection or a request for changes. */
export function startReason(review, kind, { focus = true } = {}) {
  stopEdit();
  about = review;
  const draft = draftOf(review.key, kind);
  const suggested = kind === 'reject' ? review.reason : review.guidance;
  const field = $('reason-text');
  reasonKind = kind;
  field.defaultValue = draft ? '' : suggested;
  field.value = draft?.text ?? suggested;
  $('reason-label').textContent = WORDS[kind].label;
  $('reason-send').firstChild.textContent = `${WORDS[kind].send} `;
  showReason(true);
  if (focus) { field.focus(); field.select(); }
}

/** The words, with their kind; null where there are none. */
export const reason = () => ({ kind: reasonKind, text: $('reason-text').value.trim() });

export function stopReason() {
  if (!reasonKind) return;
  saveNow();
  reasonKind = null;
  showReason(false);
}

/** Nothing of this review is typed any more. */
export function forget(key) {
  clearTimeout(saving);
  dropDrafts(key);
  if (editor && about?.key === key) {
    editor.close();
    editor = null;
  }
  if (about?.key === key) {
    reasonKind = null;
    showReason(false);
  }
  $('approve-words').textContent = 'Approve';
  told();
}

/** The edit is given up, and what waits stands there again. */
export function discard() {
  if (!editor) return;
  clearTimeout(saving);
  before = editor.text();
  stopEdit();
  told();
}

/** Another review comes: what was typed about this one is a draft. */
export function leave() {
  stopEdit();
  stopReason();
  about = null;
}

/** What lies unsent of this review is open again, without taking the focus. */
export async function restore(review) {
  const draft = draftOf(review.key);
  if (!draft || !review.may) return;
  if (draft.kind === 'edit') await startEdit(review, { focus: false });
  else startReason(review, draft.kind, { focus: false });
}

$('reason-text').addEventListener('input', () => {
  clearTimeout(saving);
  saving = setTimeout(saveNow, 150);
});
$('reason-text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !event.repeat) {
    event.preventDefault();
    $('reason').requestSubmit();
  }
});
(window.requestIdleCallback ?? setTimeout)(() => library().catch(() => {}));
addEventListener('pagehide', saveNow);
document.addEventListener('visibilitychange', saveNow);

