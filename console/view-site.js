//! One destination, or one domain: how it stands, what limits it and why, suspending and resuming.

import * as api from './api.js';
import { h, set } from './dom.js';
import { count, number } from './format.js';
import { badge, button, empty, facts, panel, slot, table } from './parts.js';
import { link } from './router.js';
import { liftRule, makeRule } from './rule-dialog.js';
import { head } from './shell.js';
import { summarize, summaryTable } from './summary.js';
import { hopFilter, siteFilter, siteOf, siteState } from './view-destinations.js';
import { rulesTable } from './view-rules.js';

function stateFacts(site, suspended) {
  return facts([
    ['State', [siteState(site), suspended && site.state !== 'suspended' && [' ', badge('suspended', 'note')]]], ['Of', siteOf(site)], ['Connections', `${number(site.open)} open, ${number(site.earned)} earned of ${number(site.limit)}`],
    ['Ready', `${count(site.ready, 'job')} in ${count(site.lanes, 'lane')}`], ['Workers', site.workers !== undefined ? `${number(site.workers)}${site.waiting ? `, ${number(site.waiting)} wait for a place` : ''}` : null],
    ['Hosts', site.hosts?.length ? h('span', { class: 'mono' }, site.hosts.join(', ')) : null], ['Leads here', site.names?.length ? h('span', { class: 'mono' }, site.names.slice(0, 12).join(', '), site.lanes > site.names.length ? ` and ${number(site.lanes - site.names.length)} more` : '') : null],
    ['Last trouble', site.trouble && h('span', { class: 'tone-bad' }, site.trouble), true],
  ]);
}

function because(text) {
  return text ? h('span', { class: 'quiet' }, ` (${text})`) : null;
}

/** What `explain` said. */
function explained(told) {
  const { route = {}, site = {}, retry = {}, hops = [] } = told;
  return [
    h('div', { class: 'panel-body' }, facts([
      ['Route', [h('span', { class: 'mono' }, (route.hops || []).join(', ')), because(route.because)], true], ['Lane', route.lane], ['Source', route.source && [route.source, because(route['source-because'])]],
      ['Credential', route.credential], ['Site', [h('span', { class: 'mono' }, site.name), because(site.because)], true], ['Tenant', site.tenant],
      ['Tried again', [`after ${(retry.waits || []).join(', ')} \u2026`, because(retry.because)], true], ['Sender told', retry['warn-after'] && `after ${retry['warn-after']}`], ['Given up', retry['give-up-after'] && `after ${retry['give-up-after']}`],
    ]),
    hops.map((hop) => h('div', { class: 'hop' }, h('h3', 'Hop ', h('span', { class: 'mono' }, hop.hop)),
      h('ul', { class: 'lines mono small' }, (hop.targets?.length ? hop.targets : (hop.exchangers || []).map((one) => `${one.preference ?? '-'} ${one.host}  ${one.error || (one.addresses || []).join(', ')}`)).map((text) => h('li', { class: text.startsWith('    ') ? 'deeper' : '' }, text.trim()))),
      facts([['TLS', [badge(hop.tls, hop.tls === 'off' ? 'warn' : 'good'), because(hop['tls-because'])]], ['From', (hop.sources || []).join(', ')], ['Error', hop.error && h('span', { class: 'tone-bad' }, hop.error)]]))),
    told.notes?.length ? h('ul', { class: 'lines quiet' }, told.notes.map((one) => h('li', one))) : null),
    table('Limits in force', [
      { name: 'Limit', head: true, cell: (row) => row.setting }, { name: 'Value', cls: 'strong', cell: (row) => row.value }, { name: 'Because of', cls: 'quiet', cell: (row) => row.because },
    ], told.limits || [], { key: (row) => row.setting }),
    told.backoff?.length ? table('Back-off', [
      { name: 'Back-off', head: true, cell: (row) => row.name }, { name: 'After', cell: (row) => row.after }, { name: 'Then', cell: (row) => row.then },
    ], told.backoff, { key: (row) => row.name }) : null,
  ];
}

