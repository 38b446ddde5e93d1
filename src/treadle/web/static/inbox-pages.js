// Reviews as the server renders them, fetched before they are asked for.

import { url } from './http.js';

const MOST = 8;
const FRESH = 20_000;
const known = new Map();

/** The review's page part; rejects with {status, text} where there is none. */
export function pageOf(key) {
  const kept = known.get(key);
  if (kept && Date.now() - kept.at < FRESH) return kept.part;
  const part = get(key);
  known.delete(key);
  known.set(key, { part, at: Date.now() });
  part.catch(() => known.delete(key));
  while (known.size > MOST) known.delete(known.keys().next().value);
  return part;
}

async function get(key) {
  const answer = await fetch(url(`/parts/inbox/review/${encodeURIComponent(key)}`), { headers: { 'HX-Request': 'true' } });
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
  return answer.text();
}

/** Something happened to it: the next look is a fresh one. */
export const forgetPage = (key) => known.delete(key);
export const forgetPages = () => known.clear();
