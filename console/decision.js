//! Decisions of plugins as they are shown in lists.

import { h } from './dom.js';
import { clock, micros, number, when } from './format.js';
import { badge } from './parts.js';
import { link } from './router.js';

const TONES = { proceed: 'plain', accept: 'good', reject: 'bad', tempfail: 'warn', close: 'bad', discard: 'bad', quarantine: 'warn', fail: 'bad' };

/** The colour of a verdict. */
export const verdictTone = (verdict) => TONES[verdict] || 'note';

/** An edit in a few words: `prepend-header X-Policy: seen`. */
export function editWords(edit) {
  if (typeof edit === 'string') return edit;
  const keys = Object.keys(edit);
  const [name, rest] = edit.edit ? [edit.edit, edit] : keys.length === 1 ? [keys[0], edit[keys[0]]] : ['edit', edit];
  if (!rest || typeof rest !== 'object') return `${name} ${rest ?? ''}`;
  const { edit: _, name: field, value, ...others } = rest;
  const more = Object.entries(others).map(([key, of]) => `${key} ${typeof of === 'string' ? of : JSON.stringify(of)}`).join(', ');
  return [name, field !== undefined ? `${field}:` : null, value !== undefined ? String(value) : null, more].filter((part) => part !== null && part !== '').join(' ');
}

/** One decision. */
export function decisionLine(one, { withPlugin = true } = {}) {
  const more = [];
  if (one.told) more.push(h('p', 'told ', h('code', one.told)));
  if (one.whole) more.push(h('p', h('code', typeof one.whole === 'string' ? one.whole : JSON.stringify(one.whole))));
  if (one.failure) more.push(h('p', { class: 'tone-bad' }, `failed, ${one.failure.kind}: it ${one.failure.detail}; its policy is ${one.failure.policy}`));
  if (one.recipients?.length) more.push(h('p', 'for ', h('bdi', one.recipients.join(', ')), one.more_recipients ? ` and ${number(one.more_recipients)} more` : ''));
  for (const change of one.edits || []) more.push(h('p', h('code', editWords(change))));
  if (one.more_edits) more.push(h('p', `and ${number(one.more_edits)} more edits`));
  return h('div', { class: 'decision' }, when(one.time, (time) => clock(time, true)), h('span', { class: 'mono small' }, one.hook),
    h('span', { class: 'badges' }, withPlugin && h('a', { href: link(['plugins', one.plugin]) }, one.plugin),
      h('span', { class: 'quiet small' }, `${one.version}, generation ${one.generation}`), badge(one.verdict, one.failure ? 'bad' : verdictTone(one.verdict)), one.failure && badge('failed', 'bad')),
    h('span', { class: 'decision-cost', title: 'wall clock, computing, calls of the host' }, `${micros(one.wall_us)}, ${micros(one.cpu_us)} CPU${one.host_calls ? `, ${number(one.host_calls)} host` : ''}`),
    more.length ? h('div', { class: 'decision-more' }, more) : null);
}

function group(one) {
  return one.queue_id || one.session || '-';
}

/** Decisions in groups, one for each message, or session where it is about none. */
export function decisionGroups(items) {
  const groups = new Map();
  for (const one of items) {
    const name = group(one);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return [...groups].map(([name, list]) => {
    const sorted = [...list].sort((a, b) => (a.time < b.time ? -1 : 1));
    const of = (key) => list.find((one) => one[key])?.[key];
    return h('div', { class: 'group', 'data-key': `group-${name}` }, h('div', { class: 'group-head' },
      of('queue_id') ? h('span', 'message ', h('a', { class: 'mono', href: link(['messages', of('queue_id')]) }, of('queue_id'))) : null,
      of('session') ? h('span', 'session ', h('a', { class: 'mono', href: link('decisions', { about: of('session') }) }, of('session'))) : null,
      of('client') ? h('span', { class: 'quiet' }, `client ${of('client')}`) : null, of('sender') ? h('span', { class: 'quiet' }, 'from ', h('bdi', of('sender'))) : null,
      h('span', { class: 'quiet' }, when(sorted[0].time))), sorted.map((one) => decisionLine(one)));
  });
}
