//! The console: who is logged in, which view is shown. Each view is a function of `{ parts, params, signal, every }` that
//! draws into the page, and ends with the signal.

import './theme.js';
import * as api from './api.js';
import { h, set } from './dom.js';
import { trouble } from './parts.js';
import { here } from './router.js';
import { head, openLogin, openShell, stage, tell } from './shell.js';
import { audit } from './view-audit.js';
import { bans } from './view-bans.js';
import { decisions } from './view-decisions.js';
import { destinations } from './view-destinations.js';
import { history } from './view-history.js';
import { live } from './view-live.js';
import { message } from './view-message.js';
import { overview } from './view-overview.js';
import { plugin } from './view-plugin.js';
import { plugins } from './view-plugins.js';
import { queue } from './view-queue.js';
import { rules } from './view-rules.js';
import { site } from './view-site.js';
import { suppression } from './view-suppression.js';

const VIEWS = { audit, bans, decisions, destinations, explain: site, history, live, messages: message, overview, plugins, queue, rules, suppression };

let ending = new AbortController();

/** Runs something now and every so often, while the page is seen. */
function repeater(signal) {
  return (millis, run) => {
    let timer = null;
    const tick = async () => {
      clearTimeout(timer);
      if (signal.aborted) return;
      if (!document.hidden) await run();
      if (!signal.aborted) timer = setTimeout(tick, millis);
    };
    const seen = () => { if (!document.hidden) tick(); };
    document.addEventListener('visibilitychange', seen, { signal });
    signal.addEventListener('abort', () => clearTimeout(timer));
    tick();
    return tick;
  };
}

function view() {
  const { parts, params } = here();
  const [name = 'overview', ...rest] = parts;
  if (name === 'plugins' && rest.length) return [plugin, rest, params];
  if (name === 'destinations' && rest.length) return [site, rest, params];
  return [VIEWS[name], rest, params];
}

async function show(first = false) {
  ending.abort();
  ending = new AbortController();
  const { signal } = ending;
  const [draw, parts, params] = view();
  tell({});
  set(stage);
  if (!draw) {
    set(stage, head('No such view'), h('p', h('a', { href: '#/overview' }, 'To the overview')));
    return;
  }
  try {
    await draw({ parts, params, signal, every: repeater(signal), stage });
  } catch (error) {
    if (error.name !== 'AbortError' && error.status !== 401) set(stage, head('Trouble'), trouble(error, () => show()));
  }
  if (!first && !signal.aborted) {
    window.scrollTo(0, 0);
    stage.querySelector('h1')?.focus({ preventScroll: true });
  }
}

/** What the rail tells on every view. */
async function watch() {
  if (!api.session || document.hidden) return;
  try {
    const status = await api.get('/status');
    const sick = (status.plugins || []).filter((one) => one.state !== 'serving' || (one.breaker && one.breaker.state !== 'closed')).length;
    const queued = status.queue?.messages || 0;
    tell({ status, down: null, tallies: {
      queue: queued ? [queued > 9999 ? `${Math.round(queued / 1000)}k` : String(queued), '', 'messages'] : null,
      plugins: sick ? [String(sick), 'bad', 'in trouble'] : null,
    } });
  } catch (error) {
    if (error.status !== 401) tell({ down: error });
  }
}

function start() {
  openShell();
  if (!location.hash) replaceHash('#/overview');
  show(true);
  watch();
}

function replaceHash(hash) {
  window.history.replaceState(null, '', hash);
}

window.addEventListener('hashchange', () => api.session && show());
document.addEventListener('visibilitychange', watch);
setInterval(watch, 10_000);
api.whenLoggedOut(() => {
  ending.abort();
  openLogin(start, 'The session is over.');
});

api.resume().then((session) => (session ? start() : openLogin(start)), (error) => {
  set(document.getElementById('app'), h('main', { class: 'login' }, h('div', { class: 'login-card' }, h('h1', 'Waypost'), trouble(error, () => window.location.reload()))));
});
