//! Suspensions, and rules for mail to come.

import * as api from './api.js';
import { h } from './dom.js';
import { age, when } from './format.js';
import { action, badge, button, empty, panel, slot, table } from './parts.js';
import { link } from './router.js';
import { liftRule, makeRule } from './rule-dialog.js';
import { head } from './shell.js';

const WORDS = { suspend: ['suspended', 'note'], hold: ['new mail held', 'warn'], bounce: ['new mail bounced', 'bad'] };

/** Rules as a table. */
export function rulesTable(rules, changed) {
  return table('Rules in force', [
    { name: 'No.', head: true, cls: 'num', cell: (rule) => String(rule.number) },
    { name: 'What', cell: (rule) => badge(...(WORDS[rule.kind] || [rule.kind, 'plain'])) },
    { name: 'Which mail', cls: 'full', cell: (rule) => h('a', { class: 'mono', href: link('queue', { filter: rule.filter }) }, rule.filter) },
    { name: 'Reason', cls: 'full', cell: (rule) => rule.reason },
    { name: 'Since', cell: (rule) => when(rule.since) },
    { name: 'Left', cell: (rule) => (rule.until ? when(rule.until, () => age(rule.left_secs)) : 'until lifted') },
    { name: 'By', cell: (rule) => rule.by },
    api.may('operate') && { name: '', unseen: 'Lift', cls: 'actions', cell: (rule) => button(rule.kind === 'suspend' ? 'Resume' : 'Lift', async () => { if (await liftRule(rule)) changed(); }, { kind: 'small', 'aria-label': `${rule.kind === 'suspend' ? 'Resume' : 'Lift'}: rule ${rule.number}` }) },
  ].filter(Boolean), rules, { key: (rule) => String(rule.number) });
}

/** Draws it. */
export function rules({ signal, every, stage }) {
  const list = slot(4);
  async function load() {
    try {
      const { items = [] } = await api.get('/queue/rules', null, signal);
      list.show(items.length ? rulesTable(items, load) : empty('No rule is in force', 'Mail is delivered as it is due, and taken as it comes.', 'check'));
    } catch (error) {
      list.fail(error, load);
    }
  }
  stage.append(head('Rules', { note: 'Suspended delivery, and new mail that is held or bounced as it arrives. They outlive a restart.', actions: action('operate', 'New rule\u2026', async () => { if (await makeRule()) load(); }, { kind: 'primary' }) }),
    panel('In force', {}, list));
  every(10_000, load);
}
