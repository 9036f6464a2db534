//! `why`: what plugins decided, by id, address, plugin, hook, verdict.

import * as api from './api.js';
import { decisionGroups } from './decision.js';
import { h } from './dom.js';
import { count, seconds } from './format.js';
import { check, empty, field, input, panel, select, slot } from './parts.js';
import { go } from './router.js';
import { head } from './shell.js';

const HOOKS = ['', 'connect', 'helo', 'auth', 'mail', 'rcpt', 'message', 'route', 'delivery-attempt', 'delivery-result', 'bounce'];
const TIMES = [['', 'Any time'], ['15m', '15 minutes'], ['1h', 'One hour'], ['12h', '12 hours'], ['1d', 'One day'], ['7d', 'One week']];
const LIMITS = [['100', '100'], ['300', '300'], ['1000', '1000']];

/** Draws it. */
export async function decisions({ params, signal, stage }) {
  const about = input({ value: params.about || '', 'data-search': true, placeholder: '1j0v8up7ite00, bob@example.net, 192.0.2.1' });
  const plugin = input({ value: params.plugin || '', list: 'plugin-names' });
  const hook = select(HOOKS.map((name) => [name, name || 'Any']), params.hook || '');
  const verdict = input({ value: params.verdict || '', placeholder: 'reject, tempfail\u2026' });
  const since = select(TIMES, params.since || '');
  const limit = select(LIMITS, params.limit || '100');
  const failed = check('Failed only', params.failed === '1');
  const oldest = check('Oldest first', params.oldest === '1');
  const names = h('datalist', { id: 'plugin-names' });
  const list = slot(6);
  const form = h('form', { class: 'panel-body', on: {
    submit: (event) => {
      event.preventDefault();
      go('decisions', { about: about.value.trim(), plugin: plugin.value.trim(), hook: hook.value, verdict: verdict.value.trim(), since: since.value, limit: limit.value === '100' ? '' : limit.value, failed: failed.box.checked ? '1' : '', oldest: oldest.box.checked ? '1' : '' });
    },
  } }, h('div', { class: 'form-grid' }, field('Id or address', about, { wide: true, hint: 'A queue id or a session; a sender, a recipient, a domain, a client\u2019s address.' }), field('Plugin', plugin), field('Hook', hook), field('Verdict', verdict), field('Since', since), field('At most', limit),
    h('div', { class: 'form-row' }, failed, oldest), h('button', { class: 'button primary', type: 'submit' }, 'Show')), names);
  stage.append(head('Decisions', { note: 'What plugins decided, and what came of it' }), panel('Which', {}, form), panel('Decisions', { key: 'found' }, list));
  api.get('/status', null, signal).then((status) => names.replaceChildren(...(status.plugins || []).map((one) => h('option', { value: one.name }))), () => {});
  try {
    const text = params.about || '';
    const isAddress = /[@.:]/.test(text);
    const answer = await api.get('/why', {
      id: isAddress ? '' : text, address: isAddress ? text : '', plugin: params.plugin, hook: params.hook, verdict: params.verdict, failed: params.failed === '1' ? 'true' : '',
      oldest: params.oldest === '1' ? 'true' : '', since_secs: params.since ? seconds(params.since) : '', limit: params.limit || 100,
    }, signal);
    const items = answer.items || [];
    if (!items.length) list.show(empty('No decision fits', 'No plugin was asked, or the record no longer reaches that far back.', 'decisions'));
    else list.show(decisionGroups(items), h('p', { class: 'hint-line' }, `${count(items.length, 'decision')}${answer.more ? '; there are more that fit' : ''}`));
  } catch (error) {
    list.fail(error);
  }
}
