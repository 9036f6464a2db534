//! A candidate beside the version that serves: what it was asked, where it decided otherwise.

import * as api from './api.js';
import { h, line } from './dom.js';
import { clock, number, when } from './format.js';
import { action, badge, check, dialog, empty, field, input, select, table, toast } from './parts.js';
import { editWords } from './decision.js';
import { link } from './router.js';
import { candidateState, change } from './view-plugins.js';

function said(answer) {
  if (!answer) return '\u2013';
  const { verdict, edits = [], failure, told } = answer;
  return [
    h('p', { class: 'strong' }, typeof verdict === 'string' ? verdict : Object.keys(verdict || {})[0] || '\u2013'),
    told && !told.startsWith('nothing') ? h('p', h('code', told)) : null,
    failure ? h('p', { class: 'tone-bad' }, `failed: it ${failure}`) : null,
    edits.map((edit) => h('p', { class: 'small' }, h('code', line(editWords(edit))))),
  ];
}

function difference(one) {
  return h('article', { class: 'difference' }, h('header', when(one.at, (at) => clock(at, true)), badge(one.kind === 'failed' ? 'candidate failed' : `other ${one.kind}`, one.kind === 'failed' ? 'bad' : 'warn'), h('span', { class: 'mono small' }, one.hook),
    one.queue_id && h('a', { class: 'mono', href: link(['messages', one.queue_id]) }, one.queue_id), one.session && h('a', { class: 'mono quiet', href: link('decisions', { about: one.session }) }, one.session),
    h('span', { class: 'quiet' }, h('bdi', one.sender || ''), ' \u2192 ', h('bdi', (one.recipients || []).join(', ')))),
  h('div', { class: 'versus' }, h('div', h('h3', 'Serves'), said(one.live)), h('div', h('h3', 'Candidate'), said(one.candidate))));
}

/** Tries a component as a candidate. */
export function tryOne(name) {
  return dialog(`Try a component as ${name}`, () => {
    const file = input({ required: true, placeholder: '/var/lib/waypost/candidates/greylist.wasm', class: 'mono' });
    const mode = select([['shadow', 'Shadow: asked beside, compared, nothing done'], ['canary', 'Canary: decides for some sessions']], 'shadow');
    const share = h('input', { type: 'number', min: '1', max: '100', value: '5' });
    const settings = h('textarea', { rows: '4', placeholder: '{ "delay-seconds": 60 }' });
    const weaken = check('Also where mail would be checked less than before');
    const part = field('Of a hundred sessions', share);
    const show = () => { part.hidden = mode.value !== 'canary'; };
    mode.onchange = show;
    show();
    return {
      label: 'Try it', body: [field('Component', file, { hint: 'A path on the relay\u2019s machine, from the root on. It is read now and kept.' }), h('div', { class: 'form-grid' }, field('As', mode), part), field('Settings', settings, { hint: 'A JSON object; empty: those of the plugin.' }), weaken],
      submit: async () => {
        let config = null;
        if (settings.value.trim()) {
          try {
            config = JSON.parse(settings.value);
          } catch (error) {
            throw Object.assign(new Error('bad'), { title: 'The settings are no JSON', reasons: [error.message] });
          }
        }
        await api.post('/plugins/change', { change: { try: { plugin: name, file: file.value.trim(), share: mode.value === 'canary' ? Number(share.value) : null, config } }, allow_weaken: weaken.box.checked });
        toast(`${name} has a candidate`);
        return true;
      },
    };
  });
}

/** What can be done about the candidate. */
export function trialActions(plugin, changed) {
  const name = plugin.name;
  const then = async (done) => { if (await done) changed(); };
  if (!plugin.candidate) return [action('admin', 'Try\u2026', () => then(tryOne(name)), { kind: 'small' })];
  return [
    action('admin', 'Promote\u2026', () => then(change(`Promote the candidate of ${name}`, 'Promote', h('p', `${plugin.candidate.version || 'It'} takes over from ${plugin.version}.`), () => ({ promote: { plugin: name } }))), { kind: 'small primary' }),
    action('admin', 'Drop\u2026', () => then(change(`Drop the candidate of ${name}`, 'Drop', h('p', 'The version that serves goes on alone.'), () => ({ 'drop-candidate': { plugin: name } }))), { kind: 'small' }),
    action('admin', 'Try another\u2026', () => then(tryOne(name)), { kind: 'small bare' }),
  ];
}

/** Counts by hook, and the last differences. */
export function trialBody(answer) {
  const trial = answer.trial || answer;
  const list = answer.items || answer.differences || trial.differences || [];
  const candidate = trial.candidate || {};
  return [
    h('div', { class: 'panel-body' }, h('p', { class: 'badges' }, h('strong', candidate.version || ''), candidateState(candidate), h('span', { class: 'quiet' }, `${number(candidate.calls)} calls${trial.waiting ? `, ${number(trial.waiting)} not compared yet` : ''}`)), candidate.reason && h('p', { class: 'tone-bad' }, candidate.reason)),
    trial.hooks?.length ? table('The trial by hook', [
      { name: 'Hook', head: true, cell: (one) => h('span', { class: 'mono' }, one.hook) }, { name: 'Same', cls: 'num', cell: (one) => number(one.same) }, { name: 'Other verdict', cls: 'num', cell: (one) => number(one.verdict) },
      { name: 'Other edits', cls: 'num', cell: (one) => number(one.edits) }, { name: 'Failed', cls: 'num', cell: (one) => number(one.failed) }, { name: 'Skipped', cls: 'num', cell: (one) => number(one.skipped) },
    ], trial.hooks, { key: (one) => one.hook }) : null,
    list.length ? [...list].reverse().slice(0, 30).map(difference) : candidate.mode === 'shadow' ? empty('No difference', 'It decided as the version that serves, as often as it was asked.', 'check') : null,
    list.length > 30 ? h('p', { class: 'hint-line' }, `the last 30 of ${number(list.length)} that are kept`) : null,
  ];
}
