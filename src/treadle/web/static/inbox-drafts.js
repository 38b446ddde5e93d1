// What a person has typed and the server has not taken yet. It outlives reloads, restarts and sign-ins, and is no other person's.

const page = document.getElementById('inbox');
const PREFIX = `treadle.draft.${page.dataset.workflow}.${page.dataset.reader}.`;
const OLDEST = 30 * 24 * 3600 * 1000;
const inMemory = new Map();

/**
 * @typedef {{kind: 'edit'|'reject'|'changes', text: string, base: string, revision: number, digest: string, at?: number}} Draft
 * `text` is what was typed (of an edit: the artefact as JSON), `base` what the artefact was when that began.
 */

/** All that lies unsent of a review, by kind. @returns {Record<string, Draft>} */
export function draftsOf(key) {
  if (inMemory.has(key)) return inMemory.get(key);
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? {};
  } catch {
    return {};
  }
}

/** The draft of that kind, or the one that was typed last. @returns {Draft | null} */
export function draftOf(key, kind) {
  const all = draftsOf(key);
  if (kind) return all[kind] ?? null;
  return Object.values(all).sort((one, other) => other.at - one.at)[0] ?? null;
}

/** Kept until `dropDrafts`; false where it outlives only this page, since the browser's store is full or closed. */
export const keepDraft = (key, draft) => keepDrafts(key, { ...draftsOf(key), [draft.kind]: { ...draft, at: Date.now() } });

export function keepDrafts(key, all) {
  try {
    if (Object.keys(all).length) localStorage.setItem(PREFIX + key, JSON.stringify(all));
    else localStorage.removeItem(PREFIX + key);
    inMemory.delete(key);
    return true;
  } catch {
    inMemory.set(key, all);
    return false;
  }
}

/** Those of that kind are forgotten, or all. */
export function dropDrafts(key, kind) {
  const { [kind]: _, ...others } = draftsOf(key);
  keepDrafts(key, kind ? others : {});
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

const newest = (all) => Math.max(0, ...Object.values(all ?? {}).map((draft) => draft.at ?? 0));

function forgetOld() {
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith('treadle.draft.') && newest(JSON.parse(localStorage.getItem(name))) < Date.now() - OLDEST) localStorage.removeItem(name);
    }
  } catch { /* a browser without a store has nothing old in it */ }
}

forgetOld();
