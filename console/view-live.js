//! What happens now: events as they come, and the life of one session or message as a trace.

import * as api from './api.js';
import { h, line, set } from './dom.js';
import { age, clock, count, number, when } from './format.js';
import { announce, badge, button, check, empty, field, input, panel } from './parts.js';
import { go, link } from './router.js';
import { head } from './shell.js';

const KINDS = [['session', 'Sessions'], ['reception', 'Receptions'], ['delivery', 'Deliveries'], ['plugin', 'Plugins'], ['audit', 'Audit']];
const KEPT = 600;
const SHOWN = 200;
const STATIONS = { connect: 'asked at connect', helo: 'HELO', auth: 'AUTH', mail: 'MAIL', rcpt: 'RCPT', message: 'end of data', told: 'answered' };
const HEADS = new Set(['at', 'time', 'kind', 'event', 'session', 'queue_id', 'id', 'what']);
const BAD = /reject|fail|permanent|expired|closed by|refused|bounce|ban|error|discard/i;
const SOFT = /^tripped|tempfail|temporary|deferred|put off|greylist/i;

function text(value) {
  if (Array.isArray(value)) return value.map(text).join(', ');
  if (value && typeof value === 'object') return Object.entries(value).map(([key, of]) => `${key} ${text(of)}`).join(', ');
  return String(value);
}

/** A few words about an event, from whatever it has. */
function words(event) {
  const of = event.data;
  const what = (event.kind === 'session' && STATIONS[of.what]) || of.what || of.event || of.outcome || of.became || of.verdict || of.state;
  const parts = [];
  if (of.plugin) parts.push(`${of.plugin}${of.hook ? ` at ${of.hook}` : ''}`);
  if (of.client) parts.push(typeof of.client === 'object' ? of.client.address || text(of.client) : of.client);
  if (of.sender !== undefined && of.sender !== null) parts.push(`from ${text(of.sender) || '<>'}`);
  const to = of.recipients ?? of.recipient;
  if (to !== undefined && to !== null && text(to)) parts.push(`to ${text(to)}`);
  if (of.name) parts.push(text(of.name));
  const rest = of.lines?.join(' ') || of.told || of.reply || of.said || of.error || of.reason || of.failure || of.outcome;
  if (rest) parts.push(text(rest));
  return { what: what ? text(what) : event.kind, more: line(parts.join(' \u00b7 ')).slice(0, 400) };
}

function tone(event) {
  const all = text(event.data);
  const what = words(event).what;
  if (event.data.failure) return 'bad';
  if (SOFT.test(what)) return 'warn';
  if (BAD.test(what)) return 'bad';
  return /\b5\d\d 5/.test(all) ? 'bad' : /\b4\d\d 4/.test(all) ? 'warn' : event.kind;
}

const at = (event) => event.data.at || event.data.time || event.seen;

function belongs(event, subject) {
  return event.data.session === subject || event.data.queue_id === subject || event.data.id === subject;
}

function traceList(events, subject) {
  if (!events.length) return empty('Nothing seen of it yet', null, 'live');
  const first = new Date(at(events[0])).getTime();
  return h('ol', { class: 'trace', 'aria-label': `Trace of ${subject}`, tabindex: '0' }, events.map((event) => {
    const { what, more } = words(event);
    const ms = new Date(at(event)).getTime() - first;
    const extra = Object.entries(event.data).filter(([name, value]) => !HEADS.has(name) && value !== null && value !== '' && !(Array.isArray(value) && !value.length));
    return h('li', { class: `${event.kind} ${tone(event)}` }, h('span', { title: at(event) }, ms < 1000 ? `+${ms} ms` : `+${age(ms / 1000)}`),
      h('div', h('p', h('strong', what), ' ', badge(event.kind)), more && h('p', { class: 'small' }, h('bdi', more)),
        extra.length ? h('details', h('summary', { class: 'quiet small' }, 'All of it'), h('dl', { class: 'facts single small' }, extra.map(([name, value]) => h('div', h('dt', name), h('dd', h('bdi', text(value))))))) : null));
  }));
}

