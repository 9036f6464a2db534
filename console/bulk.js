//! Changes of the queue: a dialog that counts first, asks, and shows how far it is. Nothing is changed before it is asked.

import * as api from './api.js';
import { h, set } from './dom.js';
import { count, number, seconds, size } from './format.js';
import { announce, button, check, dialog, field, input, select, toast, trouble } from './parts.js';

/** A duration field; `read()` gives seconds, or throws. */
export function duration(value = '', props = {}) {
  const node = input({ value, placeholder: '15m, 2h, 7d', ...props });
  node.read = (needed = false) => {
    const text = node.value.trim();
    if (!text && !needed) return null;
    const secs = seconds(text);
    node.setAttribute('aria-invalid', String(secs === null));
    if (secs === null) throw Object.assign(new Error('bad'), { title: 'Not a duration', reasons: [`${JSON.stringify(text)}: a duration is a number and a unit, such as 90s, 15m, 2h or 7d`] });
    return secs;
  };
  return node;
}

function reasonField(hint) {
  const reason = input({ maxlength: '400', required: true });
  return { reason, node: field('Reason', reason, { hint }) };
}

/** The commands: label, whether it can be undone, and a form that gives the command. */
const COMMANDS = {
  retry: {
    label: 'Retry', done: 'due at once', form: () => {
      const anew = check('Ask for the route anew');
      return { nodes: [h('p', 'Due at once. What is held stays held.'), anew], read: () => ({ retry: { reroute: anew.box.checked } }) };
    },
  },
  reschedule: {
    label: 'Reschedule', done: 'rescheduled', form: () => {
      const after = duration('1h', { required: true });
      const at = h('input', { type: 'datetime-local' });
      const spread = duration('');
      const how = select([['in', 'After a while'], ['at', 'At a time']], 'in');
      const places = [field('In', after), field('At', at)];
      const show = () => { places[0].hidden = how.value !== 'in'; places[1].hidden = how.value !== 'at'; at.required = how.value === 'at'; after.required = how.value === 'in'; };
      how.onchange = show;
      show();
      return {
        nodes: [h('p', 'Counts as no attempt.'), h('div', { class: 'form-grid' }, field('When', how), places, field('Spread over', spread, { hint: 'Keeps a herd apart.' }))],
        read: () => ({ reschedule: { at: how.value === 'at' ? new Date(at.value).toISOString() : null, in_secs: how.value === 'in' ? after.read(true) : 0, spread_secs: spread.read() || 0 } }),
      };
    },
  },
  reroute: {
    label: 'Reroute', done: 'rerouted', form: () => {
      const to = input({ placeholder: 'smtp://mail.example.net:25' });
      return {
        nodes: [field('To', to, { hint: 'A route as it is written in the configuration: a text, or a table such as { hops = ["smtp://a:25"], tls = "verify" }. Empty: ask the route hook and the routing table again.' })],
        read: () => (to.value.trim() ? { reroute: { to: to.value.trim() } } : { retry: { reroute: true } }),
      };
    },
  },
  hold: {
    label: 'Hold', done: 'held', form: () => {
      const { reason, node } = reasonField('Shown with what is held.');
      return { nodes: [h('p', 'Not tried until released.'), node], read: () => ({ hold: { reason: reason.value } }) };
    },
  },
  release: { label: 'Release', done: 'released', form: () => ({ nodes: [h('p', 'What was held is due at once.')], read: () => 'release' }) },
  bounce: {
    label: 'Bounce', done: 'bounced', harm: true, form: () => {
      const { reason, node } = reasonField('The sender is told this.');
      return { nodes: [h('p', 'Given up as a failure is: the sender gets a report.'), node], read: () => ({ bounce: { reason: reason.value } }) };
    },
  },
  remove: { label: 'Remove', done: 'removed', harm: true, form: () => ({ nodes: [h('p', 'Gone, and nobody is told.')], read: () => 'remove' }) },
};

/** Names and labels, in the order in which they are offered. */
export const commands = Object.entries(COMMANDS).map(([name, { label, harm }]) => [name, `${label}\u2026`, harm]);

