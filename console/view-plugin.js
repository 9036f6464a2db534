//! One plugin: what serves, its breaker, what its calls take by hook, its candidate, what it counted, recordings.

import * as api from './api.js';
import { h, svg } from './dom.js';
import { absolute, count, micros, number, quantile, when } from './format.js';
import { action, badge, copy, dialog, empty, facts, field, input, panel, slot, table, toast } from './parts.js';
import { link } from './router.js';
import { head } from './shell.js';
import { trialActions, trialBody } from './plugin-trial.js';
import { pluginState } from './view-plugins.js';

const SAMPLE = 1000;
// Upper bounds of the relay's histograms in microseconds.
const BOUNDS = [100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 5e6, 1.5e7, 6e7, 3e8, 6e8, Infinity];

function about(one) {
  const breaker = one.breaker || {};
  return facts([
    ['State', pluginState(one)], ['Version', one.version], ['Digest', one.sha256 && h('span', { class: 'form-row' }, h('span', { class: 'mono small', title: one.sha256 }, String(one.sha256).slice(0, 16)), copy(one.sha256))],
    ['Hooks', h('span', { class: 'mono small' }, (one.hooks || []).join(', '))], ['Order', String(one.order)], ['Generation', String(one.generation)],
    ['Calls', number(one.calls)], ['Failed', Object.entries(one.failures || {}).map(([kind, times]) => `${number(times)} ${kind}`).join(', ') || 'none'],
    ['Instances', one.instances_made !== undefined ? `${number(one.instances_made)} made, ${number(one.instances_idle)} idle` : null],
    ['Breaker', one.breaker === null ? 'none' : h('span', badge(breaker.state || 'closed', breaker.state && breaker.state !== 'closed' ? 'bad' : 'good'), breaker.trips ? ` opened ${count(breaker.trips, 'time')}` : '', breaker.since ? [' since ', when(breaker.since)] : null, breaker.next_probe ? [', tried again ', when(breaker.next_probe)] : null)],
    ['Cause', breaker.cause && h('span', { class: 'tone-bad' }, `it ${breaker.cause}`), true], ['Reason', one.reason && h('span', { class: 'tone-bad' }, one.reason), true],
    ['In force', one.override, true], ['Warnings', one.warnings?.length ? one.warnings.join('; ') : null, true],
  ]);
}

function sampled(decisions) {
  const hooks = new Map();
  for (const one of decisions) {
    if (!hooks.has(one.hook)) hooks.set(one.hook, []);
    hooks.get(one.hook).push(one);
  }
  return [...hooks].map(([hook, list]) => {
    const wall = list.map((one) => one.wall_us || 0).sort((a, b) => a - b);
    const cpu = list.map((one) => one.cpu_us || 0).sort((a, b) => a - b);
    const verdicts = new Map();
    for (const one of list) verdicts.set(one.verdict, (verdicts.get(one.verdict) || 0) + 1);
    return { hook, wall, cpu, calls: list.length, failed: list.filter((one) => one.failure).length, verdicts: [...verdicts].sort((a, b) => b[1] - a[1]) };
  });
}

