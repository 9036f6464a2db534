//! The input for the filter language, with its help and what the relay says against it.

import { h, set } from './dom.js';
import { icon } from './icons.js';
import { button, uid } from './parts.js';

const FIELDS = [
  ['id', 'the queue id'], ['sender, sender-domain', 'reverse-path, its domain; <> is the null one'], ['recipient, domain', 'where it goes; .example.org: all below'],
  ['age', 'since it arrived: 90s, 2h, 1d'], ['size', '10K, 5M'], ['attempts', 'made for this recipient'], ['due', 'until the next attempt; 0: due'],
  ['held, reason', 'held; why'], ['suspended, suspension', 'waits for a suspension; its number'], ['tag', 'one of its labels'],
  ['annotation.KEY', 'what a plugin left with it'], ['tenant, campaign', 'annotations of these names'], ['listener, client, identity', 'where it came from; a network: 192.0.2.0/24'],
  ['priority', '-9 to 9'], ['last-reply, last-code, status', 'of the last attempt'], ['next-hop', 'smtp://mail.example.net:25, mx:example.org'],
];
const SAMPLES = ['domain = example.org and age > 2h', 'last-code = 421 or status = 4.7.1', 'sender ~ "@news." and not held', 'recipient =~ "^(sales|info)@" and attempts >= 3', 'client = 192.0.2.0/24 and size > 10M'];

/** The bar. `apply(text)` is called with what was entered; `node.refuse(reasons)` shows why it is no filter. */
export function filterBar(text, apply) {
  const id = uid('filter');
  const box = h('input', { type: 'search', id, value: text, 'data-search': true, placeholder: 'domain = example.org and age > 2h', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', 'aria-describedby': `${id}-error` });
  const error = h('div', { class: 'filter-error', id: `${id}-error`, role: 'alert' });
  const use = (sample) => {
    box.value = sample;
    apply(sample);
  };
  const help = h('details', { class: 'filter-help' }, h('summary', 'What can be asked'), h('div',
    h('p', 'A condition is a field, an operator and a value: ', h('code', '= != ~ =~ < > <= >='), ', joined by ', h('code', 'and'), ', ', h('code', 'or'), ', ', h('code', 'not'), ' and parentheses. ', h('code', '~'), ' contains, ', h('code', '=~'), ' matches a pattern.'),
    h('div', { class: 'lexicon' }, FIELDS.map(([name, what]) => h('div', h('code', name), h('span', { class: 'quiet' }, what)))),
    h('div', { class: 'samples' }, SAMPLES.map((sample) => h('button', { type: 'button', class: 'chip mono', on: { click: () => use(sample) } }, sample)))));
  const node = h('search', h('form', { class: 'filter-bar', on: { submit: (event) => { event.preventDefault(); apply(box.value.trim()); } } },
    h('div', { class: 'grow' }, icon('search'), h('label', { class: 'unseen', for: id }, 'Filter'), box, error),
    h('button', { class: 'button', type: 'submit' }, 'Filter'),
    text ? button('Clear', () => use(''), { kind: 'bare' }) : null), help);
  node.refuse = (reasons) => {
    box.setAttribute('aria-invalid', String(Boolean(reasons)));
    set(error, reasons ? reasons.join('; ') : null);
  };
  return node;
}
