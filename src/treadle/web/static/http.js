// Requests to our own server: every change carries the token of the page, and a token that has become stale is fetched anew.

const root = document.documentElement.dataset.root;
const meta = document.querySelector('meta[name="treadle-token"]');

/** The path of this app as it must be asked for. */
export const url = (path) => root + path;

export const token = () => meta.content;

/** Who is signed in and the token of the moment; null where nobody is. Rejects where the server did not say. */
export async function refreshToken() {
  const answer = await fetch(url('/session'), { headers: { Accept: 'application/json' } });
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const session = await answer.json();
  meta.content = session.token;
  return session;
}

/**
 * A request with a JSON body; resolves to the Response whatever its status. Rejects only where the server was not reached.
 * @param {string} method
 * @param {string} path below this app, such as '/api/v1/reviews/bulk'
 * @param {unknown} [body] a string is JSON already
 * @param {Record<string, string>} [headers]
 */
export async function send(method, path, body, headers = {}) {
  const ask = () => fetch(url(path), {
    method,
    headers: {
      Accept: 'application/json',
      'X-Treadle-Token': token(),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...headers,
    },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  });
  const answer = await ask();
  if (answer.status !== 403 || !answer.headers.has('X-Treadle-Stale')) return answer;
  return (await refreshToken()) ? ask() : answer;
}

// htmx asks in the same way.
document.addEventListener('htmx:config:request', (event) => {
  const { ctx } = event.detail;
  ctx.request.headers['X-Treadle-Token'] = token();
  ctx.fetch = async (action, request) => {
    const answer = await fetch(action, request);
    if (answer.status !== 403 || !answer.headers.has('X-Treadle-Stale') || !(await refreshToken())) return answer;
    request.headers['X-Treadle-Token'] = token();
    return fetch(action, request);
  };
});
