//! The frame around every view: rail, head, login, shortcuts, help.

import * as api from './api.js';
import { clean, h, morph, set } from './dom.js';
import { age } from './format.js';
import { icon, mark } from './icons.js';
import { announce, button, check, complain, dialog, field, trouble } from './parts.js';
import { go, here, link } from './router.js';
import { isDark, prefer, preference, setTheme, theme } from './theme.js';

/** Views by group: path, name, key after `g`. */
const GROUPS = [
  ['Mail', [['overview', 'Overview', 'o'], ['queue', 'Queue', 'q'], ['history', 'History', 'h'], ['live', 'Live', 'l']]],
  ['Sending', [['destinations', 'Destinations', 'd'], ['rules', 'Rules', 'r'], ['suppression', 'Suppression', 's']]],
  ['Policy', [['plugins', 'Plugins', 'p'], ['decisions', 'Decisions', 'w']]],
  ['Guard', [['bans', 'Bans', 'b'], ['audit', 'Audit', 'a']]],
];

const rail = h('aside', { class: 'rail', id: 'rail', 'aria-label': 'Console' });
const page = h('main', { class: 'page', id: 'page', tabindex: '-1' });
const opener = button('Menu', () => menu(!rail.classList.contains('open')), { kind: 'bare icon-only', glyph: 'menu', 'aria-expanded': 'false', 'aria-controls': 'rail' });
const banner = h('p', { class: 'offline', role: 'status', hidden: true });
let known = { status: null, tallies: {}, down: null };

/** The place where views are drawn. */
export const stage = page;

function menu(open) {
  rail.classList.toggle('open', open);
  opener.setAttribute('aria-expanded', String(open));
}

function themeButton() {
  const next = { auto: isDark() ? 'light' : 'dark', light: isDark() ? 'light' : 'dark', dark: isDark() ? 'light' : 'dark' }[theme()];
  return button(`Theme: ${theme() === 'auto' ? 'as the system' : theme()}`, () => {
    setTheme(next);
    drawRail();
    announce(`${next} theme`);
  }, { kind: 'bare icon-only', glyph: isDark() ? 'sun' : 'moon', title: 'Light or dark (t)', key: 'theme' });
}

function drawRail() {
  const at = here().parts[0] || 'overview';
  const current = { messages: 'queue', explain: 'destinations' }[at] || at;
  const { status, tallies, down } = known;
  const pulse = down ? ['off', 'No answer'] : status?.store?.refusing ? ['off', 'Refuses mail'] : status ? ['', 'Takes mail'] : ['warn', 'Asking'];
  morph(rail, [
    h('a', { class: 'brand', href: '#/overview' }, mark(), 'Waypost'),
    h('nav', { 'aria-label': 'Views' }, GROUPS.map(([group, views]) => h('div', h('h2', group), h('ul', views.map(([path, name]) => {
      const tally = tallies[path];
      return h('li', h('a', { href: `#/${path}`, 'aria-current': path === current ? 'page' : null, on: { click: () => menu(false) } },
        icon(path), name, tally && h('span', { class: `tally ${tally[1]}` }, tally[0], h('span', { class: 'unseen' }, ` ${tally[2]}`))));
    }))))),
    h('div', { class: 'rail-foot' },
      h('div', { class: `pulse ${pulse[0]}` }, pulse[1]),
      status && h('div', { class: 'quiet' }, `${status.version}, up ${age(status.uptime_secs)}`),
      h('div', { class: 'whoami' }, h('span', { class: 'clip', title: api.session.name }, api.session.name || 'token'), h('span', { class: 'badge' }, api.session.role)),
      h('div', { class: 'rail-tools' }, themeButton(),
        button('Keyboard and help', help, { kind: 'bare icon-only', glyph: 'help', title: 'Keyboard and help (?)', key: 'help' }),
        button('Log out', () => api.logout().catch((error) => complain('Log out', error)), { kind: 'bare icon-only', glyph: 'out', title: 'Log out', key: 'out' }))),
  ]);
}

/** Draws the frame. */
export function openShell() {
  set(document.getElementById('app'),
    h('a', { class: 'skip', href: '#page', on: { click: (event) => { event.preventDefault(); page.focus(); } } }, 'Skip to the content'),
    h('header', { class: 'topbar' }, h('a', { class: 'brand', href: '#/overview' }, mark(), 'Waypost'), opener),
    h('div', { class: 'shell' }, rail, h('div', { class: 'column' }, banner, page)));
  drawRail();
}

