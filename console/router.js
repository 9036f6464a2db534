//! Where in the console one is: the part of the address behind `#`. `#/queue?filter=…` is view `queue`, one parameter.

/** A link to a view: its path as a text, or in parts where one may have a slash. */
export function link(path, params = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '' && value !== false) search.set(name, value);
  }
  const text = search.toString();
  return `#/${(Array.isArray(path) ? path : path.split('/')).map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

/** The view and its parameters that the address names. */
export function here() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, params: Object.fromEntries(new URLSearchParams(search)) };
}

/** Goes to a view. */
export function go(path, params) {
  location.hash = link(path, params);
}

/** Changes parameters of this view without a new entry in the history, nor drawing it anew. */
export function note(params) {
  const { parts, params: old } = here();
  history.replaceState(null, '', link(parts, { ...old, ...params }));
}
