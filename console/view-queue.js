//! What waits: a filter, a page of messages, changes in bulk.

import * as api from './api.js';
import { bulk, commands } from './bulk.js';
import { h, line, set } from './dom.js';
import { filterBar } from './filter.js';
import { age, count, number, size, when } from './format.js';
import { badge, button, empty, panel, slot, table } from './parts.js';
import { go, link } from './router.js';
import { head } from './shell.js';

const PAGE = 50;
const QUICK = [['', 'All'], ['due = 0s and not held and not suspended', 'Due'], ['held', 'Held'], ['suspended', 'Suspended'], ['attempts >= 1', 'Tried'], ['age > 1h', 'Over 1 h'], ['age > 1d', 'Over 1 d'], ['sender = <>', 'Bounces'], ['size > 5M', 'Large']];

/** How a message stands, in a badge. */
export function standing(message) {
  if (message.held !== null && message.held !== undefined) return badge('held', 'note', message.held);
  if (message.suspended) return badge('suspended', 'note');
  if (message.due_in_secs === 0) return badge('due', 'good');
  return message.attempts ? badge('put off', 'warn') : badge('waits');
}

function who(message) {
  return h('div', { class: 'who' },
    h('div', { class: 'clip', title: message.sender }, h('bdi', message.sender)),
    h('div', { class: 'clip', title: message.recipients.join(', ') }, h('span', { class: 'arrow', 'aria-label': 'to' }, '\u2192 '), h('bdi', message.recipients[0] || '(nobody)'),
      message.waiting > 1 ? h('span', { class: 'quiet' }, ` and ${number(message.waiting - 1)} more`) : null));
}

function next(message) {
  if (message.held !== null && message.held !== undefined) return h('span', { class: 'quiet', title: message.held }, 'when released');
  if (message.due_in_secs === 0) return 'now';
  return message.due ? when(message.due) : '';
}

/** Draws it. */
export async function queue({ params, signal, every, stage }) {
  const filter = params.filter || '';
  const after = params.after || null;
  const picked = new Set();
  let items = [];
  let following = null;
  let everything = false;
  const list = slot(8);
  const bar = h('div', { class: 'bulk idle' });
  const bottom = h('div', { class: 'hint-line' });
  const open = (changes) => go('queue', { filter, ...changes });
  const search = filterBar(filter, (text) => go('queue', { filter: text }));
  const total = h('span', { class: 'quiet', role: 'status' });

  function meant() {
    return everything ? { text: filter } : { ids: [...picked] };
  }
  function words() {
    if (everything) return filter ? `all that fit \u201c${filter}\u201d` : 'the whole queue';
    return count(picked.size, 'message');
  }
  function drawBar() {
    const any = everything || picked.size > 0;
    bar.className = `bulk ${any ? '' : 'idle'}`;
    bar.hidden = !api.may('operate') || (!items.length && !any);
    bottom.hidden = !items.length;
    if (bar.hidden) return;
    set(bar, h('span', { class: 'bulk-count', role: 'status' }, any ? `Selected: ${words()}` : 'Select messages, or'),
      !everything && button(filter ? 'Select all that fit' : 'Select the whole queue', () => { everything = true; draw(); }, { kind: 'small', disabled: !items.length }),
      any && button('None', () => { everything = false; picked.clear(); draw(); }, { kind: 'small bare' }),
      any && commands.map(([name, label, harm]) => button(label, async () => {
        if (await bulk(name, meant(), words())) { everything = false; picked.clear(); draw(); load(); }
      }, { kind: `small ${harm ? 'harm' : ''}` })));
  }
  function pick(id, on) {
    everything = false;
    if (on) picked.add(id); else picked.delete(id);
    draw();
  }
  function draw() {
    drawBar();
    if (!items.length) {
      list.show(filter ? empty('Nothing fits', `No message of the queue fits ${filter}`, 'search', button('Show the whole queue', () => go('queue'), { kind: 'small' }))
        : empty('The queue is empty', 'Each message that was taken has left. See History for what became of it.', 'check'));
      return;
    }
    const box = (label, checked, change, some = false) => h('input', { type: 'checkbox', 'aria-label': label, checked, indeterminate: some, on: { change: (event) => change(event.target.checked) } });
    const all = everything || items.every((one) => picked.has(one.id));
    const columns = [
      api.may('operate') && { name: '', cls: 'pick bare-label', unseen: 'Select', title: box('Select this page', all, (on) => { everything = false; items.forEach((one) => (on ? picked.add(one.id) : picked.delete(one.id))); draw(); }, !all && picked.size > 0), cell: (one) => box(`Select ${one.id}`, everything || picked.has(one.id), (on) => pick(one.id, on)) },
      { name: 'Message', head: true, cls: 'id', cell: (one) => h('span', { class: 'badges' }, h('a', { class: 'mono', href: link(['messages', one.id]) }, one.id), standing(one)) },
      { name: 'From and to', cls: 'full', cell: who },
      { name: 'Age', cls: 'num', cell: (one) => when(one.arrived, () => age(one.age_secs)) },
      { name: 'Size', cls: 'num', cell: (one) => size(one.size) },
      { name: 'Tries', cls: 'num', cell: (one) => number(one.attempts) },
      { name: 'Next', cls: 'nowrap', cell: next },
      { name: 'Last reply', cls: 'said full', cell: (one) => (one.last ? h('span', { title: one.last, class: 'two-lines' }, line(one.last).slice(0, 240)) : '') },
    ].filter(Boolean);
    list.show(table('Messages in the queue, oldest first', columns, items, { key: (one) => one.id, cls: 'queue-table', row: (one) => ({ class: everything || picked.has(one.id) ? 'picked' : null }) }));
    set(bottom, h('span', `${count(items.length, 'message')} on this page, oldest first`), h('span', { class: 'pager' },
      after && button('First page', () => open({}), { kind: 'small' }),
      following && button('Next page', () => open({ after: following }), { kind: 'small' })));
  }
  async function load() {
    try {
      const answer = await api.get('/queue', { filter, after, limit: PAGE }, signal);
      items = answer.items || [];
      following = answer.next;
      search.refuse(null);
      for (const id of [...picked]) if (!items.some((one) => one.id === id)) picked.delete(id);
      draw();
    } catch (error) {
      if (error.status === 400 || error.status === 422) {
        search.refuse(error.reasons);
        items = [];
        drawBar();
        list.show(empty('That is no filter', 'See “What can be asked”.', 'search'));
      } else list.fail(error, load);
    }
  }
  async function countAll() {
    if (!filter) return;
    const sum = { messages: 0, recipients: 0 };
    const whole = await api.steps((at) => api.get('/queue/count', { filter, ...at }, signal), (answer) => {
      sum.messages += answer.messages;
      sum.recipients += answer.recipients;
    }, 25).catch(() => null);
    if (whole !== null) set(total, `${whole ? '' : 'more than '}${count(sum.messages, 'message')}, ${count(sum.recipients, 'recipient')}`);
  }
  stage.append(head('Queue', { note: total }), search,
    h('nav', { class: 'chips', 'aria-label': 'Common filters' }, QUICK.map(([text, label]) => h('a', { class: 'chip', href: link('queue', { filter: text }), 'aria-current': text === filter ? 'true' : null }, label))),
    panel('Messages', { cls: 'spaced' }, bar, list, bottom));
  countAll();
  if (!filter) api.get('/status', null, signal).then((status) => set(total, `${count(status.queue.messages, 'message')}, ${size(status.queue.octets)}; ${number(status.queue.leased)} under delivery, ${number(status.queue.held)} held`), () => {});
  every(10_000, load);
}
