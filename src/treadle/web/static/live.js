// What changed elsewhere arrives as the event `treadle:changed` on the body, with {items, stages, kinds, more} as its detail.
// One tab listens for all tabs of this browser, which opens only a few connections to one host; the others hear it from that tab.

import { refreshToken, url } from './http.js';

const APART = 700; // milliseconds between two events on a page
const CALM = 1500; // milliseconds without the server before the page speaks of it
const banner = document.getElementById('connection');
const tabs = new BroadcastChannel(`treadle-live${url('')}`);
const sessions = new BroadcastChannel('treadle-session');

let last = null; // the journal's cursor that this tab was told of
let listening = null;
let wait = 1000;
let calm = null;
let retry = null;
let state = 'connecting';

// What has changed since this page was last told.

let pending = null;
let timer = null;

function changed(news) {
  pending ??= { items: [], stages: [], kinds: [], more: false };
  for (const what of ['items', 'stages', 'kinds']) {
    pending[what] = [...new Set([...pending[what], ...(news[what] ?? [])])].slice(0, 200);
  }
  pending.more ||= Boolean(news.more);
  // A page that nobody sees asks for nothing until somebody does.
  if (timer === null && !document.hidden) timer = setTimeout(tell, tell.before + APART - performance.now());
}

function tell() {
  timer = null;
  if (pending === null || document.hidden) return;
  const detail = pending;
  pending = null;
  tell.before = performance.now();
  document.body.dispatchEvent(new CustomEvent('treadle:changed', { detail }));
}
tell.before = -APART;

document.addEventListener('visibilitychange', () => { if (!document.hidden && timer === null) tell(); });

// How the connection stands.

function show(now) {
  if (state === now) return;
  const before = state;
  state = now;
  document.documentElement.dataset.live = now;
  banner.hidden = now === 'live';
  if (now === 'lost') banner.textContent = 'The server does not answer. This page shows what it last said, and goes on when it is back.';
  if (now === 'signed-out') {
    const link = document.createElement('a');
    link.href = `${url('/sign-in')}?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.target = '_blank';
    link.textContent = 'Sign in again';
    banner.replaceChildren('You are signed out; nothing you typed is lost. ', link, '.');
  }
  if (now === 'live' && before !== 'connecting') {
    refreshToken().catch(() => {});
    changed({ more: true });
  }
}

function heard(message) {
  if (message.id !== undefined) last = message.id;
  if (message.state !== undefined) show(message.state);
  if (message.news) changed(message.news);
}

// The tab that listens.

function say(message) {
  heard(message);
  tabs.postMessage(message);
}

function listen() {
  clearTimeout(retry);
  listening?.close();
  const where = last === null ? `age=${(performance.now() / 1000 + 1).toFixed(1)}` : `after=${last}`;
  listening = new EventSource(`${url('/live')}?${where}`);
  listening.addEventListener('open', () => {
    clearTimeout(calm);
    calm = null;
    wait = 1000;
    say({ state: 'live' });
  });
  listening.addEventListener('here', (event) => { last = event.lastEventId; });
  listening.addEventListener('changed', (event) => say({ id: event.lastEventId, news: JSON.parse(event.data) }));
  listening.addEventListener('error', lost);
}

async function lost() {
  listening.close();
  calm ??= setTimeout(() => say({ state: 'lost' }), CALM);
  let session = null;
  try {
    session = await refreshToken();
  } catch {
    retry = setTimeout(listen, wait);
    wait = Math.min(wait * 1.5, 5000);
    return;
  }
  if (session) {
    retry = setTimeout(listen, 200);
  } else {
    clearTimeout(calm);
    calm = null;
    say({ state: 'signed-out' });
  }
}

tabs.addEventListener('message', (event) => heard(event.data));
sessions.addEventListener('message', () => {
  // The stream that was there may still be that of who signed out.
  if (listening && state === 'signed-out') listen();
  if (!listening) show('live');
});

// Whoever sees this page is signed in, so tabs that were signed out can go on.
sessions.postMessage('signed in');

if (navigator.locks) {
  navigator.locks.request(`treadle-live${url('')}`, () => new Promise(listen));
} else {
  listen();
}

// Answers that say nothing about what was asked do not take its place on the page.

document.addEventListener('htmx:before:response', (event) => {
  const { response, request } = event.detail.ctx;
  if (response.status === 401) say({ state: 'signed-out' });
  if (response.status === 401 || (response.status >= 500 && request.method === 'GET')) event.preventDefault();
});
