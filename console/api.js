//! The HTTP API of the relay: requests, refusals with the relay's own reasons, steps, events. Keeps who is logged in.
//! The token is sent once, to log in, and never kept.

import { prefer, preference } from './theme.js';

const BASE = '/api/v1';
const RANKS = { read: 0, operate: 1, admin: 2 };

/** Who uses this page: `{ name, role, csrf }`, or null. */
export let session = null;

let onLogout = () => {};

/** Called when the relay no longer knows us. */
export function whenLoggedOut(then) {
  onLogout = then;
}

/** True if the role that is logged in includes this one. */
export function may(role) {
  return session !== null && (RANKS[session.role] ?? -1) >= RANKS[role];
}

/** What the relay, or the way to it, said no to. */
export class Refusal extends Error {
  constructor(status, title, reasons) {
    super(reasons[0] || title);
    this.status = status;
    this.title = title;
    this.reasons = reasons.length ? reasons : [title];
  }
}

const TITLES = {
  0: 'The relay does not answer',
  401: 'Not logged in',
  403: 'Your role may not do that',
  404: 'There is no such thing',
  409: 'The relay refused',
  413: 'That is too large',
  429: 'Too many requests',
  503: 'The relay can\u2019t do that now',
};

async function refusal(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Whatever stands between may answer without JSON.
  }
  const reasons = Array.isArray(body.reasons) ? body.reasons.map(String) : [];
  const title = TITLES[response.status] || body.title || `The relay answered ${response.status}`;
  if (!reasons.length && body.detail) reasons.push(String(body.detail));
  return new Refusal(response.status, title, reasons);
}

function query(params) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params || {})) {
    if (value !== null && value !== undefined && value !== '' && value !== false) search.set(name, value);
  }
  const text = search.toString();
  return text ? `?${text}` : '';
}

async function send(method, path, { params, body, signal } = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (method !== 'GET' && session) headers['X-Waypost-CSRF'] = session.csrf;
  let response;
  try {
    response = await fetch(`${BASE}${path}${query(params)}`, {
      method, headers, signal, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, TITLES[0], ['No answer: it may be restarting, or the connection to it is down.']);
  }
  if (response.status === 401 && path !== '/session') {
    session = null;
    prefer('session', null);
    onLogout();
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function json(response) {
  if (response.status === 204) return {};
  const text = await response.text();
  return text ? JSON.parse(text) : {};
}

export const get = (path, params, signal) => send('GET', path, { params, signal }).then(json);
export const post = (path, body, signal) => send('POST', path, { body, signal }).then(json);
export const remove = (path, params, body) => send('DELETE', path, { params, body }).then(json);
/** The answer as text, such as the content of a message. */
export const text = (path, signal) => send('GET', path, { signal }).then((response) => response.text());
/** Where the browser can fetch something by itself. */
export const address = (path, params) => `${BASE}${path}${query(params)}`;

/** Part of a path. */
export const part = (name) => encodeURIComponent(name);

/** Asks who we are; null if nobody. */
export async function resume() {
  // Who never logged in here need not be told so by the relay.
  if (preference('session') === null) return null;
  try {
    session = await get('/session');
  } catch (error) {
    if (error.status !== 401) throw error;
    session = null;
    prefer('session', null);
  }
  return session;
}

/** Trades a token for a session. */
export async function login(token) {
  session = await post('/session', { token });
  prefer('session', 'open');
  if (!session.role) session = { ...session, ...(await get('/session')) };
  return session;
}

/** Ends the session here and at the relay. */
export async function logout() {
  try {
    await remove('/session');
  } finally {
    session = null;
    prefer('session', null);
    onLogout();
  }
}

/**
 * Goes through the queue in steps: `ask({ after, upto })` until there is no next one. Each answer goes to `each` with
 * how many messages were looked at so far; what it returns as false ends it. At most `most` steps.
 *
 * Returns true if it came to the end.
 */
export async function steps(ask, each, most = Infinity) {
  let place = {};
  let looked = 0;
  for (let step = 0; step < most; step += 1) {
    const answer = await ask(place);
    looked += answer.looked || 0;
    if (each(answer, looked) === false) return false;
    if (!answer.next) return true;
    place = { after: answer.next, upto: answer.upto };
  }
  return false;
}

/** Server-sent events. `on` has `open`, `event(kind, data, id)` and `lost`. Returns what ends it. */
export function events(params, on) {
  let source = null;
  let timer = null;
  const connect = () => {
    source = new EventSource(address('/events', params));
    source.onopen = () => on.open(true);
    source.onerror = () => {
      on.open(false);
      // After a refusal, such as too many who listen, a browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, 5000);
    };
    for (const kind of kinds) source.addEventListener(kind, (message) => on.event(kind, read(message), message.lastEventId));
    source.addEventListener('lost', (message) => on.lost(read(message)));
  };
  const kinds = ['session', 'reception', 'delivery', 'plugin', 'audit'];
  const read = (message) => {
    try {
      return JSON.parse(message.data);
    } catch {
      return { text: message.data };
    }
  };
  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
