//! Building and patching the page. Text reaches the document through text nodes only: no function here, or anywhere in
//! the console, may parse a string as HTML. Mail is written by strangers.

const SVG = 'http://www.w3.org/2000/svg';

// Control characters, and those that turn the direction of writing around: a sender could make one address look
// like another. They become visible.
const UNSAFE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

function visible(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
}

/** Text that can't pretend to be other text. */
export function clean(text) {
  return String(text).replace(UNSAFE, visible);
}

/** As `clean`, on one line. */
export function line(text) {
  return clean(text).replace(/\s+/g, ' ').trim();
}

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else if (child instanceof Node) node.append(child);
    else node.append(document.createTextNode(clean(child)));
  }
}

function attribute(node, name, value) {
  if (name === 'checked' || name === 'indeterminate') {
    node[name] = Boolean(value);
    node.$controlled = true;
    return;
  }
  if (value === null || value === undefined || value === false) return;
  if (name === 'on') {
    node.$on = value;
    for (const [event, listener] of Object.entries(value)) node[`on${event}`] = listener;
  } else if (name === 'value' || name === 'disabled' || name === 'selected') {
    node[name] = value;
    if (name === 'value' && node.tagName === 'PROGRESS') node.setAttribute('value', value);
  } else if (name === 'href' && !/^(#|\/[^/])/.test(value)) {
    throw new TypeError('links stay within the relay');
  } else if (name === 'style' || name.startsWith('on')) {
    throw new TypeError(`no attribute ${name}`);
  } else {
    node.setAttribute(name, value === true ? '' : clean(value));
  }
}

function fill(node, props, children) {
  if (props && (props instanceof Node || typeof props !== 'object' || Array.isArray(props))) {
    append(node, [props]);
  } else {
    for (const [name, value] of Object.entries(props || {})) attribute(node, name, value);
  }
  append(node, children);
  return node;
}

/** An element: `h('p', { class: 'quiet' }, 'text', other)`. Properties may be left out. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Replaces all children. */
export function set(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b) && !a.$own && !b.$own;
}

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null;
}

function patch(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // What the reader opened stays open.
  const kept = (name) => name === 'open' && old.nodeName === 'DETAILS';
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (!kept(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const event of Object.keys(old.$on || {})) if (!fresh.$on || !(event in fresh.$on)) old[`on${event}`] = null;
  for (const [event, listener] of Object.entries(fresh.$on || {})) old[`on${event}`] = listener;
  old.$on = fresh.$on;
  if ('disabled' in fresh && old.disabled !== fresh.disabled) old.disabled = fresh.disabled;
  if (fresh.$controlled) {
    old.checked = fresh.checked;
    old.indeterminate = fresh.indeterminate;
  }
  morph(old, [...fresh.childNodes]);
}

/**
 * Makes the children of `parent` look like `nodes`, and changes no more than it must: focus, scrolling and selection
 * survive a refresh. Elements are told apart by `data-key`. A node with `$own` set is never patched, only moved.
 */
export function morph(parent, nodes) {
  const keyed = new Map();
  for (const child of parent.childNodes) if (key(child) !== null) keyed.set(key(child), child);
  let at = parent.firstChild;
  for (const fresh of nodes.flat(9).filter((node) => node !== null && node !== undefined && node !== false)) {
    const node = fresh instanceof Node ? fresh : document.createTextNode(clean(fresh));
    const found = key(node) !== null ? keyed.get(key(node)) : null;
    if (node === at) {
      at = at.nextSibling;
    } else if (found && same(found, node)) {
      if (found !== at) parent.insertBefore(found, at);
      else at = at.nextSibling;
      patch(found, node);
    } else if (at && key(at) === null && same(at, node)) {
      const next = at.nextSibling;
      patch(at, node);
      at = next;
    } else {
      parent.insertBefore(node, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
