// How much is left, and how fast it goes: this person's own pace as soon as they have one.

import { url } from './http.js';

const place = document.getElementById('progress');
const BREAK = 15 * 60;
const store = `treadle.sitting.${document.getElementById('inbox').dataset.reader}`;

let times = [];
try {
  times = JSON.parse(sessionStorage.getItem(store)) ?? [];
} catch { /* a sitting that cannot be read begins anew */ }

/** One more decision, or with -1 one taken back. */
export function count(by) {
  if (by > 0) times.push(Date.now());
  else times.pop();
  const words = document.getElementById('progress-words');
  if (words) words.dataset.waiting = Math.max(Number(words.dataset.waiting) - by, 0);
  times = times.slice(-500);
  try {
    sessionStorage.setItem(store, JSON.stringify(times));
  } catch { /* the figures are this page's alone then */ }
  tell();
}

export async function refreshProgress() {
  const answer = await fetch(url('/parts/inbox/progress')).catch(() => null);
  if (!answer?.ok) return;
  place.innerHTML = await answer.text();
  tell();
}

function pace() {
  const gaps = times.slice(1).map((at, index) => (at - times[index]) / 1000).filter((gap) => gap < BREAK).sort((a, b) => a - b);
  return gaps.length > 2 ? gaps[Math.floor(gaps.length / 2)] : null;
}

function lasts(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function tell() {
  const words = document.getElementById('progress-words');
  if (!words) return;
  const number = (name) => (words.dataset[name] === '' ? null : Number(words.dataset[name]));
  const left = number('waiting'), each = pace() ?? number('median'), changed = number('changed');
  words.textContent = [
    times.length ? `${times.length} of ${(times.length + left).toLocaleString('en')} decided` : `${left.toLocaleString('en')} left`,
    each === null ? null : `${each < 10 ? each.toFixed(1).replace(/\.0$/, '') : Math.round(each)} s each`,
    each === null || left === 0 ? null : `${lasts(each * left)} left at this pace`,
    changed === null ? null : `${Math.round(100 * changed)} % changed something`,
  ].filter(Boolean).join(' · ');
  document.getElementById('progress-done').style.width = `${(100 * times.length) / Math.max(times.length + left, 1)}%`;
}
