//! What serves: plugins, the set they belong to, sets kept for a roll-back.

import * as api from './api.js';
import { h } from './dom.js';
import { number, when } from './format.js';
import { action, badge, button, check, dialog, empty, panel, slot, table, toast } from './parts.js';
import { link } from './router.js';
import { head } from './shell.js';
import { pluginAudit } from './view-audit.js';

const failures = (of) => Object.values(of?.failures || {}).reduce((sum, times) => sum + times, 0);

/** The state of a plugin, in badges. */
export function pluginState(one) {
  const tone = ['failed', 'tripped'].includes(one.state) ? 'bad' : one.state === 'serving' ? 'good' : 'warn';
  return h('span', { class: 'badges' }, badge(one.state, tone, one.reason), one.breaker && one.breaker.state !== 'closed' && badge(`breaker ${one.breaker.state}`, 'bad', one.breaker.cause), one.override && badge('not as configured', 'note', one.override));
}

/** A candidate in a few words. */
export function candidateState(candidate) {
  if (!candidate) return h('span', { class: 'quiet' }, 'none');
  const share = candidate.share ? ` ${candidate.share} %` : '';
  return h('span', { class: 'badges' }, badge(`${candidate.mode}${share}`, 'note'), candidate.state !== 'on-trial' && badge(candidate.state, 'bad', candidate.reason),
    candidate.mode === 'shadow' && badge(candidate.different ? `${number(candidate.different)} differ` : 'no difference', candidate.different ? 'warn' : 'good'), failures(candidate) ? badge(`${number(failures(candidate))} failed`, 'bad') : null);
}

/** Asks, and changes what serves. `allow` offers to weaken. */
export function change(title, label, body, make, { danger = false } = {}) {
  return dialog(title, () => {
    const weaken = check('Also where mail would be checked less than before; the audit tells of it');
    return {
      label, danger, body: [body, weaken],
      submit: async () => {
        const report = await api.post('/plugins/change', { change: make(), allow_weaken: weaken.box.checked });
        toast(`Generation ${report.generation} serves`, report.weakenings?.length ? 'warn' : 'good', [...(report.changes || []), ...(report.weakenings || []).map((one) => `weaker: ${one}`)]);
        return true;
      },
    };
  });
}

/** Roll back to a generation, or to the one before. */
export function rollBack(generation) {
  return change(generation ? `Roll back to generation ${generation}` : 'Roll back', 'Roll back', h('p', generation ? `The plugins of generation ${generation} serve again, under a new number.` : 'The set before this one serves again. It holds until the configuration says something else of the plugin.'), () => ({ rollback: { generation: generation || null } }));
}

function short(digest) {
  return String(digest).slice(0, 10);
}

function sets(items, changed) {
  return table('Sets kept for a roll-back, the newest first', [
    { name: 'Generation', head: true, cell: (one) => h('span', { class: 'badges' }, h('strong', String(one.generation)), one.serving && badge('serves', 'good'), one.taken_back && badge('taken back', 'warn', String(one.taken_back)), !one.complete && badge('incomplete', 'bad')) },
    { name: 'Since', cell: (one) => when(one.since) },
    { name: 'Reason', cell: (one) => one.reason },
    { name: 'By', cell: (one) => one.by },
    { name: 'Components', cls: 'full', cell: (one) => h('span', { class: 'mono small quiet' }, Object.entries(one.plugins || {}).map(([name, digest]) => `${name} ${short(digest)}`).join(', ')) },
    api.may('admin') && { name: '', unseen: 'Roll back', cls: 'actions', cell: (one) => (one.serving || !one.complete ? '' : button('Roll back\u2026', async () => { if (await rollBack(one.generation)) changed(); }, { kind: 'small', 'aria-label': `Roll back to generation ${one.generation}` })) },
  ].filter(Boolean), items, { key: (one) => String(one.generation) });
}

/** Draws it. */
export function plugins({ signal, every, stage }) {
  const list = slot(5);
  const kept = slot(4);
  const log = slot(4);
  async function load() {
    try {
      const answer = await api.get('/plugins', null, signal);
      const items = answer.items || [];
      const set = answer.set || answer;
      list.show(items.length ? table('Plugins in the order in which they are asked', [
        { name: 'Plugin', head: true, cell: (one) => h('span', h('a', { class: 'strong', href: link(['plugins', one.name]) }, one.name), h('span', { class: 'quiet' }, ` ${one.version || ''}`)) },
        { name: 'State', cell: pluginState },
        { name: 'Hooks', cls: 'full', cell: (one) => h('span', { class: 'mono small' }, (one.hooks || []).map((hook) => hook.replace(/^on-/, '')).join(', ')) },
        { name: 'Calls', cls: 'num', cell: (one) => number(one.calls) },
        { name: 'Failed', cls: 'num', cell: (one) => (failures(one) ? h('span', { class: 'tone-bad' }, number(failures(one))) : '0') },
        { name: 'Candidate', cls: 'full', cell: (one) => candidateState(one.candidate) },
        { name: 'Why', cls: 'said full', cell: (one) => one.reason || (one.breaker?.state !== 'closed' && one.breaker?.cause) || '' },
      ], items, { key: (one) => one.name }) : empty('No plugins', 'Write one: waypost plugin new NAME', 'plugins'),
      set.since ? h('p', { class: 'hint-line' }, h('span', `Generation ${set.generation} serves since `, when(set.since), `: ${set.reason}, by ${set.by}`)) : null);
    } catch (error) {
      list.fail(error, load);
    }
  }
  const loadRest = () => Promise.all([
    api.get('/plugins/generations', null, signal).then(({ items = [] }) => kept.show(items.length ? sets(items, again) : empty('None is kept', null, 'plugins')), (error) => kept.fail(error)),
    api.get('/plugins/audit', { limit: 20 }, signal).then(({ items = [] }) => log.show(items.length ? pluginAudit([...items].reverse()) : empty('Nothing was changed', null, 'audit')), (error) => log.fail(error)),
  ]);
  const again = () => Promise.all([load(), loadRest()]);
  stage.append(head('Plugins', { note: 'What decides about mail', actions: action('admin', 'Roll back\u2026', async () => { if (await rollBack(null)) again(); }) }),
    panel('Plugins', {}, list), panel('Generations', { note: 'Sets kept for a roll-back' }, kept), panel('Last changes', {}, log));
  every(5000, load);
  every(20_000, loadRest);
}