/** Draws it. */
export function live({ params, signal, stage }) {
  const chosen = new Set((params.kinds || KINDS.map(([kind]) => kind).join(',')).split(','));
  const subject = params.trace || null;
  let paused = false;
  let lost = 0;
  let held = [];
  let events = [];
  let frame = null;
  let end = () => {};
  const stream = h('div', { class: 'stream', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Events, the newest first' });
  const trace = h('div', { class: 'trace-frame' });
  const state = h('span', { class: 'pulse warn', role: 'status' }, 'Connecting');
  const counter = h('span', { class: 'quiet tabular' });
  const client = input({ value: params.client || '', placeholder: '192.0.2.7' });
  const address = input({ value: params.address || '', 'data-search': true, placeholder: 'ann@example.org, example.org' });
  const open = (changes) => go('live', { kinds: params.kinds, client: params.client, address: params.address, trace: params.trace, ...changes });
  const pauser = button('Pause', () => {
    paused = !paused;
    set(pauser, paused ? 'Go on' : 'Pause');
    pauser.setAttribute('aria-pressed', String(paused));
    announce(paused ? 'Paused' : 'Goes on');
    if (!paused) { events = [...held, ...events].slice(0, KEPT); held = []; }
    draw();
  }, { 'data-pause': true, 'aria-pressed': 'false' });
  const form = h('form', { class: 'panel-body live-form', on: {
    submit: (event) => {
      event.preventDefault();
      const kinds = KINDS.map(([kind]) => kind).filter((kind) => chosen.has(kind));
      open({ kinds: kinds.length === KINDS.length ? '' : kinds.join(','), client: client.value.trim(), address: address.value.trim() });
    },
  } }, field('Client', client), field('Sender or recipient', address),
  h('fieldset', { class: 'kinds' }, h('legend', 'Kinds'), KINDS.map(([kind, label]) => check(label, chosen.has(kind), (on) => { if (on) chosen.add(kind); else chosen.delete(kind); }))),
  h('button', { class: 'button primary', type: 'submit' }, 'Watch'));

  function row(event) {
    const { what, more } = words(event);
    const mine = event.data.session || event.data.queue_id || event.data.id;
    return h('div', { class: `event ${subject && belongs(event, subject) ? 'picked' : ''}`, 'data-key': event.key }, when(at(event), (time) => clock(time, true)), badge(event.kind, { bad: 'bad', warn: 'warn', reception: 'good', delivery: 'good' }[tone(event)] || 'plain'),
      h('div', { class: 'event-text' }, mine ? h('button', { type: 'button', class: 'link strong', 'aria-label': `Trace ${mine}: ${what}`, on: { click: () => open({ trace: mine }) } }, what) : h('strong', what), ' ',
        mine && h('span', { class: 'mono quiet small' }, mine), ' ', h('span', { class: 'quiet' }, h('bdi', more))));
  }
  function draw() {
    frame = null;
    if (signal.aborted) return;
    set(counter, `${number(events.length)} kept${held.length ? `, ${number(held.length)} behind the pause` : ''}${lost ? `, ${number(lost)} lost: the relay did not wait` : ''}`);
    if (events.length) set(stream, events.slice(0, SHOWN).map(row));
    else set(stream, empty('Nothing yet', 'Events are shown as they come; nothing is fetched from before.', 'live'));
    if (subject) drawTrace();
  }
  let past = [];
  function drawTrace() {
    const seen = [...events, ...held].filter((event) => belongs(event, subject));
    const ids = new Set(seen.flatMap((event) => [event.data.session, event.data.queue_id]).filter(Boolean));
    // The oldest first: what has the same time stays in the order in which it came.
    const all = [...held, ...events].reverse().filter((event) => ids.has(event.data.session) || ids.has(event.data.queue_id) || belongs(event, subject));
    const earlier = past.filter((event) => !all.some((other) => other.kind === 'plugin' && at(other) === at(event) && other.data.plugin === event.data.plugin));
    const sorted = [...earlier, ...all].sort((a, b) => Number(at(a) > at(b)) - Number(at(a) < at(b)));
    const scroll = trace.querySelector('.trace')?.scrollTop || 0;
    const opened = trace.querySelector('details[open]');
    if (!opened) set(trace, traceList(sorted, subject));
    const list = trace.querySelector('.trace');
    if (list) list.scrollTop = scroll;
  }
  const later = () => { if (frame === null) frame = setTimeout(draw, 200); };
  let serial = 0;
  function connect() {
    end();
    const kinds = [...chosen].join(',');
    end = api.events({ kinds, client: params.client, address: params.address }, {
      open: (on) => { state.className = `pulse ${on ? '' : 'off'}`; set(state, on ? 'Connected' : 'Not connected; trying again'); },
      event: (kind, data) => {
        const event = { kind, data: data && typeof data === 'object' ? data : { text: data }, seen: new Date().toISOString(), key: `e${(serial += 1)}` };
        if (paused) held = [event, ...held].slice(0, KEPT);
        else events = [event, ...events].slice(0, KEPT);
        later();
      },
      lost: (data) => { lost += Number(data.count ?? data.lost ?? data.text ?? 1) || 1; later(); },
    });
    signal.addEventListener('abort', () => end());
  }
  stage.append(head('Live', { note: state, actions: pauser }), panel('Watch', {}, form),
    h('div', { class: `live spaced ${subject ? '' : 'alone'}` }, panel('Events', { extra: counter }, stream),
      subject ? panel('Trace', { note: h('span', { class: 'mono' }, subject), extra: [h('a', { class: 'button small', href: link('decisions', { about: subject }) }, 'Decisions'), h('a', { class: 'button small', href: link(['messages', subject]) }, 'Message'), button('Close', () => open({ trace: '' }), { kind: 'small bare' })] }, trace) : null));
  draw();
  connect();
  if (subject) {
    // What plugins said before we watched is in the record of decisions.
    api.get('/why', { id: subject, limit: 200 }, signal).then(({ items = [] }) => {
      past = items.map((one, place) => ({ kind: 'plugin', data: one, seen: one.time, key: `p${place}` })).reverse();
      announce(`${count(past.length, 'decision')} on record`);
      drawTrace();
    }, () => {});
  }
}
