// The page of one item follows what happens to it; what a person has opened stays open.

import { bind } from './keys.js';
import { url } from './http.js';

// Escape goes back, unless it closes what is open.
bind('Escape', () => {
  if (document.querySelector('dialog[open]')) return false;
  if (document.referrer.startsWith(location.origin)) history.back();
  else location.assign(url('/items'));
  return true;
});

const LEAST = 1000;
const toggled = new Map();

const nameOf = (details) => {
  const alike = [...document.querySelectorAll('#item details')].filter((one) => one.firstElementChild.textContent === details.firstElementChild.textContent);
  return `${details.firstElementChild.textContent}\n${alike.indexOf(details)}`;
};
document.addEventListener('click', (event) => {
  const details = event.target.closest?.('#item summary')?.parentElement;
  if (details) toggled.set(nameOf(details), !details.open);
});
new MutationObserver(() => {
  for (const details of document.querySelectorAll('#item details')) {
    const open = toggled.get(nameOf(details));
    if (open !== undefined && details.open !== open) details.open = open;
  }
}).observe(document.getElementById('main'), { childList: true, subtree: true, attributes: true, attributeFilter: ['open'] });

let waiting = false;
let last = 0;
document.body.addEventListener('treadle:changed', (event) => {
  const item = document.getElementById('item');
  const { items, more } = event.detail ?? {};
  // What happened to no item happened to the store: some may have been removed.
  if (waiting || !item?.dataset.item || (Array.isArray(items) && !more && !items.includes(item.dataset.item) && !items.includes(''))) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    last = Date.now();
    document.getElementById('item')?.dispatchEvent(new Event('treadle:shown'));
  }, Math.max(0, last + LEAST - Date.now()));
});
