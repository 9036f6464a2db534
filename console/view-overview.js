//! The first view: what needs attention, what flows, what waits and why.

import * as api from './api.js';
import { attention, inTrouble } from './attention.js';
import { flow } from './charts.js';
import { h } from './dom.js';
import { age, count, number, quoted, rate, size } from './format.js';
import { icon } from './icons.js';
import { action, announce, badge, dialog, empty, facts, panel, segments, slot, table, toast, check } from './parts.js';
import { link } from './router.js';
import { head } from './shell.js';
import { FIELDS, ageKey, summarize, summaryTable } from './summary.js';

const GLYPHS = { bad: 'alarm', warn: 'warn', note: 'note' };
const SHOWN = 7;

function attentionList(items) {
  if (!items.length) {
    return h('section', { class: 'calm', 'aria-label': 'Needs attention', 'data-key': 'attention' }, icon('check'),
      h('p', h('strong', 'Nothing needs attention. '), 'Mail is taken, plugins serve, destinations answer.'));
  }
  const item = (one) => h('li', { class: `alert ${one.tone}`, 'data-key': one.title.replace(/\d+/g, '#') }, icon(GLYPHS[one.tone]),
    h('div', { class: 'alert-text' }, h('p', { class: 'alert-title' }, one.title), one.detail && h('p', { class: 'alert-detail' }, one.detail), one.fix && h('p', { class: 'alert-fix' }, one.fix)),
    one.to && h('a', { class: 'button small', href: one.to, 'aria-label': `${one.go}: ${one.title}` }, one.go));
  const rest = items.slice(SHOWN);
  return h('section', { class: 'alerts', 'aria-labelledby': 'attention', 'data-key': 'attention' },
    h('h2', { id: 'attention', class: 'unseen' }, 'Needs attention'),
    h('ul', items.slice(0, SHOWN).map(item)),
    rest.length ? h('details', h('summary', `${rest.length} more`), h('ul', rest.map(item))) : null);
}

function figure(name, value, detail, to = null, tone = '') {
  return h('div', { class: `figure ${tone}`, 'data-key': name }, h('dt', to ? h('a', { href: to }, name) : name), h('dd', h('span', { class: 'figure-value' }, value), h('span', { class: 'figure-detail' }, detail)));
}

function figures({ status, rates, sites }) {
  const points = rates?.points || [];
  const step = rates?.step_secs || 5;
  const minute = points.slice(-Math.max(1, Math.round(60 / step)));
  const of = (key) => minute.reduce((sum, point) => sum + (point[key] || 0), 0) / Math.max(1, minute.length * step);
  const { queue = {}, load = {}, store = {} } = status || {};
  const sick = inTrouble(sites).length;
  return h('dl', { class: 'figures', 'data-key': 'figures' },
    figure('In', `${rate(of('accepted'))}/s`, `${rate(of('refused'))}/s refused`),
    figure('Out', `${rate(of('delivered'))}/s`, `${rate(of('deferred'))}/s put off, ${rate(of('failed'))}/s failed`),
    figure('Queue', number(queue.messages), `${size(queue.octets)}, ${number(queue.leased)} under delivery`, link('queue')),
    figure('Destinations', number((sites || []).length), sick ? `${number(sick)} in trouble` : 'all answer', link('destinations'), sick ? 'warn' : ''),
    figure('Connections', number(load.connections), `of ${number(load.connections_most)}${load.banned ? `, ${count(load.banned, 'ban')}` : ''}`, link('live')),
    figure('Disk', store.free === null || store.free === undefined ? '–' : size(store.free), store.refusing ? 'mail is refused' : 'free', null, store.refusing ? 'bad' : ''));
}

// The relay leaves out what differs from mail to mail; what remains between is what can be looked for.
function telling(reason) {
  return reason.split('\u2026').map((part) => part.trim()).sort((a, b) => b.length - a.length)[0].slice(0, 80);
}

function reasons(rates) {
  const list = rates?.deferrals || [];
  if (!list.length) return empty('Nothing was put off', 'In the last ten minutes every attempt came to its end.', 'check');
  const most = list[0].count;
  return h('ol', { class: 'reasons' }, list.slice(0, 10).map((one) => h('li', { 'data-key': one.reason },
    h('div', { class: 'reason-bar' }, h('meter', { min: 0, max: most, 'aria-label': 'share', value: one.count })),
    h('span', { class: 'num strong' }, number(one.count)),
    h('a', { class: 'reason-text', href: link('queue', { filter: `last-reply ~ ${quoted(telling(one.reason))}` }) }, one.reason))));
}

function relay(status) {
  const shed = Object.entries(status.load?.shed || {}).filter(([, times]) => times > 0);
  return [
    table('Where it listens', [
      { name: 'Listener', head: true, cell: (one) => h('strong', one.name) },
      { name: 'Address', cell: (one) => h('span', { class: 'mono' }, one.address) },
      { name: 'TLS', cell: (one) => badge(one.tls, one.tls === 'none' ? 'plain' : 'good') },
      { name: 'Connections', cls: 'num', cell: (one) => number(one.connections) },
    ], status.listeners || [], { key: (one) => one.name }),
    h('div', { class: 'panel-body pad-top' }, facts([
      ['Version', `${status.version}, process ${status.pid}`], ['Up', age(status.uptime_secs)], ['Generation', number(status.generation)],
      ['Store', h('span', { class: 'mono' }, status.store?.path)],
      ['Decisions', status.decisions?.recording === false ? 'not written down' : `${number(status.decisions?.written)} written${status.decisions?.dropped ? `, ${number(status.decisions.dropped)} lost` : ''}`],
      shed.length && ['Turned away', shed.map(([why, times]) => `${number(times)} ${why}`).join(', ')],
    ])),
  ];
}