/** Tells the rail what is known: the status, and counts beside names of views. */
export function tell(news) {
  known = { ...known, ...news };
  banner.hidden = !known.down;
  set(banner, known.down ? 'The relay does not answer. What is shown may be old; it is asked again.' : null);
  if (api.session && rail.isConnected) drawRail();
}

/** The head of a view: crumb, title, what it is, actions. Sets the window's title. */
export function head(title, { crumb = null, note = null, actions = null } = {}) {
  if (typeof title === 'string') document.title = `${clean(title)} \u00b7 Waypost`;
  return h('header', { class: 'page-head', 'data-key': 'head' },
    h('div', crumb && h('p', { class: 'crumb' }, crumb), h('h1', { tabindex: '-1' }, title), note && h('p', { class: 'quiet' }, note)),
    actions && h('div', { class: 'page-actions' }, actions));
}

/** Asks for a token. */
export function openLogin(then, notice = null) {
  document.title = 'Log in \u00b7 Waypost';
  for (const open of document.querySelectorAll('dialog')) open.close();
  const token = h('input', { type: 'password', id: 'token', autocomplete: 'current-password', required: true, spellcheck: 'false' });
  const said = h('div', { role: 'alert' }, notice && h('p', { class: 'quiet' }, notice));
  const submit = h('button', { type: 'submit', class: 'button primary' }, 'Log in');
  const form = h('form', { on: {
    submit: async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        await api.login(token.value.trim());
        token.value = '';
        then();
      } catch (error) {
        set(said, trouble(error.status === 401 ? { title: 'That token is not known', reasons: ['It may have been mistyped, or taken out of the configuration.'], status: 401 } : error));
        token.focus();
        token.select();
      } finally {
        submit.disabled = false;
      }
    },
  } }, field('Token', token, { hint: 'Made by: waypost token NAME --role read' }), said, submit);
  set(document.getElementById('app'), h('main', { class: 'login' }, h('div', { class: 'login-card' },
    h('div', { class: 'brand' }, mark(), h('h1', 'Waypost')), form)));
  token.focus();
}

const KEYS = [
  ['g \u2026', 'Go to a view, see below'], ['/', 'To the filter or search'], ['j k', 'Next, previous row'], ['Enter', 'Open what has the focus'],
  ['p', 'Pause or go on (Live)'], ['t', 'Light or dark'], ['Esc', 'Close a dialog, leave a field'], ['?', 'This help'],
];

/** The help dialog. */
export function help() {
  dialog('Keyboard', () => ({
    done: 'Close',
    body: [
      h('div', { class: 'keys' }, KEYS.map(([key, what]) => h('div', h('span', key.split(' ').map((one) => [h('kbd', one), ' '])), h('span', what)))),
      h('h3', 'Views'),
      h('div', { class: 'keys' }, GROUPS.flatMap(([, views]) => views).map(([, name, key]) => h('div', h('span', h('kbd', 'g'), ' ', h('kbd', key)), h('span', name)))),
      check('Single keys do this', preference('keys') !== 'off', (on) => prefer('keys', on ? null : 'off')),
    ],
  }));
}

let waiting = null;

function rows(step) {
  const links = [...page.querySelectorAll('tbody tr')].map((row) => row.querySelector('a, summary, button')).filter(Boolean);
  const at = links.findIndex((one) => one.closest('tr') === document.activeElement?.closest('tr'));
  links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
}

function press(event) {
  if (event.key === 'Escape' && rail.classList.contains('open')) menu(false);
  const target = event.target;
  const typing = target.matches?.('input:not([type="checkbox"]), select, textarea');
  if (typing && event.key === 'Escape') target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !api.session || preference('keys') === 'off' || document.querySelector('dialog[open]')) return;
  if (waiting !== null) {
    const found = GROUPS.flatMap(([, views]) => views).find(([, , key]) => key === event.key);
    clearTimeout(waiting);
    waiting = null;
    if (found) {
      event.preventDefault();
      go(found[0]);
    }
    return;
  }
  const does = {
    g: () => { waiting = setTimeout(() => { waiting = null; }, 1500); },
    '/': () => { const box = page.querySelector('[data-search]'); box?.focus(); box?.select(); },
    '?': help,
    t: () => { setTheme(isDark() ? 'light' : 'dark'); drawRail(); },
    j: () => rows(1),
    k: () => rows(-1),
    p: () => page.querySelector('[data-pause]')?.click(),
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
}

document.addEventListener('keydown', press);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => rail.isConnected && api.session && drawRail());
export { link };