/** Draws it: `#/destinations/SITE`, or `#/explain?domain=`. */
export function site({ parts, params, signal, every, stage }) {
  const name = parts[0] || null;
  const about = name || params.domain || '';
  const state = slot(3);
  const waits = slot(3);
  const why = slot(6);
  const inForce = slot(2);
  const acts = h('div', { class: 'page-actions' });
  let lines = [];
  let matching = [];
  let asked = null;

  const filter = () => (name ? (lines.length ? [...new Set(lines.flatMap((one) => siteFilter(one).split(' or ')))].join(' or ') : hopFilter(name)) : `domain = ${about}`);

  function drawActs() {
    if (!api.may('operate')) return;
    const mine = matching.filter((rule) => rule.kind === 'suspend');
    set(acts, mine.length ? button('Resume\u2026', async () => { if (await liftRule(mine[0])) load(); }, { kind: 'primary' })
      : button('Suspend\u2026', async () => {
        const hidden = lines.some((one) => one.lanes > (one.names?.length || 0));
        if (await makeRule({ filter: filter(), title: `Suspend ${about}`, fixed: !hidden, note: hidden ? 'More lanes lead here than can be listed: suspend by domain too, where you know them.' : null })) load();
      }),
    h('a', { class: 'button', href: link('queue', { filter: filter() }) }, 'Its mail'));
  }
  async function explain(domain) {
    if (asked === domain) return;
    asked = domain;
    try {
      const answer = await api.get('/explain', { domain, sender: params.sender, tenant: params.tenant }, signal);
      why.show(explained(answer.explained || answer));
    } catch (error) {
      why.fail(error, () => { asked = null; explain(domain); });
    }
  }
  async function load() {
    try {
      const { items = [] } = name ? await api.get('/destinations', null, signal) : { items: [] };
      lines = items.filter((one) => one.site === name);
      if (!name) {
        const answer = await api.get('/explain', { domain: about, sender: params.sender, tenant: params.tenant }, signal);
        const told = answer.explained || answer;
        lines = told.states || [];
        why.show(explained(told));
      }
      const rules = (await api.get('/queue/rules', null, signal)).items || [];
      matching = rules.filter((rule) => rule.filter === 'all' || rule.filter === filter() || lines.some((one) => (one.names || []).some((hop) => rule.filter.includes(hop))) || rule.filter.includes(about));
      const suspended = matching.some((rule) => rule.kind === 'suspend');
      state.show(lines.length ? h('div', { class: 'panel-body stacked' }, lines.map((one) => stateFacts(one, suspended))) : empty('Nothing is on its way there now', 'Its state is remembered only while mail goes there.', 'destinations'));
      inForce.show(matching.length ? rulesTable(matching, load) : h('p', { class: 'hint-line' }, 'None that names it.'));
      drawActs();
      const found = await summarize('domain', filter(), signal, 8);
      waits.show(summaryTable('domain', found, 8));
      if (name) {
        const domain = found.rows[0]?.name || lines[0]?.names?.find((one) => !/[: ]/.test(one));
        if (domain) explain(domain);
        else if (!asked) why.show(empty('No domain leads here now', 'Ask for one on the list of destinations.', 'destinations'));
      }
    } catch (error) {
      state.fail(error, load);
      why.fail(error);
    }
  }
  stage.append(head(about, { crumb: h('a', { href: '#/destinations' }, 'Destinations'), note: name ? null : 'Why mail for it goes the way it goes', actions: acts }),
    panel('How it stands', {}, state), panel('Rules about it', {}, inForce), panel('What waits for it', { note: 'By domain and age' }, waits),
    panel('Why', { note: 'Route, exchangers, TLS, limits and what set each' }, why));
  every(10_000, load);
}