function serving(plugins) {
  if (!plugins?.length) return empty('No plugins', 'The relay decides by its configuration alone.', 'plugins');
  const open = (one) => Boolean(one.breaker) && one.breaker.state !== 'closed';
  const tone = (one) => (['failed', 'tripped'].includes(one.state) || open(one) ? 'bad' : one.state === 'serving' ? 'good' : 'warn');
  const word = (one) => (open(one) ? `breaker ${one.breaker.state}` : one.state);
  const failures = (one) => Object.values(one.failures || {}).reduce((sum, times) => sum + times, 0);
  return table('Plugins and their state', [
    { name: 'Plugin', head: true, cell: (one) => h('a', { href: link(['plugins', one.name]) }, one.name) },
    { name: 'State', cell: (one) => h('span', { class: 'badges' }, badge(word(one), tone(one)), one.candidate && badge(one.candidate.mode, 'note')) },
    { name: 'Calls', cls: 'num', cell: (one) => number(one.calls) },
    { name: 'Failed', cls: 'num', cell: (one) => (failures(one) ? h('span', { class: 'tone-bad' }, number(failures(one))) : '0') },
  ], plugins, { key: (one) => one.name });
}

function reload() {
  let weaken = null;
  dialog('Reload configuration and plugins', () => {
    weaken = check('Also where mail would be checked less than before');
    return {
      label: 'Reload', body: [h('p', 'Reads the configuration anew. Connections and the queue stay as they are; if anything is wrong, nothing changes.'), weaken],
      submit: async () => {
        const report = await api.post('/reload', { allow_weaken: weaken.box.checked });
        const lines = [...(report.changes || []), ...(report.needs_restart || []).map((one) => `needs a restart: ${one}`), ...(report.weakenings || []).map((one) => `weaker: ${one}`)];
        toast(`Generation ${report.generation} serves${lines.length ? '' : '; nothing was different'}`, lines.length ? 'warn' : 'good', lines);
        return true;
      },
    };
  });
}

/** Draws it. */
export function overview({ signal, every, stage }) {
  const known = { status: null, rates: null, sites: null, rules: null };
  let by = 'domain';
  const top = slot(3);
  const incoming = flow('In', [{ name: 'Accepted', key: 'accepted', cls: 'f-good' }, { name: 'Refused', key: 'refused', cls: 'f-bad' }]);
  const outgoing = flow('Out', [{ name: 'Delivered', key: 'delivered', cls: 'f-good' }, { name: 'Put off', key: 'deferred', cls: 'f-warn' }, { name: 'Failed', key: 'failed', cls: 'f-bad' }]);
  const shape = slot(6);
  const why = slot(4);
  const about = slot(4);
  const policy = slot(4);
  const choice = h('div');
  const note = h('div', { class: 'hint-line' });
  const choose = () => choice.replaceChildren(segments('Count by', FIELDS, by, (field) => { by = field; choose(); count_(); }));

  let alarms = null;
  const drawTop = () => {
    const items = attention(known);
    const bad = items.filter((one) => one.tone === 'bad').map((one) => one.title);
    const fresh = bad.filter((title) => !(alarms || []).includes(title));
    if (alarms !== null && fresh.length) announce(fresh.join('. '));
    alarms = bad;
    top.show(attentionList(items), figures(known));
  };
  async function part(name, path, then) {
    try {
      known[name] = await api.get(path, null, signal).then((answer) => (answer.items && name !== 'rates' ? answer.items : answer));
      then?.();
    } catch (error) {
      if (error.status !== 403) { if (!known.status) top.fail(error); else if (error.name !== 'AbortError' && error.status) top.show(attentionList([{ tone: 'bad', title: error.title, detail: error.reasons.join(' ') }]), figures(known)); }
      return;
    }
    if (known.status) drawTop();
  }
  async function count_() {
    try {
      const found = await summarize(by, null, signal);
      shape.show(summaryTable(by, found));
      note.hidden = !found.rows.length;
      note.replaceChildren(ageKey(), h('span', found.whole ? `${count(found.rows.length, 'row')}, ${count(found.looked, 'message')}` : `the oldest ${count(found.looked, 'message')} only`));
    } catch (error) {
      shape.fail(error, count_);
    }
  }
  choose();
  stage.append(
    head('Overview', { actions: action('admin', 'Reload…', reload, { glyph: 'refresh' }) }),
    top,
    panel('Flow', { note: 'The last ten minutes', cls: 'spaced' }, h('div', { class: 'panel-body flows' }, incoming, outgoing)),
    panel('What waits', { extra: choice, note: 'Recipients by age' }, shape, note),
    h('div', { class: 'columns' }, panel('Why mail is put off', { note: 'The last ten minutes' }, why), panel('Plugins', { extra: h('a', { href: '#/plugins' }, 'All about them') }, policy)),
    panel('Relay', {}, about));

  every(5000, () => Promise.all([
    part('status', '/status', () => { about.show(relay(known.status)); policy.show(serving(known.status.plugins)); }),
    part('rates', '/rates', () => {
      incoming.update(known.rates.points || [], known.rates.step_secs);
      outgoing.update(known.rates.points || [], known.rates.step_secs);
      why.show(reasons(known.rates));
    }),
  ]));
  every(15_000, () => Promise.all([part('sites', '/destinations'), part('rules', '/queue/rules'), count_()]));
}
