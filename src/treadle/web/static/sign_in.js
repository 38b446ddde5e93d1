// The link's secret stands behind the `#`, so it is in no request line and no log; it is given once and forgotten.

import { url } from './http.js';

const secret = location.hash.slice(1);
if (secret) {
  const form = document.getElementById('sign-in');
  history.replaceState(null, '', location.pathname + location.search);
  const answer = await fetch(url('/sign-in'), {
    method: 'POST',
    headers: { Accept: 'application/json' },
    body: new URLSearchParams({ token: secret, next: form.next.value }),
  });
  const said = await answer.json();
  if (answer.ok) {
    location.replace(said.next);
  } else {
    const refused = document.getElementById('refused');
    refused.textContent = said.detail;
    refused.hidden = false;
  }
}
