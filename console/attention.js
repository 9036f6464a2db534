//! What somebody woken at night has to know first, worst first. Pure: made of what the relay told.

import { age, clock, count, number, size } from './format.js';
import { link } from './router.js';

const RANK = { bad: 0, warn: 1, note: 2 };
const LOW = 1 << 30;

function store(status) {
  const { store: kept = {}, queue = {}, load = {}, decisions = {} } = status;
  return [
    kept.refusing && { tone: 'bad', title: 'New mail is refused', detail: kept.refusing, fix: 'Clients keep it and come back. Delivery goes on; nothing has to be restarted once there is room.' },
    !kept.refusing && kept.free !== null && kept.free !== undefined && kept.free < LOW && { tone: 'warn', title: 'The disk fills up', detail: `${size(kept.free)} free at ${kept.path}` },
    queue.damaged > 0 && { tone: 'bad', title: `${count(queue.damaged, 'message')} damaged`, detail: 'What was stored did not verify. They are set aside, neither delivered nor removed.' },
    load.stressed && { tone: 'warn', title: 'Places are scarce', detail: `${number(load.connections)} of ${number(load.connections_most)} connections; deadlines of clients are short.`, to: link('bans'), go: 'Bans' },
    decisions.trouble && { tone: 'warn', title: 'Decisions are not written down', detail: decisions.trouble },
    queue.held > 0 && { tone: 'note', title: `${count(queue.held, 'message')} held`, detail: 'Not tried until released.', to: link('queue', { filter: 'held' }), go: 'Show' },
  ];
}

function onePlugin(plugin) {
  const to = link(['plugins', plugin.name]);
  const breaker = plugin.breaker || {};
  const { candidate } = plugin;
  const items = [];
  if (plugin.state === 'failed') items.push({ tone: 'bad', title: `Plugin ${plugin.name} does not serve`, detail: plugin.reason });
  if (plugin.state === 'last-good') items.push({ tone: 'warn', title: `Plugin ${plugin.name} serves in an older version`, detail: plugin.reason });
  if (plugin.state === 'tripped' || (breaker.state && breaker.state !== 'closed')) {
    items.push({ tone: 'bad', title: `Plugin ${plugin.name} is left alone: it kept failing`, detail: [breaker.cause && `It ${breaker.cause}.`, breaker.next_probe && `Tried again at ${clock(breaker.next_probe)}.`, 'Its failure policy answers for it.'].filter(Boolean).join(' ') });
  }
  for (const warning of plugin.warnings || []) items.push({ tone: 'note', title: `Plugin ${plugin.name} warns`, detail: warning });
  if (candidate && candidate.state !== 'on-trial') items.push({ tone: 'warn', title: `The candidate of ${plugin.name} is ${candidate.state === 'tripped' ? 'left out: it kept failing' : 'not loaded'}`, detail: candidate.reason || candidate.breaker?.cause });
  if (candidate && candidate.different > 0) items.push({ tone: 'note', title: `The candidate of ${plugin.name} decides ${count(candidate.different, 'call')} otherwise`, detail: `${number(candidate.same)} the same` });
  return items.map((item) => ({ ...item, to, go: 'Open' }));
}

/** Destinations whose state is a trouble, the fullest first. */
export function inTrouble(sites) {
  return (sites || []).filter((site) => ['resting', 'suspended', 'slow'].includes(site.state));
}

function destinations(sites) {
  const sick = inTrouble(sites);
  const items = sick.slice(0, 4).map((site) => {
    const left = site['rest-secs'] ?? site['slow-secs'];
    return {
      tone: 'warn', title: `${site.site} is ${site.state}${left ? ` for ${age(left)}` : ''}${site.backoff ? `: ${site.backoff}` : ''}`,
      detail: site.trouble, to: link(['destinations', site.site]), go: 'Why',
    };
  });
  if (sick.length > 4) items.push({ tone: 'warn', title: `${count(sick.length - 4, 'more destination')} in trouble`, to: link('destinations', { state: 'trouble' }), go: 'Show' });
  return items;
}

function inForce(rules) {
  const words = { suspend: 'Delivery is suspended', hold: 'New mail is held', bounce: 'New mail is bounced' };
  return (rules || []).map((rule) => ({
    tone: rule.kind === 'bounce' ? 'warn' : 'note', title: `${words[rule.kind] || rule.kind}: ${rule.filter}`,
    detail: `${rule.reason || 'no reason given'}; ${rule.left_secs === null || rule.left_secs === undefined ? 'until it is lifted' : `${age(rule.left_secs)} more`}, by ${rule.by}`,
    to: link('rules'), go: 'Rules',
  }));
}

function flow(points, step) {
  const minutes = (points || []).slice(-Math.round(180 / (step || 5)));
  const sum = (key) => minutes.reduce((all, point) => all + (point[key] || 0), 0);
  const [delivered, deferred, failed] = ['delivered', 'deferred', 'failed'].map(sum);
  if (deferred > 20 && deferred > 2 * delivered) {
    return [{ tone: 'warn', title: 'More is put off than delivered', detail: `${number(deferred)} put off, ${number(delivered)} delivered in the last three minutes`, to: link('queue'), go: 'Queue' }];
  }
  if (failed > 20 && failed > delivered) {
    return [{ tone: 'warn', title: 'More fails than is delivered', detail: `${number(failed)} failed, ${number(delivered)} delivered in the last three minutes`, to: link('history', { failed: '1' }), go: 'History' }];
  }
  return [];
}

function certificates(status, now) {
  const all = [...(status.certificates || []), ...(status.listeners || []).flatMap((one) => (one.certificate ? [{ name: one.name, ...one.certificate }] : []))];
  return all.map((one) => {
    const end = one.not_after || one.expires || one.until;
    const left = (new Date(end) - now) / 1000;
    if (!end || Number.isNaN(left) || left > 14 * 86400) return null;
    const name = one.name || one.path || 'a certificate';
    return left <= 0 ? { tone: 'bad', title: `The certificate of ${name} has expired`, detail: `${age(-left)} ago` }
      : { tone: left < 3 * 86400 ? 'bad' : 'warn', title: `The certificate of ${name} expires in ${age(left)}` };
  });
}

/** All of it. Each item: `tone`, `title`, and perhaps `detail`, `fix`, `to` and `go` (a link and its words). */
export function attention({ status, sites, rules, rates }, now = Date.now()) {
  const items = [
    ...(status ? store(status) : []), ...(status ? certificates(status, now) : []),
    ...(status?.plugins || []).flatMap(onePlugin), ...flow(rates?.points, rates?.step_secs), ...destinations(sites), ...inForce(rules),
  ].filter(Boolean);
  return items.map((item, at) => [item, at]).sort(([a, i], [b, j]) => RANK[a.tone] - RANK[b.tone] || i - j).map(([item]) => item);
}
