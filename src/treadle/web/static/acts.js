// What operators do: each act is explained first, asks why, and says what came of it.

import { send } from './http.js';
import { bind } from './keys.js';

const dialog = document.getElementById('act');
const parts = Object.fromEntries(['title', 'what', 'choice', 'reason', 'problem', 'do', 'not'].map((name) => [name, document.getElementById(`act-${name}`)]));
const KEYS = { r: 'retry', n: 'rerun', x: 'cancel' };
let asked = null;

const number = new Intl.NumberFormat('en');
const items = (n) => `${number.format(n)} item${n === 1 ? '' : 's'}`;

/** What the server says is wrong, for people. */
async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  return said.detail ?? `the server answered ${answer.status}`;
}

function bodyOf(act, more = {}) {
  const { stage, message, choice } = act.dataset;
  return {
    reason: parts.reason.value.trim(),
    ...(stage === undefined ? {} : { stage }),
    ...(message === undefined ? {} : { message }),
    ...(choice === undefined ? {} : { [choice]: parts.choice.querySelector('input').checked }),
    ...more,
  };
}

async function preview(act) {
  parts.what.textContent = 'Looking at what that would be …';
  parts.do.disabled = true;
  const answer = await send('POST', act.dataset.url, bodyOf(act, { dry_run: true, reason: 'preview' }));
  if (act !== asked) return;
  if (!answer.ok) {
    parts.what.textContent = await problemOf(answer);
    return;
  }
  const { done, items: some, refused, more } = await answer.json();
  parts.what.textContent = `${items(done)}${more ? ' now, the rest when you ask again' : ''} would be pending again: ${some.slice(0, 8).join(', ')}${done > 8 ? ' …' : ''}`
    + (refused.length ? `\nRefused: ${refused[0]}` : '');
  parts.do.disabled = done === 0;
}

function open(act) {
  asked = act;
  const { title, what = '', choiceLabel } = act.dataset;
  parts.title.textContent = title;
  parts.what.textContent = what;
  parts.do.textContent = act.dataset.do;
  parts.do.disabled = false;
  parts.problem.textContent = '';
  parts.choice.hidden = choiceLabel === undefined;
  parts.choice.querySelector('span').textContent = choiceLabel ?? '';
  parts.choice.querySelector('input').checked = false;
  dialog.showModal();
  parts.reason.focus();
  if (act.dataset.act === 'retry-many') preview(act);
}

function tell(text) {
  const line = document.getElementById('done');
  line.textContent = text;
  line.hidden = false;
  setTimeout(() => { line.hidden = true; }, 5000);
}

async function act() {
  parts.do.disabled = true;
  parts.problem.textContent = '';
  try {
    const answer = await send('POST', asked.dataset.url, bodyOf(asked));
    if (!answer.ok) {
      parts.problem.textContent = await problemOf(answer);
      return;
    }
    const said = answer.status === 204 ? null : await answer.json();
    dialog.close();
    parts.reason.value = '';
    tell(said ? `${items(said.done)} pending again${said.more ? '; there are more' : ''}` : 'Done; the journal says that it was you.');
    document.body.dispatchEvent(new CustomEvent('treadle:changed', { detail: {} }));
  } catch {
    parts.problem.textContent = 'The server cannot be reached; nothing was done. What you wrote is still here.';
  } finally {
    parts.do.disabled = false;
  }
}

if (dialog) {
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-act]');
    if (button) open(button);
  });
  dialog.querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!parts.do.disabled) act();
  });
  parts.not.addEventListener('click', () => dialog.close());
  for (const [key, name] of Object.entries(KEYS)) {
    bind(key, () => {
      const button = document.querySelector(`main [data-act="${name}"]`);
      if (!button || dialog.open) return false;
      open(button);
      return true;
    });
  }
}
