//! Dialogs that make a rule on the queue, and that lift one.

import * as api from './api.js';
import { duration } from './bulk.js';
import { h, set } from './dom.js';
import { age, count, number } from './format.js';
import { dialog, field, input, select, toast, trouble } from './parts.js';

const KINDS = [['suspend', 'Suspend delivery'], ['hold', 'Hold new mail'], ['bounce', 'Bounce new mail']];
const MEANS = {
  suspend: 'What matches waits, also what arrives later. No attempt is counted; what grows too old meanwhile is given up.',
  hold: 'New mail that matches is held as it arrives. The client is told 250.',
  bounce: 'New mail that matches is given up as it arrives: its sender gets a report. The client is told 250.',
};

/** Asks for a rule and makes it; resolves with it, or null. `fixed`: the filter is not to be edited. */
export function makeRule({ kind = 'suspend', filter = '', title = 'New rule', fixed = false, note = null } = {}) {
  return dialog(title, () => {
    const kinds = select(KINDS, kind);
    const text = input({ value: filter, class: 'mono', required: true, readonly: fixed, placeholder: 'domain = example.org' });
    const reason = input({ maxlength: '400' });
    const during = duration('');
    const means = h('p', { class: 'quiet' });
    const preview = h('p', { class: 'quiet', role: 'status' });
    const explain = () => set(means, MEANS[kinds.value]);
    const look = async () => {
      if (!text.value.trim()) return set(preview);
      try {
        const found = await api.get('/queue/count', { filter: text.value });
        return set(preview, `${found.next ? 'More than ' : ''}${count(found.recipients, 'recipient')} in ${count(found.messages, 'message')} of the queue match now.`);
      } catch (error) {
        return set(preview, trouble(error));
      }
    };
    kinds.onchange = explain;
    text.onchange = look;
    explain();
    look();
    return {
      label: fixed ? 'Suspend' : 'Make the rule',
      body: [note && h('p', note), fixed ? null : field('What', kinds), means, field('Which mail', text, { hint: fixed ? null : 'In the filter language; all takes everything.' }), preview,
        h('div', { class: 'form-grid' }, field('For', during, { hint: 'Empty: until it is lifted.' }), field('Reason', reason, { hint: 'Shown with it; also in bounces.' }))],
      submit: async () => {
        const form = { kind: kinds.value, filter: { text: text.value.trim() }, reason: reason.value, for_secs: during.read() };
        const rule = await api.post('/queue/rules', form);
        toast(`Rule ${rule.number} is in force${rule.left_secs ? ` for ${age(rule.left_secs)}` : ''}`);
        return rule;
      },
    };
  });
}

/** Asks, and lifts. */
export function liftRule(rule) {
  return dialog(`Lift rule ${rule.number}`, () => ({
    label: rule.kind === 'suspend' ? 'Resume delivery' : 'Lift',
    body: [h('p', h('code', rule.filter)), h('p', { class: 'quiet' }, rule.kind === 'suspend' ? 'What waited is due within ten seconds, spread.' : 'What it held stays held until it is released.')],
    submit: async () => {
      await api.remove(`/queue/rules/${number(rule.number).replaceAll(',', '')}`);
      toast(`Rule ${rule.number} is lifted`);
      return true;
    },
  }));
}