/** The filter as the count wants it: a text. */
export function asText(form) {
  const parts = [];
  if (form.ids?.length) parts.push(`(${form.ids.map((id) => `id = ${id}`).join(' or ')})`);
  if (form.text?.trim()) parts.push(`(${form.text.trim()})`);
  return parts.join(' and ');
}

function sumUp(answers) {
  return { messages: answers.messages, recipients: answers.recipients };
}

async function counting(form, place, signal) {
  const sum = { messages: 0, recipients: 0, octets: 0, ids: [] };
  const filter = asText(form);
  await api.steps((at) => api.get('/queue/count', { filter, ...at }, signal), (answer, looked) => {
    sum.messages += answer.messages;
    sum.recipients += answer.recipients;
    sum.octets += answer.octets;
    sum.ids = [...sum.ids, ...(answer.ids || [])].slice(0, 5);
    set(place, h('p', { class: 'preview-count' }, count(sum.messages, 'message')),
      h('p', { class: 'quiet' }, `${count(sum.recipients, 'recipient')}, ${size(sum.octets)}${answer.next ? `; ${number(looked)} looked at so far` : ''}`),
      sum.ids.length ? h('p', { class: 'quiet small mono' }, sum.ids.join(' '), sum.messages > sum.ids.length ? ' \u2026' : '') : null);
  });
  return sumUp(sum);
}

async function run(form, command, total, place, stopped) {
  const sum = { messages: 0, recipients: 0, failed: 0, failures: [], stopped: false };
  const bar = h('progress', { max: Math.max(1, total.messages), 'aria-label': 'Messages changed' });
  bar.value = 0;
  const words = h('p', { class: 'quiet', role: 'status' }, 'Going through the queue\u2026');
  set(place, bar, words);
  const all = !asText(form);
  const whole = await api.steps((at) => api.post('/queue/command', { filter: form, all, command, ...at }), (answer, looked) => {
    sum.messages += answer.messages;
    sum.recipients += answer.recipients;
    sum.failed += answer.failed || 0;
    sum.failures.push(...(answer.failures || []));
    bar.value = Math.min(sum.messages, total.messages);
    set(words, `${count(sum.messages, 'message')} changed, ${number(looked)} looked at`);
    return !stopped();
  });
  return { ...sum, stopped: !whole };
}

/** Asks what to do to these, and does it. `form` is a filter form: `{ text }` or `{ ids }`. Resolves true when done. */
export function bulk(name, form, what) {
  const { label, form: build, harm, done } = COMMANDS[name];
  const ending = new AbortController();
  return dialog(`${label}: ${what}`, (close, fail) => {
    const { nodes, read } = build();
    const preview = h('div', { class: 'preview', 'aria-live': 'polite' }, h('p', { class: 'quiet' }, 'Counting\u2026'));
    const progress = h('div', { class: 'bulk-progress' });
    const sure = harm ? check('I know that this can\u2019t be taken back') : null;
    let total = null;
    let stop = false;
    const ready = ({ go, box }) => {
      box.addEventListener('close', () => { stop = true; ending.abort(); });
      go.disabled = true;
      counting(form, preview, ending.signal).then((sum) => {
        total = sum;
        go.disabled = sum.messages === 0 || Boolean(sure && !sure.box.checked);
        announce(`${label}: ${count(sum.messages, 'message')}`);
      }, (error) => { if (error.name !== 'AbortError') set(preview, trouble(error)); });
      if (sure) sure.box.onchange = () => { go.disabled = !total?.messages || !sure.box.checked; };
    };
    return {
      label: harm ? `${label} them` : label, danger: harm, ready,
      body: [preview, nodes, sure, progress],
      submit: async () => {
        const command = read();
        stop = false;
        const halt = button('Stop', () => { stop = true; }, { kind: 'small' });
        progress.after(halt);
        try {
          const sum = await run(form, command, total, progress, () => stop);
          const failures = sum.failures.slice(0, 5).map(([id, why]) => `${id}: ${why}`);
          const text = `${count(sum.messages, 'message')} ${done}${sum.stopped ? ', then stopped' : ''}${sum.failed ? `; ${number(sum.failed)} could not be changed` : ''}`;
          toast(text, sum.failed || sum.stopped ? 'warn' : 'good', failures);
          return true;
        } catch (error) {
          set(progress);
          throw error;
        } finally {
          halt.remove();
        }
      },
    };
  });
}
