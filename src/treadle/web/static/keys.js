// Keys: `g` and a letter goes to a page, Escape leaves what is typed in. Pages bind their own with `bind`.

import { url } from './http.js';

const GO = { o: '/', i: '/inbox', t: '/items', f: '/failures', e: '/events' };
const bound = new Map();
let going = false;

/** Whether keys are letters now, because something is being typed. */
export const typing = () => document.activeElement?.matches('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]') ?? false;

/**
 * The key does this on this page. Returning `false` leaves the key to the browser.
 * @param {string} key as in KeyboardEvent.key
 * @param {(event: KeyboardEvent) => unknown} act
 */
export const bind = (key, act) => bound.set(key, act);

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing()) {
    if (event.key === 'Escape') document.activeElement.blur();
    return;
  }
  if (going) {
    going = false;
    if (event.key in GO) {
      event.preventDefault();
      location.assign(url(GO[event.key]));
    }
    return;
  }
  const act = bound.get(event.key);
  if (act) {
    if (act(event) !== false) event.preventDefault();
  } else if (event.key === 'g') {
    going = true;
    setTimeout(() => { going = false; }, 1500);
  }
});
