//! Light, dark, or as the system says; set before anything is painted. Keeps preferences in the browser, nothing else.

function stored(name) {
  try {
    return localStorage.getItem(`waypost-${name}`);
  } catch {
    return null;
  }
}

/** A preference of this browser; null where there is none. */
export const preference = stored;

/** Keeps a preference; none removes it. */
export function prefer(name, value) {
  try {
    if (value) localStorage.setItem(`waypost-${name}`, value);
    else localStorage.removeItem(`waypost-${name}`);
  } catch {
    // Without storage it holds until the page is left.
  }
}

/** `light`, `dark`, or `auto`. */
export function theme() {
  return document.documentElement.dataset.theme || 'auto';
}

/** Puts a theme in force and keeps it. */
export function setTheme(name) {
  if (name === 'light' || name === 'dark') document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  prefer('theme', name === 'auto' ? null : name);
}

/** Dark at this moment. */
export function isDark() {
  return theme() === 'dark' || (theme() === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
}

setTheme(stored('theme') || 'auto');
