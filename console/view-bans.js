//! Who is not served for a while.

import * as api from './api.js';
import { duration } from './bulk.js';
import { h, set } from './dom.js';
import { age, number } from './format.js';
import { action, badge, button, dialog, empty, field, input, panel, slot, table, toast } from './parts.js';
import { link } from './router.js';
import { head } from './shell.js';

function withPrefix(text) {
  if (text.includes('/')) return text;
  return `${text}/${text.includes(':') ? 128 : 32}`;
}

function add() {
  return dialog('Ban', () => {
    const network = input({ required: true, placeholder: '192.0.2.7, or 192.0.2.0/24' });
    const during = duration('1h', { required: true });
    return {
      label: 'Ban', danger: true, body: [h('p', 'Its connections are turned away.'), h('div', { class: 'form-grid' }, field('Address or network', network), field('For', during))],
      submit: async () => {
        await api.post('/bans', { network: withPrefix(network.value.trim()), secs: during.read(true) });
        toast(`${network.value.trim()} is not served any more`);
        return true;
      },
    };
  });
}

/** Draws it. */
export function bans({ signal, every, stage }) {
  const list = slot(4);
  const total = h('span', { role: 'status' });
  const lift = (ban) => dialog('Serve it again', () => ({
    label: 'Lift the ban', body: h('p', { class: 'mono' }, ban.network),
    submit: async () => { await api.remove('/bans', { network: ban.network }); toast(`${ban.network} is served again`); return true; },
  }));
  async function load() {
    try {
      const { items = [], in_force: all = items.length } = await api.get('/bans', null, signal);
      set(total, `${number(all)} in force${all > items.length ? `, ${number(items.length)} shown` : ''}`);
      list.show(items.length ? table('Bans, the longest first', [
        { name: 'Network', head: true, cell: (one) => h('span', { class: 'mono' }, one.network) },
        { name: 'Left', cell: (one) => age(one.left_secs) },
        { name: 'Rule', cell: (one) => badge(one.rule, one.rule === 'operator' ? 'note' : 'plain') },
        { name: '', unseen: 'More', cls: 'actions', cell: (one) => h('span', { class: 'form-row end' }, h('a', { class: 'button small', href: link('decisions', { about: one.network.replace(/\/(32|128)$/, '') }), 'aria-label': `Decisions about ${one.network}` }, 'Decisions'), api.may('operate') && button('Lift\u2026', async () => { if (await lift(one)) load(); }, { kind: 'small', 'aria-label': `Lift the ban of ${one.network}` })) },
      ], items, { key: (one) => one.network }) : empty('Everybody is served', 'Rules of limits.ban put clients here that misbehave; you can, too.', 'bans'));
    } catch (error) {
      list.fail(error, load);
    }
  }
  stage.append(head('Bans', { note: total, actions: action('operate', 'Ban\u2026', async () => { if (await add()) load(); }, { kind: 'primary' }) }), panel('In force', {}, list));
  every(10_000, load);
}
