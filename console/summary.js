//! The queue by what it is counted by and by age, as qshape shows it.

import * as api from './api.js';
import { h } from './dom.js';
import { number, quoted } from './format.js';
import { link } from './router.js';
import { stack } from './charts.js';
import { empty, table } from './parts.js';
import { svg } from './dom.js';

const AGES = ['5m', '10m', '20m', '40m', '80m', '160m', '320m', '640m', '1280m', 'older'];
const AGE_NAMES = AGES.map((name, at) => (at < 9 ? `up to ${name}` : 'over 1280m'));
/** What may be counted by. */
export const FIELDS = [['domain', 'Domain'], ['next-hop', 'Next hop'], ['sender-domain', 'From'], ['tenant', 'Tenant'], ['campaign', 'Campaign'], ['last-reply', 'Reply']];

/** Counts the queue step by step, at most `most` of them. `{ rows, looked, whole }`. */
export async function summarize(by, filter, signal, most = 12, each = () => {}) {
  const rows = new Map();
  let looked = 0;
  const whole = await api.steps((place) => api.get('/queue/summary', { by, filter, ...place }, signal), (answer, so_far) => {
    looked = so_far;
    for (const row of answer.items || []) {
      const sum = rows.get(row.name) || { name: row.name, by_age: Array(10).fill(0), held: 0, suspended: 0 };
      row.by_age.forEach((amount, at) => { sum.by_age[at] += amount; });
      sum.held += row.held;
      sum.suspended += row.suspended;
      rows.set(row.name, sum);
    }
    each(looked);
  }, most);
  const total = (row) => row.by_age.reduce((sum, amount) => sum + amount, 0);
  const list = [...rows.values()].map((row) => ({ ...row, total: total(row) })).sort((a, b) => b.total - a.total);
  return { rows: list, looked, whole };
}

/** The filter for one row. */
export function rowFilter(by, name) {
  // The relay writes - for none, and cuts long names.
  if (name === '-') return `not (${by} =~ ".")`;
  return `${by} ${by === 'last-reply' || name.length >= 118 ? '~' : '='} ${quoted(name)}`;
}

/** The colours of the ages. */
export function ageKey() {
  return h('div', { class: 'age-key' }, h('span', 'younger than'), AGES.map((name, at) => h('span', { class: 'age-step' },
    svg('svg', { class: 'age-swatch', viewBox: '0 0 10 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, svg('rect', { width: 10, height: 10, class: `a${at}` })), name)));
}

/** The table of it. */
export function summaryTable(by, found, limit = 12) {
  if (!found.rows.length) return empty('Nothing waits', 'Each message that was taken has left.', 'check');
  const most = found.rows[0].total;
  const name = FIELDS.find(([field]) => field === by)?.[1] || by;
  const label = (row) => AGE_NAMES.map((age, at) => (row.by_age[at] ? `${age}: ${number(row.by_age[at])}` : null)).filter(Boolean).join(', ');
  const oldest = (row) => AGES[row.by_age.findLastIndex((amount) => amount > 0)] || '';
  return table(`Recipients waiting, by ${name.toLowerCase()} and age`, [
    { name, head: true, cls: 'shape-name', cell: (row) => h('a', { href: link('queue', { filter: rowFilter(by, row.name) }), class: 'clip block', title: row.name }, row.name === '-' ? 'none' : row.name) },
    { name: 'By age', cls: 'shape-bar full bare-label', cell: (row) => stack(row.by_age.map((amount, at) => [amount, `a${at}`, AGE_NAMES[at]]), most, label(row)) },
    { name: 'Waiting', cls: 'num', cell: (row) => number(row.total) },
    { name: 'Oldest', cls: 'num quiet', cell: (row) => oldest(row) },
    { name: 'Held', cls: 'num', cell: (row) => (row.held ? number(row.held) : '') },
    { name: 'Suspended', cls: 'num', cell: (row) => (row.suspended ? number(row.suspended) : '') },
  ], found.rows.slice(0, limit), { key: (row) => `row-${row.name}`, cls: 'shape' });
}
