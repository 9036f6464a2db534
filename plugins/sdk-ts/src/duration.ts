//! Times as operators write them.

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds of `90s`, `5m`, `2h`, `3d`, or of a whole number of seconds; undefined for anything else. */
export function duration(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== 'string') return undefined;
  const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(value) ?? [];
  return digits === undefined || unit === undefined ? undefined : Number(digits) * (UNITS[unit] ?? 1);
}
