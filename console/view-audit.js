//! Who changed what: through this API, and of the plugins that serve.

import * as api from './api.js';
import { h } from './dom.js';
import { when } from './format.js';
import { badge, empty, panel, slot, table } from './parts.js';
import { head } from './shell.js';

function what(entry) {
  const text = typeof entry.what === 'string' ? entry.what : JSON.stringify(entry.what);
  const request = entry.request && typeof entry.request === 'object' && Object.keys(entry.request).length ? JSON.stringify(entry.request) : entry.request;
  return h('div', h('span', { class: 'strong' }, text), request && typeof request === 'string' ? h('div', { class: 'mono small quiet two-lines', title: request }, request) : null);
}

function outcome(entry) {
  const value = typeof entry.outcome === 'string' ? entry.outcome : JSON.stringify(entry.outcome ?? '');
  const good = /^(done|ok|200|20\d|true)/i.test(value);
  return value.length > 24 ? h('span', { class: good ? '' : 'tone-bad' }, value) : badge(value || '\u2013', good ? 'good' : 'bad');
}

/** Changes of what serves. */
export function pluginAudit(items) {
  return table('Changes of plugins, the newest first', [
    { name: 'When', cell: (one) => when(one.at) },
    { name: 'What', head: true, cls: 'full', cell: (one) => one.what },
    { name: 'By', cell: (one) => one.by },
    { name: 'Generation', cls: 'num', cell: (one) => String(one.generation) },
    { name: 'Weaker', cls: 'full', cell: (one) => (one.weakenings?.length ? h('ul', { class: 'tone-warn' }, one.weakenings.map((text) => h('li', text))) : '') },
  ], items, { key: (one) => `${one.at}-${one.what}` });
}

/** Draws it. */
export async function audit({ signal, stage }) {
  const list = slot(5);
  const sets = slot(4);
  stage.append(head('Audit', { note: 'Who changed what' }), panel('Changes through the API and the command line', { note: 'The newest first' }, list), panel('Changes of the plugins that serve', {}, sets));
  const newest = (items) => [...items].sort((a, b) => (a.at < b.at ? 1 : -1));
  const show = (path, into, draw, none) => api.get(path, { limit: 200 }, signal).then(({ items = [] }) => into.show(items.length ? draw(newest(items)) : empty(none, null, 'audit')), (error) => into.fail(error));
  await Promise.all([
    show('/audit', list, (items) => table('Changes, the newest first', [
      { name: 'When', cell: (one) => when(one.at) },
      { name: 'By', head: true, cell: (one) => h('span', { class: 'badges' }, one.by, one.role && badge(one.role)) },
      { name: 'What', cls: 'full', cell: what },
      { name: 'Outcome', cls: 'full', cell: outcome },
    ], items, { key: (one, at) => `${one.at}-${at}` }), 'Nothing was changed'),
    show('/plugins/audit', sets, pluginAudit, 'Nothing was changed'),
  ]);
}
