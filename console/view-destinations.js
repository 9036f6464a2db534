//! The sites that mail goes to, and how they stand.

import * as api from './api.js';
import { inTrouble } from './attention.js';
import { h, set } from './dom.js';
import { age, count, number, quoted } from './format.js';
import { badge, empty, input, panel, segments, slot, table } from './parts.js';
import { go, link, note } from './router.js';
import { head } from './shell.js';

const TONES = { ready: 'good', new: 'plain', slow: 'warn', resting: 'bad', suspended: 'bad' };

/** How a site stands. */
export function siteState(site) {
  const left = site['rest-secs'] ?? site['slow-secs'];
  return h('span', { class: 'badges' }, badge(`${site.state}${left ? ` for ${age(left)}` : ''}`, TONES[site.state] || 'plain'), site.backoff && badge(site.backoff, 'warn'));
}

/** Whose mail it is counted for, where sources, lanes or tenants make a difference. */
export function siteOf(site) {
  return [site.source, site.lane, site.tenant].filter(Boolean).join(' / ');
}

/** The next hop as filters want it; null where it is no host and no domain. */
export function hopFilter(name) {
  if (name.startsWith('destination ')) return `next-hop = ${quoted(`destination:${name.slice(12)}`)}`;
  if (name.startsWith('lmtp unix:')) return `next-hop = ${quoted(`lmtp+unix:${name.slice(10)}`)}`;
  const lmtp = name.startsWith('lmtp ');
  const bare = lmtp ? name.slice(5) : name;
  const port = /^(.*):(\d+)$/.exec(bare);
  if (!port) return `next-hop = ${quoted(`mx:${bare}`)}`;
  const host = port[1].includes(':') && !port[1].startsWith('[') ? `[${port[1]}]` : port[1];
  return `next-hop = ${lmtp ? 'lmtp' : 'smtp'}://${host}:${port[2]}`;
}

/** All hops of a site. */
export function siteFilter(site) {
  const names = site.names?.length ? site.names : [site.site];
  return names.map(hopFilter).join(' or ');
}

function connections(site) {
  return h('span', { title: `${site.open} open, ${site.earned} earned, ${site.limit} allowed` }, `${site.open} / ${site.earned} / ${site.limit}`);
}

/** Draws it. */
export function destinations({ params, signal, every, stage }) {
  let wanted = params.state || '';
  let part = '';
  let items = [];
  const list = slot(6);
  const choice = h('div');
  const total = h('span', { class: 'quiet', role: 'status' });
  const search = h('input', { type: 'search', 'data-search': true, placeholder: 'Name or last trouble', 'aria-label': 'Search destinations', on: { input: () => { part = search.value.toLowerCase(); draw(); } } });
  const domain = input({ placeholder: 'example.org', 'aria-label': 'Domain or address' });
  const ask = h('form', { class: 'form-row', on: { submit: (event) => { event.preventDefault(); if (domain.value.trim()) go('explain', { domain: domain.value.trim() }); } } }, h('div', domain), h('button', { class: 'button', type: 'submit' }, 'Explain'));
  const choose = () => set(choice, segments('State', [['', 'All'], ['trouble', 'In trouble'], ['busy', 'Busy']], wanted, (value) => { wanted = value; note({ state: value }); choose(); draw(); }));

  function draw() {
    const fits = (site) => (!part || `${site.site} ${site.names?.join(' ')} ${site.trouble || ''}`.toLowerCase().includes(part))
      && (wanted !== 'trouble' || inTrouble([site]).length) && (wanted !== 'busy' || site.open || site.ready);
    const shown = items.filter(fits);
    set(total, `${count(items.length, 'destination')}, ${number(inTrouble(items).length)} in trouble`);
    if (!shown.length) {
      list.show(items.length ? empty('None is like that', 'Another state or another name may be.', 'search') : empty('Nothing is on its way', 'Destinations are listed while mail goes to them, and for a while after.', 'destinations'));
      return;
    }
    const apart = shown.some(siteOf);
    list.show(table('Destinations, those with most to do first', [
      { name: 'Destination', head: true, cls: 'site-name', cell: (site) => h('a', { href: link(['destinations', site.site]) }, site.site) },
      apart && { name: 'Of', cls: 'nowrap', cell: siteOf },
      { name: 'State', cell: siteState },
      { name: 'Open / earned / allowed', cls: 'num', cell: connections },
      { name: 'Ready', cls: 'num', cell: (site) => number(site.ready) },
      { name: 'Lanes', cls: 'num', cell: (site) => number(site.lanes) },
      { name: 'Last trouble', cls: 'said full', cell: (site) => (site.trouble ? h('span', { class: 'two-lines', title: site.trouble }, site.trouble) : '') },
    ].filter(Boolean), shown.slice(0, 300), { key: (site) => `${site.site}|${siteOf(site)}` }), shown.length > 300 ? h('p', { class: 'hint-line' }, `${number(shown.length - 300)} more: search for them`) : null);
  }
  async function load() {
    try {
      items = (await api.get('/destinations', null, signal)).items || [];
      draw();
    } catch (error) {
      list.fail(error, load);
    }
  }
  choose();
  stage.append(head('Destinations', { note: total }),
    panel('Sites', { extra: [choice, h('div', { class: 'search-small' }, search)], note: 'Domains with the same exchangers are one site' }, list),
    panel('Why does mail go the way it goes?', { note: 'Route, exchangers, TLS, limits and what set them, for any domain' }, h('div', { class: 'panel-body' }, ask)));
  every(5000, load);
}
