// What a person has typed and the server has not taken yet. It outlives reloads, restarts and sign-ins, and is no other person's.

const page = document.getElementById('inbox');
const PREFIX = `treadle.draft.${page.dataset.workflow}.${page.dataset.reader}.`;
const OLDEST = 30 * 24 * 3600 * 1000;
const inMemory = new Map();

/**
 * @typedef {{kind: 'edit'|'reject'|'changes', text: string, base: string, revision: number, digest: string, shut?: boolean, at?: number}} Draft
 * `text` is what was typed (of an edit: the artefact as JSON), `base` what the artefact was when that began.
 */

/** @returns {Draft | null} */
export function draftOf(key) {
  if (inMemory.has(key)) return inMemory.get(key);
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null;
  }
}

/** Kept until `dropDraft`; false where it outlives only this page, since the browser's store is full or closed. */
export function keepDraft(key, draft) {
  const dated = { ...draft, at: Date.now() };
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(dated));
    inMemory.delete(key);
    return true;
  } catch {
    inMemory.set(key, dated);
    return false;
  }
}

export function dropDraft(key) {
  inMemory.delete(key);
  try {
    localStorage.removeItem(PREFIX + key);
  } catch { /* what cannot be reached holds nothing */ }
}

/** Whether something would be lost with this page. */
export const hasUnkept = () => inMemory.size > 0;

/** What waits to be sent, by the same rules. */
const OUTBOX = `treadle.outbox.${page.dataset.workflow}.${page.dataset.reader}`;

export function readOutbox() {
  try {
    return JSON.parse(localStorage.getItem(OUTBOX)) ?? [];
  } catch {
    return [];
  }
}

export function writeOutbox(entries) {
  try {
    if (entries.length) localStorage.setItem(OUTBOX, JSON.stringify(entries));
    else localStorage.removeItem(OUTBOX);
  } catch { /* it is still in the page's memory */ }
}

function forgetOld() {
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith('treadle.draft.') && (JSON.parse(localStorage.getItem(name))?.at ?? 0) < Date.now() - OLDEST) localStorage.removeItem(name);
    }
  } catch { /* a browser without a store has nothing old in it */ }
}

forgetOld();
