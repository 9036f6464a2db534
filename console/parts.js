//! What views are made of: panels, tables, badges, states of loading, emptiness and error, dialogs, short notices.

import { h, morph, set } from './dom.js';
import { icon } from './icons.js';
import { may } from './api.js';

let serial = 0;
/** An id for labels and what they belong to. */
export const uid = (name) => `${name}-${(serial += 1)}`;

/** A word with a colour. Tones: `good`, `warn`, `bad`, `note`, `plain`. */
export function badge(text, tone = 'plain', title = null) {
  return h('span', { class: `badge ${tone}`, title }, text);
}

/** A button. */
export function button(label, onclick, { kind = '', glyph = null, title = null, disabled = false, key = null, ...more } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`, title, disabled, 'data-key': key, on: { click: onclick }, ...more },
    glyph && icon(glyph), glyph ? h('span', label) : label);
}

/** A button that only some roles see: null for the others. */
export function action(role, label, onclick, options) {
  return may(role) ? button(label, onclick, options) : null;
}

/** A section with a heading. `extra` stands at the right of it. */
export function panel(title, { extra = null, note = null, level = 'h2', cls = '', key = null } = {}, ...children) {
  const id = key ? `panel-${key}` : uid('panel');
  return h('section', { class: `panel ${cls}`, 'aria-labelledby': id, 'data-key': key },
    h('header', { class: 'panel-head' },
      h('div', { class: 'panel-title' }, h(level, { id }, title), note && h('p', { class: 'quiet' }, note)),
      extra && h('div', { class: 'panel-extra' }, extra)),
    ...children);
}

/** Nothing to show, and why that is so. */
export function empty(title, detail = null, glyph = 'inbox', ...more) {
  return h('div', { class: 'empty' }, icon(glyph), h('p', { class: 'empty-title' }, title), detail && h('p', { class: 'quiet' }, detail), more);
}

/** Grey bars while something loads. */
export function skeleton(lines = 4) {
  return h('div', { class: 'skeleton', 'aria-busy': 'true' }, h('span', { class: 'unseen' }, 'Loading'),
    Array.from({ length: lines }, (_, at) => h('div', { class: `bone bone-${at % 4}` })));
}

/** What went wrong, in the relay's words. */
export function trouble(error, again = null) {
  const reasons = error.reasons || [error.message || String(error)];
  return h('div', { class: 'trouble', role: 'alert' }, icon(error.status === 403 ? 'bans' : 'warn'),
    h('div', h('p', { class: 'trouble-title' }, error.title || 'Something went wrong'),
      h('ul', reasons.map((reason) => h('li', reason))),
      again && button('Try again', again, { kind: 'small' })));
}

/**
 * A table. Columns: `{ name, cell(row), cls, head }`. On narrow screens each row becomes a card, so roles are said
 * outright: `display` would take them away.
 */
export function table(caption, columns, rows, { key = null, cls = '', row: rowProps = null, seen = false } = {}) {
  const cell = (column, row, at) => h(column.head ? 'th' : 'td', {
    role: column.head ? 'rowheader' : 'cell', scope: column.head ? 'row' : null, class: column.cls || null,
    'data-label': column.name || null, 'data-key': `c${at}`,
  }, column.cell(row));
  return h('div', { class: 'table-frame', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', { class: `table ${cls}`, role: 'table' },
      h('caption', { class: seen ? '' : 'unseen' }, caption),
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((column) =>
        h('th', { role: 'columnheader', scope: 'col', class: (column.cls || '').replace(/\b(said|quiet|mono|small|full|strong|bare-label|nowrap)\b/g, '').trim() || null }, column.title || column.name || h('span', { class: 'unseen' }, column.unseen || 'More'))))),
      h('tbody', { role: 'rowgroup' }, rows.map((row, at) =>
        h('tr', { role: 'row', 'data-key': key ? key(row, at) : null, ...(rowProps ? rowProps(row, at) : {}) }, columns.map((column, place) => cell(column, row, place)))))));
}

/** Names and values: `[name, value, wide]`. Entries without a value are left out. */
export function facts(entries, cls = '') {
  const shown = entries.filter(Boolean).filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false);
  return h('dl', { class: `facts ${cls}` }, shown.map(([name, value, wide]) => h('div', { class: wide ? 'wide' : null }, h('dt', name), h('dd', value))));
}

/** One of a few; `choices` are `[value, label]`. */
export function segments(label, choices, chosen, choose) {
  return h('div', { class: 'segments', role: 'group', 'aria-label': label }, choices.map(([value, text]) =>
    h('button', { type: 'button', 'aria-pressed': String(value === chosen), on: { click: () => choose(value) } }, text)));
}

/** A labelled control. */
export function field(label, control, { hint = null, error = null, wide = false } = {}) {
  const id = control.id || uid('field');
  control.id = id;
  const about = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  if (about) control.setAttribute('aria-describedby', about);
  return h('div', { class: `field ${wide ? 'wide' : ''}` }, h('label', { for: id }, label), control,
    hint && h('p', { class: 'hint', id: `${id}-hint` }, hint), error && h('p', { class: 'field-error', id: `${id}-error` }, error));
}

/** A text input. */
export function input(props = {}) {
  return h('input', { type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', ...props });
}

/** A select; `choices` are `[value, label]`. */
export function select(choices, chosen, props = {}) {
  const node = h('select', props, choices.map(([value, label]) => h('option', { value, selected: value === chosen }, label)));
  node.value = chosen;
  return node;
}

/** A checkbox with its label. */
export function check(label, checked = false, change = () => {}) {
  const box = h('input', { type: 'checkbox', on: { change: () => change(box.checked) } });
  box.checked = checked;
  const node = h('label', { class: 'check' }, box, h('span', label));
  node.box = box;
  return node;
}

/** A short notice; errors stay until dismissed. */
export function toast(text, tone = 'good', reasons = []) {
  const node = h('div', { class: `toast ${tone}` }, icon(tone === 'good' ? 'check' : 'warn'),
    h('div', h('p', text), reasons.length ? h('ul', reasons.map((reason) => h('li', reason))) : null),
    button('Dismiss', () => node.remove(), { kind: 'bare small' }));
  document.getElementById('toasts').append(node);
  if (tone === 'good') setTimeout(() => node.remove(), 6000);
}

/** Tells of a refusal. */
export function complain(what, error) {
  if (error.name === 'AbortError' || error.status === 401) return;
  toast(`${what}: ${error.title || 'failed'}`, 'bad', error.reasons || [error.message]);
}

/** Says something to screen readers alone. */
export function announce(text) {
  set(document.getElementById('announce'), text);
}

/**
 * A dialog. `build(close, fail)` returns `{ body, submit, label, danger }`; `submit()` does it and returns true to close.
 * Resolves with what was passed to `close`.
 */
export function dialog(title, build, { cls = '' } = {}) {
  return new Promise((resolve) => {
    let value = null;
    const close = (with_) => {
      value = with_;
      box.close();
    };
    const failures = h('div', { class: 'dialog-failures', role: 'alert' });
    const fail = (error) => set(failures, error ? trouble(error) : null);
    const id = uid('dialog');
    const { body, submit, label = 'OK', danger = false, ready = null, done = 'Cancel' } = build(close, fail);
    const go = submit && h('button', { class: `button ${danger ? 'danger' : 'primary'}`, type: 'submit' }, label);
    const form = h('form', { class: 'dialog-form', method: 'dialog', on: {
      submit: async (event) => {
        event.preventDefault();
        if (!submit || go.disabled) return;
        fail(null);
        go.disabled = true;
        try {
          const result = await submit();
          if (result !== false) close(result ?? true);
        } catch (error) {
          fail(error);
        } finally {
          go.disabled = false;
        }
      },
    } },
    h('header', { class: 'dialog-head' }, h('h2', { id }, title), button('Close', () => close(null), { kind: 'bare icon-only', glyph: 'close' })),
    h('div', { class: 'dialog-body', tabindex: '-1' }, body, failures),
    h('footer', { class: 'dialog-foot' }, button(done, () => close(null)), go));
    const box = h('dialog', { class: `dialog ${cls}`, 'aria-labelledby': id, on: { close: () => {
      box.remove();
      resolve(value);
    } } }, form);
    document.body.append(box);
    box.showModal();
    (box.querySelector('.dialog-body :is(input, select, textarea):not([readonly])') || go || box.querySelector('.dialog-foot button')).focus();
    if (ready) ready({ box, form, go });
  });
}

/** A place for something that loads: skeleton, then content or the error. Later loads patch what is there. */
export function slot(lines = 4) {
  const node = h('div', { class: 'slot' }, skeleton(lines));
  let settled = false;
  node.show = (...children) => {
    node.classList.remove('stale');
    if (settled) morph(node, children);
    else set(node, ...children);
    settled = true;
  };
  node.fail = (error, again) => {
    if (error.name === 'AbortError' || error.status === 401) return;
    // A relay that is restarting, or busy, takes nothing away of what was told before.
    if (settled && [0, 429, 503].includes(error.status)) {
      node.classList.add('stale');
      return;
    }
    settled = false;
    set(node, trouble(error, again));
  };
  return node;
}

/** Copies a text. */
export function copy(text, label = 'Copy') {
  return button(label, async () => {
    try {
      await navigator.clipboard.writeText(text);
      announce('Copied');
      toast('Copied');
    } catch {
      toast('The browser did not allow it', 'warn');
    }
  }, { kind: 'bare small', glyph: 'copy' });
}

