// The review before you is in your hands, so that two people do not work on the same one.

import { send, token, url } from './http.js';

const MINUTES = 5;
const RENEW = 60_000;
const SOON = 400;
const LATER = 3000; // milliseconds after which a claim is asked for again that the server could not answer

let current = null;
let until = 0;
let moved = Date.now();
let starting = 0;
let asking = Promise.resolve();
const concluded = new Set();
const heard = new Set();

/** Calls with (milliseconds left, whose) every second, and when that changes. */
export const onHeld = (hear) => heard.add(hear);

const path = (key, act) => `/api/v1/reviews/${encodeURIComponent(key)}/${act}`;

/** After a moment, so that whoever pages through does not claim everything, the review is claimed and stays so while somebody moves. */
export function hold(key) {
  concluded.delete(key);
  if (current === key) return;
  release();
  current = key;
  until = 0;
  askSoon();
}

function askSoon(wait = SOON) {
  clearTimeout(starting);
  starting = setTimeout(() => ask(current), wait);
}

/**
 * A decision is about to be sent: the review is not claimed any more, nor given back, since what was decided is in nobody's
 * hands. Resolves when no claim is on its way.
 */
export function conclude(key) {
  clearTimeout(starting);
  concluded.add(key);
  return asking;
}

/** The decision was not taken: the review is in your hands as before, or given back if you have left it. */
export function resume(key) {
  concluded.delete(key);
  if (current !== key) giveBack(key);
  else if (!until) askSoon();
}

/** No claim is on its way: what follows arrives after it. */
export const quiet = () => asking;

function ask(key) {
  asking = claim(key);
}

async function claim(key) {
  const answer = await send('POST', path(key, 'claim'), { minutes: MINUTES }).catch(() => null);
  if (key !== current) {
    if (answer?.ok && !concluded.has(key)) giveBack(key);
    return;
  }
  if (answer?.ok) until = Date.parse((await answer.json()).held_until);
  else if (answer?.status === 409) document.dispatchEvent(new CustomEvent('inbox:stale', { detail: key }));
  else if (!concluded.has(key) && (!answer || answer.status >= 500)) askSoon(LATER);
  tell();
}

/** Nothing is in your hands. */
export function release() {
  clearTimeout(starting);
  if (current && !concluded.has(current) && until > Date.now()) giveBack(current);
  forget();
}

/** What was decided is in nobody's hands already. */
export function forget() {
  clearTimeout(starting);
  current = null;
  until = 0;
}

function giveBack(key) {
  // It must arrive even when the page is being closed.
  fetch(url(path(key, 'release')), { method: 'POST', keepalive: true, headers: { 'X-Treadle-Token': token(), Accept: 'application/json' } }).catch(() => {});
}

function tell() {
  heard.forEach((hear) => hear(current ? until - Date.now() : 0));
}

for (const kind of ['keydown', 'pointermove', 'input', 'touchstart']) {
  addEventListener(kind, () => { moved = Date.now(); }, { passive: true, capture: true });
}

setInterval(() => {
  if (current && !concluded.has(current) && until && until - Date.now() < MINUTES * 60_000 - RENEW && Date.now() - moved < RENEW && !document.hidden) {
    until = Date.now() + MINUTES * 60_000 - RENEW;
    ask(current);
  }
  tell();
}, 1000);

addEventListener('pagehide', release);
