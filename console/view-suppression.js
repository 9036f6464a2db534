//! Who is not written to.

import * as api from './api.js';
import { duration } from './bulk.js';
import { h } from './dom.js';
import { count, when } from './format.js';
import { action, badge, button, dialog, empty, field, input, panel, slot, table, toast } from './parts.js';
import { note } from './router.js';
import { head } from './shell.js';

const LIMIT = 200;

function add() {
  return dialog('Do not write to', () => {
    const address = input({ required: true, placeholder: 'ann@example.org, or example.org' });
    const tenant = input({ placeholder: 'everybody\u2019s mail' });
    const reason = input({ required: true, maxlength: '400' });
    const during = duration('');
    return {
      label: 'Add', body: [field('Address or domain', address), field('Reason', reason), h('div', { class: 'form-grid' }, field('For', during, { hint: 'Empty: for good.' }), field('Tenant', tenant))],
      submit: async () => {
        await api.post('/suppressions', { address: address.value.trim(), tenant: tenant.value.trim() || null, reason: reason.value, for_secs: during.read() });
        toast(`Nothing is sent to ${address.value.trim()} any more`);
        return true;
      },
    };
  });
}

function drop(entry) {
  return dialog('Write to it again', () => ({
    label: 'Remove', body: [h('p', h('bdi', entry.pattern), entry.tenant ? `, mail of ${entry.tenant}` : ''), h('p', { class: 'quiet' }, entry.reason)],
    submit: async () => {
      await api.remove('/suppressions', { address: entry.pattern, tenant: entry.tenant });
      toast(`Mail is sent to ${entry.pattern} again`);
      return true;
    },
  }));
}

/** Draws it. */
export function suppression({ params, signal, stage }) {
  const list = slot(5);
  const search = h('input', { type: 'search', 'data-search': true, value: params.contains || '', placeholder: 'Part of an address', 'aria-label': 'Search the list' });
  let timer = null;
  search.oninput = () => { clearTimeout(timer); timer = setTimeout(() => { note({ contains: search.value }); load(); }, 250); };
  async function load() {
    try {
      const { items = [] } = await api.get('/suppressions', { contains: search.value, limit: LIMIT }, signal);
      list.show(items.length ? table('Suppression list', [
        { name: 'Address or domain', head: true, cell: (one) => h('bdi', one.pattern) },
        { name: 'Whose mail', cell: (one) => (one.tenant ? badge(one.tenant, 'note') : 'everybody\u2019s') },
        { name: 'Reason', cls: 'full', cell: (one) => one.reason },
        { name: 'Added', cell: (one) => when(one.added) },
        { name: 'Until', cell: (one) => (one.until ? when(one.until) : 'for good') },
        { name: 'By', cell: (one) => one.by },
        api.may('operate') && { name: '', unseen: 'Remove', cls: 'actions', cell: (one) => button('Remove\u2026', async () => { if (await drop(one)) load(); }, { kind: 'small', 'aria-label': `Remove ${one.pattern}` }) },
      ].filter(Boolean), items, { key: (one) => `${one.pattern}|${one.tenant || ''}` }) : empty(search.value ? 'Nothing contains that' : 'Everybody is written to', search.value ? null : 'Addresses are added here by hand, or by the relay where they failed for good.', 'suppression'),
      items.length ? h('p', { class: 'hint-line' }, `${count(items.length, 'entry', 'entries')}${items.length >= LIMIT ? '; there may be more: search' : ''}`) : null);
    } catch (error) {
      list.fail(error, load);
    }
  }
  stage.append(head('Suppression', { note: 'Mail to these is not sent', actions: action('operate', 'Add\u2026', async () => { if (await add()) load(); }, { kind: 'primary' }) }),
    panel('List', { extra: h('div', { class: 'search-small' }, search) }, list));
  return load();
}