function spread(hook) {
  const most = Math.max(...hook.buckets, 1);
  const each = 1000 / BOUNDS.length;
  const name = (at) => (at < BOUNDS.length - 1 ? `up to ${micros(BOUNDS[at])}` : 'longer');
  const said = hook.buckets.map((amount, at) => (amount ? `${name(at)}: ${number(amount)}` : null)).filter(Boolean).join(', ');
  return svg('svg', { class: 'spread', viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': said },
    svg('title', said), svg('rect', { x: 0, y: 97, width: 1000, height: 3, class: 'spread-base' }), hook.buckets.map((amount, at) => {
      const height = amount ? Math.max(6, (amount / most) * 97) : 0;
      return amount ? svg('rect', { x: at * each + 4, y: 97 - height, width: each - 8, height, class: at > 13 ? 'f-bad' : at > 10 ? 'f-warn' : 'f-good' }) : null;
    }));
}

// The bound below which so large a share of the calls is.
function under(hook, share) {
  const all = hook.buckets.reduce((sum, amount) => sum + amount, 0);
  let sum = 0;
  const at = hook.buckets.findIndex((amount) => (sum += amount) >= share * all);
  return at < 0 || at >= BOUNDS.length - 1 ? `over ${micros(BOUNDS[BOUNDS.length - 2])}` : micros(BOUNDS[at]);
}

function counts(hooks, decisions) {
  const verdicts = new Map(sampled(decisions).map((one) => [one.hook, one.verdicts]));
  return [table('What calls took, by hook', [
    { name: 'Hook', head: true, cell: (one) => h('span', { class: 'mono' }, one.hook) },
    { name: 'Calls', cls: 'num', cell: (one) => number(one.calls) },
    { name: 'Failed', cls: 'num', cell: (one) => (one.failures ? h('span', { class: 'tone-bad' }, number(one.failures)) : '0') },
    { name: 'Mean', cls: 'num', cell: (one) => micros(one.wall_us / one.calls) },
    { name: 'Half within', cls: 'num', cell: (one) => under(one, 0.5) },
    { name: '99 % within', cls: 'num', cell: (one) => under(one, 0.99) },
    { name: 'CPU, mean', cls: 'num', cell: (one) => micros(one.cpu_us / one.calls) },
    { name: 'From 0.1 ms to 10 min', cls: 'full spread-cell', cell: spread },
    { name: 'Verdicts lately', cls: 'full', cell: (one) => h('span', { class: 'quiet' }, (verdicts.get(one.hook) || []).map(([verdict, times]) => `${number(times)} ${verdict}`).join(', ')) },
  ], hooks, { key: (one) => one.hook }), h('p', { class: 'hint-line' }, 'of all calls in this generation')];
}

function cost(plugin, decisions) {
  if (plugin?.by_hook?.length && plugin.by_hook.every((one) => one.buckets)) return counts(plugin.by_hook, decisions);
  if (!decisions.length) return empty('No call is on record', 'It was not asked lately, or decisions are not written down.', 'decisions');
  return [table('What calls took, by hook', [
    { name: 'Hook', head: true, cell: (one) => h('span', { class: 'mono' }, one.hook) },
    { name: 'Calls', cls: 'num', cell: (one) => number(one.calls) },
    { name: 'Failed', cls: 'num', cell: (one) => (one.failed ? h('span', { class: 'tone-bad' }, number(one.failed)) : '0') },
    { name: 'Half under', cls: 'num', cell: (one) => micros(quantile(one.wall, 0.5)) },
    { name: '99 % under', cls: 'num', cell: (one) => micros(quantile(one.wall, 0.99)) },
    { name: 'Longest', cls: 'num', cell: (one) => micros(one.wall.at(-1)) },
    { name: 'CPU, half', cls: 'num', cell: (one) => micros(quantile(one.cpu, 0.5)) },
    { name: 'CPU, 99 %', cls: 'num', cell: (one) => micros(quantile(one.cpu, 0.99)) },
    { name: 'Verdicts', cls: 'full', cell: (one) => h('span', { class: 'quiet' }, one.verdicts.map(([verdict, times]) => `${number(times)} ${verdict}`).join(', ')) },
  ], sampled(decisions), { key: (one) => one.hook }), h('p', { class: 'hint-line' }, `of the last ${count(decisions.length, 'call')}, back to ${absolute(decisions.at(-1).time)}`)];
}

function counted(one) {
  const labels = (of) => Object.entries(of.labels || {}).map(([name, value]) => `${name}=${value}`).join(' ');
  const { counters = [], histograms = [] } = one || {};
  if (!counters.length && !histograms.length) return empty('It counts nothing', 'A plugin declares in its manifest what it counts.', 'plugins');
  return [
    counters.length ? table('Counters', [{ name: 'Counter', head: true, cell: (row) => h('span', { class: 'mono' }, row.name) }, { name: 'Labels', cls: 'quiet mono small', cell: labels }, { name: 'Value', cls: 'num', cell: (row) => number(row.value) }], counters, { key: (row) => row.name + labels(row) }) : null,
    histograms.length ? table('Histograms', [{ name: 'Histogram', head: true, cell: (row) => h('span', { class: 'mono' }, row.name) }, { name: 'Labels', cls: 'quiet mono small', cell: labels }, { name: 'Count', cls: 'num', cell: (row) => number(row.count) },
      { name: 'Mean', cls: 'num', cell: (row) => (row.count ? (row.sum / row.count).toPrecision(3) : '\u2013') }, { name: 'Buckets', cls: 'full quiet', cell: (row) => (row.buckets || []).map((bucket) => `\u2264 ${bucket.up_to ?? '\u221e'}: ${number(bucket.count)}`).join(', ') }], histograms, { key: (row) => row.name + labels(row) }) : null,
  ];
}

function record(name) {
  return dialog(`Record calls of ${name}`, () => {
    const calls = h('input', { type: 'number', min: '1', max: '100000', value: '100', required: true });
    const address = input({ placeholder: 'everybody\u2019s' });
    return {
      label: 'Record', body: [h('p', 'Each call and its answer is written to a file on the relay\u2019s machine, to be replayed with other versions. Mail content is in it.'), h('div', { class: 'form-grid' }, field('Calls', calls), field('Only about', address, { hint: 'A sender, recipient, domain or client.' }))],
      submit: async () => {
        const made = await api.post(`/plugins/${api.part(name)}/recording`, { calls: Number(calls.value), address: address.value.trim() || null });
        toast(`Recording to ${made.path}`);
        return true;
      },
    };
  });
}

async function stop(name) {
  try {
    const made = await api.remove(`/plugins/${api.part(name)}/recording`);
    toast(`${count(made.recorded, 'call')} recorded, ${number(made.skipped)} left out`, 'good', [made.path]);
  } catch (error) {
    toast(error.title, 'bad', error.reasons);
  }
}

/** Draws it. */
export async function plugin({ parts, signal, every, stage }) {
  const [name] = parts;
  const state = slot(4);
  const costs = slot(4);
  const trial = slot(3);
  const counters = slot(3);
  const trialExtra = h('span', { class: 'form-row' });
  let shown = null;
  async function load() {
    try {
      const { items = [] } = await api.get('/plugins', null, signal);
      const found = items.find((one) => one.name === name);
      if (!found) {
        state.show(empty('There is no such plugin', `[plugins.${name}] is not in the configuration that serves.`, 'plugins'));
        [trial, costs, counters].forEach((one) => one.show(''));
        return;
      }
      shown = found;
      state.show(h('div', { class: 'panel-body' }, about(found)));
      trialExtra.replaceChildren(...trialActions(found, load).filter(Boolean));
      if (found.candidate) trial.show(trialBody(await api.get(`/plugins/${api.part(name)}/trial`, null, signal)));
      else trial.show(empty('No candidate', 'Another version can be tried beside this one, and compared, without touching mail.', 'plugins'));
    } catch (error) {
      (shown ? trial : state).fail(error, load);
    }
  }
  const loadRest = () => Promise.all([
    api.get('/why', { plugin: name, limit: SAMPLE }, signal).then(({ items = [] }) => costs.show(cost(shown, items)), (error) => costs.fail(error)),
    api.get(`/plugins/${api.part(name)}/metrics`, null, signal).then((answer) => counters.show(counted(answer.items ? answer.items[0] : answer)), (error) => counters.fail(error)),
  ]);
  stage.append(head(name, { crumb: h('a', { href: '#/plugins' }, 'Plugins'), actions: [h('a', { class: 'button', href: link('decisions', { plugin: name }) }, 'Decisions'), action('operate', 'Record\u2026', () => record(name)), action('operate', 'Stop recording', () => stop(name), { kind: 'bare' })] }),
    panel('What serves', {}, state), panel('Candidate', { extra: trialExtra }, trial), panel('Latency and CPU by hook', {}, costs), panel('What it counted', { note: 'Since the start of the relay' }, counters));
  await load();
  every(5000, load);
  every(20_000, loadRest);
}
