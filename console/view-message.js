//! One message: envelope, recipients with their attempts, header section, what plugins decided. What is no longer in the
//! queue is looked up in the history. Mail content is hostile: it is shown as text, and fetched only when asked for.

import * as api from './api.js';
import { bulk, commands } from './bulk.js';
import { decisionLine } from './decision.js';
import { h, morph, set } from './dom.js';
import { count, number, relative, size, when } from './format.js';
import { finished } from './view-history.js';
import { badge, button, copy, dialog, empty, facts, panel, skeleton, slot, trouble } from './parts.js';
import { link } from './router.js';
import { head } from './shell.js';

const TONES = { delivered: 'good', temporary: 'warn', permanent: 'bad', expired: 'bad' };

function attempts(recipient) {
  const list = recipient.history?.length ? recipient.history : recipient.last ? [{ ...recipient.last, said: recipient.last.reply || recipient.last.error || '' }] : [];
  if (!list.length) return h('p', { class: 'quiet' }, 'Not tried yet.');
  const more = recipient.attempts - list.length;
  return [more > 0 ? h('p', { class: 'quiet small' }, `${count(more, 'earlier attempt')} not kept`) : null,
    h('ol', { class: 'attempts', 'aria-label': `Attempts for ${recipient.address}` }, list.map((one) => h('li', { class: `attempt ${one.kind}` }, when(one.at), h('div',
      h('p', { class: 'said' }, one.said || one.kind), h('p', { class: 'quiet' }, [one.hop, one.remote && one.remote !== one.hop ? one.remote : null, `at ${one.stage}`, one.took_ms !== undefined ? `took ${number(one.took_ms)} ms` : null].filter(Boolean).join(' \u00b7 '))))))];
}

function recipientBlock(one) {
  const held = one.waits?.startsWith('held');
  const waits = one.waits || '';
  return h('article', { class: 'recipient', 'data-key': `recipient-${one.index}` }, h('div', { class: 'recipient-head' },
    h('h3', h('bdi', one.address)), badge(waits.split(':')[0] || 'waits', held || waits.startsWith('suspended') ? 'note' : waits.startsWith('due') || waits.startsWith('under') ? 'good' : 'warn', waits),
    h('span', { class: 'quiet' }, count(one.attempts, 'attempt'), ', next ', held ? 'when released' : when(one.due))),
  facts([
    ['Waits', waits.includes(':') ? waits : null, true], ['Goes to', one.next_hops?.length ? h('span', { class: 'mono' }, one.next_hops.join(', ')) : null], ['As sent', one.original && h('bdi', one.original)],
    ['Parameters', one.params?.length ? h('span', { class: 'mono' }, one.params.join(' ')) : null], ['Routed', one.route ? 'by a plugin or an operator' : null], ['Sender told', one.warned ? 'of the delay' : null],
  ]), attempts(one));
}

function headerLines(text) {
  const lines = text.replace(/\r\n/g, '\n').replace(/\n+$/, '').split('\n');
  return h('pre', { class: 'header-lines', tabindex: '0', role: 'region', 'aria-label': 'Header lines' }, lines.map((line) => {
    const field = /^([!-9;-~]+)(:.*)$/s.exec(line);
    return field ? [h('span', { class: 'field-name' }, field[1]), `${field[2]}\n`] : `${line}\n`;
  }));
}

function envelope(message) {
  const { origin } = message;
  const client = origin?.client;
  return facts([
    ['From', h('bdi', message.sender), message.sender.length > 32], ['Arrived', when(message.arrived, (at) => relative(at))], ['Size', size(message.size)],
    ['Held', message.held], ['Priority', message.priority ? String(message.priority) : null], ['Parameters', message.sender_params?.length ? h('span', { class: 'mono' }, message.sender_params.join(' ')) : null],
    origin && ['Client', h('a', { href: link('live', { client: client?.address }) }, typeof client === 'object' ? client.address || client.path || JSON.stringify(client) : client)],
    origin && ['Called itself', [origin.helo, origin.client_name && origin.client_name !== origin.helo ? ` (${origin.client_name})` : null]],
    origin && ['Listener', `${origin.listener}, ${origin.protocol}`], origin?.identity && ['Logged in as', origin.identity],
    origin && ['Session', h('a', { class: 'mono', href: link('decisions', { about: origin.session }) }, origin.session)],
    !origin && ['Made by', 'the relay itself'],
    ['Tags', message.tags?.length ? h('span', { class: 'badges' }, message.tags.map((tag) => badge(tag))) : null],
    ['Spool file', message.spool_file && h('span', { class: 'mono' }, message.spool_file)],
  ]);
}

