// Lists: filters that apply themselves, pages by [ and ], rows that follow what happens.

import { bind } from './keys.js';

const LEAST = 1500;

const filters = document.getElementById('filters');
filters?.addEventListener('change', (event) => { if (event.target.matches('select')) filters.requestSubmit(); });
// An empty filter is no part of an address that people pass on.
filters?.addEventListener('formdata', (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

const follow = (relation) => () => {
  const link = document.querySelector(`main a[rel="${relation}"]`);
  if (link) link.click();
  return Boolean(link);
};
bind('[', follow('prev'));
bind(']', follow('next'));
bind('/', () => { document.querySelector('[data-key="/"]')?.focus(); });

/** The link of the next row, or the one before; Enter opens it. */
const row = (step) => () => {
  const links = [...document.querySelectorAll('tbody th a')];
  const next = links[Math.min(Math.max(links.indexOf(document.activeElement) + step, 0), links.length - 1)];
  next?.focus();
  return Boolean(next);
};
bind('j', row(1));
bind('k', row(-1));

// A cell that says nothing more than its state still leads to its stage.
document.addEventListener('click', (event) => {
  const cell = event.target.closest?.('.weave td:has(> .cell)');
  if (!cell || event.target.closest('a')) return;
  const stage = document.querySelector(`.weave thead th:nth-child(${cell.cellIndex + 1})`).title;
  location.assign(`${cell.parentElement.querySelector('th a').href}?stage=${encodeURIComponent(stage)}`);
});

/** Whether something on this page may have changed. */
function concerns(detail) {
  const journal = document.getElementById('journal');
  if (journal) return 'follows' in journal.dataset && document.getElementById('follow')?.checked;
  const changed = detail?.items;
  if (!Array.isArray(changed) || detail.more) return true;
  const shown = new Set([...document.querySelectorAll('tr[data-item]')].map((row) => row.dataset.item));
  // A page that is not full, or filtered, may get rows that it does not show yet.
  return changed.some((id) => id === '' || shown.has(id)) || location.search !== '' || !document.querySelector('a[rel="next"]');
}

let waiting = false;
let last = 0;
document.body.addEventListener('treadle:changed', (event) => {
  if (waiting || !concerns(event.detail)) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    last = Date.now();
    (document.getElementById('rows') ?? document.getElementById('journal'))?.dispatchEvent(new Event('treadle:shown'));
  }, Math.max(0, last + LEAST - Date.now()));
});
