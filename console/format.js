//! How numbers, times and sizes are written. Pure, but for the clock of `when`.

import { h, line } from './dom.js';

const UNITS = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];

/** `12s`, `4m`, `3h 10m`, `2d 4h`: two units at most. */
export function age(secs) {
  const whole = Math.max(0, Math.floor(Number(secs) || 0));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m`;
  const at = UNITS.findIndex(([, size]) => whole >= size);
  const [unit, size] = UNITS[at];
  const [below, smaller] = UNITS[at + 1];
  const rest = Math.floor((whole % size) / smaller);
  return `${Math.floor(whole / size)}${unit}${rest && whole < 864000 ? ` ${rest}${below}` : ''}`;
}

/** `812 B`, `4.1 KiB`. */
export function size(octets) {
  let amount = Number(octets) || 0;
  if (amount < 1024) return `${amount} B`;
  for (const unit of ['KiB', 'MiB', 'GiB', 'TiB']) {
    amount /= 1024;
    if (amount < 1024 || unit === 'TiB') return `${amount < 100 ? amount.toFixed(1) : Math.round(amount)} ${unit}`;
  }
  return '';
}

const GROUPED = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `12,345`, without a fraction. */
export function number(value) {
  return GROUPED.format(Number(value) || 0);
}

/** `980`, `12.3k`, `4.1M`: for places where a figure must be short. */
export function short(value) {
  const amount = Number(value) || 0;
  if (amount >= 1e6) return `${(amount / 1e6).toFixed(amount < 1e7 ? 1 : 0)}M`;
  if (amount >= 1e4) return `${(amount / 1e3).toFixed(amount < 1e5 ? 1 : 0)}k`;
  return GROUPED.format(amount);
}

/** A rate for people: two digits that matter. */
export function rate(value) {
  const amount = Number(value) || 0;
  if (amount >= 100) return GROUPED.format(amount);
  if (amount >= 10 || amount === 0) return String(Math.round(amount));
  return String(Math.round(amount * 10) / 10);
}

/** `480 µs`, `12.4 ms`, `1.2 s`, `10m` from microseconds. */
export function micros(value) {
  const us = Number(value) || 0;
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return us < 6e7 ? `${(us / 1e6).toFixed(1)} s` : age(us / 1e6);
}

/** `1 message`, `5 messages`. */
export function count(amount, noun, plural = `${noun}s`) {
  return `${number(amount)} ${Number(amount) === 1 ? noun : plural}`;
}

function pad(value, width = 2) {
  return String(value).padStart(width, '0');
}

/** Local date and time with its offset. */
export function absolute(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return line(text);
  const offset = -at.getTimezoneOffset();
  const zone = offset === 0 ? 'UTC' : `${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())} ${zone}`;
}

/** `14:03:22`. */
export function clock(text, millis = false) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return line(text);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}${millis ? `.${pad(at.getMilliseconds(), 3)}` : ''}`;
}

/** `4m ago`, `in 2h`, `now`. */
export function relative(text, now = Date.now()) {
  const at = new Date(text).getTime();
  if (Number.isNaN(at)) return line(text ?? '');
  const secs = Math.round((at - now) / 1000);
  if (Math.abs(secs) < 1) return 'now';
  return secs < 0 ? `${age(-secs)} ago` : `in ${age(secs)}`;
}

/** A time: relative, the absolute one in its title. */
export function when(text, words = relative) {
  if (!text) return null;
  return h('time', { datetime: text, title: absolute(text) }, words(text));
}

/** Seconds of `90s`, `15m`, `2h`, `7d`, or a bare number of minutes; null where it is none of these. */
export function seconds(text) {
  const parts = String(text).trim().toLowerCase();
  if (!/^(\d+\s*[smhdw]?\s*)+$/.test(parts)) return null;
  const units = { s: 1, m: 60, h: 3600, d: 86400, w: 604800, '': 60 };
  let sum = 0;
  for (const [, amount, unit] of parts.matchAll(/(\d+)\s*([smhdw]?)/g)) sum += Number(amount) * units[unit];
  return sum;
}

/** The value at a share of a sorted list. */
export function quantile(sorted, share) {
  if (!sorted.length) return 0;
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** A text as the filter language wants a value. */
export function quoted(text) {
  return /^[\w@.+:/\-[\]]+$/.test(text) ? text : `"${String(text).replace(/[\\"]/g, '\\$&')}"`;
}