function showContent(id) {
  dialog(`Content of ${id}`, () => {
    const place = h('div', skeleton(6));
    api.text(`/queue/messages/${api.part(id)}/content`).then((text) => set(place, h('pre', { class: 'content', tabindex: '0', 'aria-label': 'Content' }, text.length > 200_000 ? `${text.slice(0, 200_000)}\n\u2026 cut off here: download it to see the rest` : text.replace(/\r\n/g, '\n'))), (error) => set(place, trouble(error)));
    return { done: 'Close', body: place };
  }, { cls: 'broad' });
}

async function gone(id, error, signal, stage) {
  const found = await api.get('/history', { id, limit: 10 }, signal).then((answer) => answer.items || [], () => []);
  stage.append(head(h('span', { class: 'mono' }, id), { crumb: h('a', { href: '#/queue' }, 'Queue') }));
  if (!found.length) {
    stage.append(panel('Message', {}, empty('It is not in the queue', error.reasons.join(' '), 'search')));
  } else {
    stage.append(panel('It has left the queue', { note: 'What became of it' }, found.map(finished)));
  }
}

/** Draws it. */
export async function message({ parts, signal, every, stage }) {
  const [id = ''] = parts;
  const path = `/queue/messages/${api.part(id)}`;
  let shown;
  try {
    shown = await api.get(path, null, signal);
  } catch (error) {
    if (![400, 404, 422].includes(error.status)) throw error;
    await gone(id, error, signal, stage);
    await drawWhy();
    return;
  }
  document.title = `${id} \u00b7 Waypost`;
  const body = h('div', { class: 'stacked' });
  const again = () => api.get(path, null, signal).then(draw, (error) => {
    if (error.status === 404) body.replaceChildren(h('div', { class: 'calm' }, h('p', 'It has left the queue. ', h('a', { href: link('history', { id }) }, 'What became of it'))));
  });
  const acts = api.may('operate') ? commands.filter(([name]) => name !== 'release' || shown.held !== null || shown.recipients.some((one) => one.waits.startsWith('held')))
    .map(([name, label, harm]) => button(label, async () => { if (await bulk(name, { ids: [id] }, id)) again(); }, { kind: `small ${harm ? 'harm' : ''}` })) : null;
  stage.append(head(h('span', { class: 'mono' }, id), { crumb: h('a', { href: '#/queue' }, 'Queue'), actions: acts }), body);

  function draw(fresh) {
    shown = fresh;
    const waiting = shown.recipients.length;
    const nodes = [
      panel('Envelope', { key: 'envelope', extra: [copy(id, 'Copy id'), api.may('operate') && button('Show content', () => showContent(id), { kind: 'small' }), api.may('operate') && h('a', { class: 'button small', href: api.address(`${path}/content`), download: `${id}.eml` }, 'Download')] }, h('div', { class: 'panel-body' }, envelope(shown),
        shown.annotations?.length ? h('div', { class: 'annotations' }, h('h3', 'Annotations'), facts(shown.annotations.map(([plugin, key, value]) => [`${plugin}.${key}`, value]))) : null)),
      panel(`Recipients (${number(waiting)})`, { key: 'recipients', note: 'Those not yet settled' }, shown.recipients.slice(0, 200).map(recipientBlock), waiting > 200 ? h('p', { class: 'hint-line' }, `${number(waiting - 200)} more are not shown`) : null),
      shown.header || api.may('operate') ? panel('Header section', { key: 'header' }, headerLines(shown.header || '')) : null,
    ];
    morph(body, nodes);
  }
  async function drawWhy() {
    const list = slot(4);
    stage.append(panel('What plugins decided', { cls: 'spaced', extra: h('a', { href: link('decisions', { about: id }) }, 'As a list') }, list));
    try {
      const answer = await api.get('/why', { id, limit: 100 }, signal);
      const items = [...(answer.items || [])].reverse();
      list.show(items.length ? items.map((one) => decisionLine(one)) : empty('No plugin was asked about it', 'Or the record of decisions no longer reaches that far back.', 'decisions'));
    } catch (error) {
      list.fail(error);
    }
  }
  draw(shown);
  await drawWhy();
  every(8000, again);
}
