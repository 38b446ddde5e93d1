// Decisions on their way: sent at once, kept until the server has answered, sent again when it could not be reached.

import { refreshToken, send } from './http.js';
import { quiet } from './inbox-claim.js';
import { readOutbox, writeOutbox } from './inbox-drafts.js';

const SLOWEST = 10_000;
const PATIENCE = 20_000; // milliseconds after which an answer is taken for lost, and asked for again under the same key
const NO_WAY_BACK = [400, 403, 404, 409, 413, 422];

let entries = readOutbox();
let sending = false;
let wait = 500;
const heard = { taken: () => {}, refused: () => {}, stuck: () => {} };

/**
 * @typedef {{id: string, key: string, act: 'decide'|'undo', body: string | null, words: string}} Entry
 * `body` is JSON as text: a number in it is sent as it was written.
 */

/**
 * `taken(entry)`, `refused(entry, problem)`, and `stuck(why)` with '' when it is over, 'server', or 'sign-in'.
 * @param {Partial<typeof heard>} hear
 */
export const onSent = (hear) => Object.assign(heard, hear);

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** It is sent, sooner or later, once. */
export function enqueue(entry) {
  entries.push({ ...entry, id: newId() });
  writeOutbox(entries);
  pump();
}

/** The decision is taken out again if it has not been sent; whether that was so. */
export function withdraw(key) {
  const at = entries.findLastIndex((entry) => entry.key === key && entry.act === 'decide');
  if (at < 0 || (at === 0 && sending)) return false;
  entries.splice(at, 1);
  writeOutbox(entries);
  return true;
}

export const unsent = () => entries.length;
export const isUnsent = (key) => entries.some((entry) => entry.key === key && entry.act === 'decide');

/** Whatever is left from the last time is sent. */
export async function pump() {
  if (sending) return;
  sending = true;
  while (entries.length) {
    const entry = entries[0];
    const answer = await deliver(entry);
    if (answer === null) continue;
    entries.shift();
    writeOutbox(entries);
    if (answer.ok) heard.taken(entry);
    else heard.refused(entry, await problemOf(answer));
  }
  sending = false;
}

async function deliver(entry) {
  const path = `/api/v1/reviews/${encodeURIComponent(entry.key)}/${entry.act}`;
  await quiet();
  const sent = send('POST', path, entry.body ?? undefined, { 'Idempotency-Key': entry.id }).catch(() => null);
  const answer = await Promise.race([sent, new Promise((resolve) => { setTimeout(resolve, PATIENCE, null); })]);
  if (answer && (answer.ok || NO_WAY_BACK.includes(answer.status) || answer.status === 500)) {
    wait = 500;
    heard.stuck('');
    return answer;
  }
  heard.stuck(answer?.status === 401 ? 'sign-in' : 'server');
  await new Promise((resolve) => { setTimeout(resolve, wait); addEventListener('online', resolve, { once: true }); });
  wait = Math.min(wait * 2, SLOWEST);
  if (answer?.status === 401) await refreshToken().catch(() => null);
  return null;
}

/** What the server said, as {status, detail, problems}. */
export async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  return { status: answer.status, detail: said.detail ?? answer.statusText, problems: said.problems ?? [] };
}
