//! Messages that left the queue, and what became of them.

import * as api from './api.js';
import { h } from './dom.js';
import { age, count, number, relative, seconds, size, when } from './format.js';
import { badge, check, empty, facts, field, input, panel, select, slot, table } from './parts.js';
import { go, link } from './router.js';
import { head } from './shell.js';

const TONES = { delivered: 'good', temporary: 'warn', permanent: 'bad', expired: 'bad', bounced: 'bad', dropped: 'note', removed: 'note' };
const TIMES = [['', 'Any time'], ['15m', '15 minutes'], ['1h', 'One hour'], ['12h', '12 hours'], ['1d', 'One day'], ['7d', 'One week']];

function became(message) {
  const kinds = new Map();
  for (const one of message.recipients || []) kinds.set(one.became, (kinds.get(one.became) || 0) + 1);
  return h('span', { class: 'badges' }, [...kinds].map(([kind, times]) => badge(times > 1 ? `${times} ${kind}` : kind, TONES[kind] || 'plain')));
}

function dialogue(lines) {
  return h('pre', { class: 'dialogue', tabindex: '0', 'aria-label': 'Dialogue with the next hop' }, lines.map((text) => h('span', { class: /^(C:|>|->)/.test(text) ? 'ours' : '' }, `${text}\n`)));
}

/** One message in full. */
export function finished(message) {
  return h('div', { class: 'panel-body stacked' },
    facts([['Message', h('span', { class: 'mono' }, message.queue_id)], ['From', h('bdi', message.sender)], ['Left', when(message.time)], ['Arrived', when(message.arrived)], ['Size', size(message.size)], ['Hop', message.hop && h('span', { class: 'mono' }, message.hop)],
      ['Took', message.took_ms !== undefined ? `${number(message.took_ms)} ms` : null], ['Client', message.client], ['Listener', message.listener], ['Session', message.session && h('a', { class: 'mono', href: link('decisions', { about: message.session }) }, message.session)],
      ['Logged in as', message.identity], ['Tenant', message.tenant], ['Campaign', message.campaign], ['Tags', message.tags?.join(', ')]]),
    (message.recipients || []).map((one) => h('div', { class: 'difference' }, h('header', badge(one.became, TONES[one.became] || 'plain'), h('strong', h('bdi', one.address)), one.original && h('span', { class: 'quiet' }, 'was ', h('bdi', one.original)), h('span', { class: 'quiet' }, `at ${one.stage}${one.remote ? `, ${one.remote}` : ''}, after ${count(one.attempts, 'earlier attempt')}`)),
      one.reply && h('p', { class: 'mono small' }, one.reply), one.error && h('p', { class: 'tone-bad small' }, one.error),
      one.before?.length ? h('ol', { class: 'attempts', 'aria-label': 'Attempts before' }, one.before.map((past) => h('li', { class: 'attempt' }, when(past.at), h('div', h('p', { class: 'said' }, past.said), h('p', { class: 'quiet' }, `${past.hop} \u00b7 at ${past.stage}`))))) : null)),
    message.dialogue?.length ? dialogue(message.dialogue) : null);
}

/** Draws it. */
export async function history({ params, signal, stage }) {
  const id = input({ value: params.id || '', placeholder: '1j0v8up7ite00' });
  const sender = input({ value: params.sender || '', 'data-search': true, placeholder: 'Part of an address' });
  const recipient = input({ value: params.recipient || '', placeholder: 'Part of an address' });
  const since = select(TIMES, params.since || '');
  const failed = check('Not delivered only', params.failed === '1');
  const list = slot(6);
  const form = h('form', { class: 'panel-body form-grid', on: {
    submit: (event) => {
      event.preventDefault();
      go('history', { id: id.value.trim(), sender: sender.value.trim(), recipient: recipient.value.trim(), since: since.value, failed: failed.box.checked ? '1' : '' });
    },
  } }, field('Queue id', id), field('Sender', sender), field('Recipient', recipient), field('Since', since), failed, h('button', { class: 'button primary', type: 'submit' }, 'Show'));
  stage.append(head('History', { note: 'What became of messages that left the queue' }), panel('Which', {}, form), panel('Messages', { note: 'The newest first' }, list));
  try {
    const answer = await api.get('/history', { id: params.id, sender: params.sender, recipient: params.recipient, failed: params.failed === '1' ? 'true' : '', since_secs: params.since ? seconds(params.since) : '', limit: 100 }, signal);
    const items = answer.items || [];
    if (!items.length) {
      list.show(empty('Nothing fits', 'Or it left longer ago than the history keeps.', 'history'));
      return;
    }
    if (params.id) {
      list.show(items.map(finished));
      return;
    }
    const last = (one) => (one.recipients || []).find((each) => each.became !== 'delivered') || one.recipients?.[0] || {};
    list.show(table('Messages that left the queue, the newest first', [
      { name: 'Message', head: true, cell: (one) => h('span', { class: 'badges' }, h('a', { class: 'mono', href: link('history', { id: one.queue_id }) }, one.queue_id), became(one)) },
      { name: 'From and to', cls: 'full', cell: (one) => h('div', { class: 'who' }, h('div', { class: 'clip' }, h('bdi', one.sender)), h('div', { class: 'clip' }, h('span', { class: 'arrow' }, '\u2192 '), h('bdi', one.recipients?.[0]?.address), one.recipients?.length > 1 ? ` and ${number(one.recipients.length - 1)} more` : '')) },
      { name: 'Left', cell: (one) => when(one.time) },
      { name: 'In the queue', cls: 'num', cell: (one) => age((new Date(one.time) - new Date(one.arrived)) / 1000) },
      { name: 'Size', cls: 'num', cell: (one) => size(one.size) },
      { name: 'Last reply', cls: 'said full', cell: (one) => [last(one).remote, last(one).reply || last(one).error].filter(Boolean).join(': ') },
    ], items, { key: (one) => `${one.queue_id}-${one.time}`, cls: 'queue-table' }), h('p', { class: 'hint-line' }, `${count(items.length, 'message')}${answer.more ? '; there are more that fit' : ''}${items.length ? `, back to ${relative(items.at(-1).time)}` : ''}`));
  } catch (error) {
    list.fail(error);
  }
}
