//! What every hook of a plugin in TypeScript does around its own work: the relay's refusals become the hook's failure.

import type { HostError } from 'waypost:plugin/types@0.1.0';

/** The relay's refusal in what was thrown: QuickJS wraps it in an Error, as its payload. */
function hostError(thrown: unknown): HostError | undefined {
  const payload: unknown = thrown instanceof Error && 'payload' in thrown ? thrown.payload : thrown;
  const fits = typeof payload === 'object' && payload !== null && 'code' in payload && 'detail' in payload;
  return fits ? (payload as HostError) : undefined;
}

/** In words, whatever was thrown. */
export function words(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown;
  const refused = hostError(thrown);
  if (refused !== undefined) return refused.detail === '' ? refused.code : `${refused.code}: ${refused.detail}`;
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}

/** The code of a refusal; undefined for anything else that was thrown. */
export function refusal(thrown: unknown): HostError['code'] | undefined {
  return hostError(thrown)?.code;
}

/** A hook whose `err` is a text, as the contract wants it. */
export function hook<A extends unknown[], R>(handle: (...args: A) => R): { handle: (...args: A) => R } {
  return {
    handle(...args) {
      try {
        return handle(...args);
      } catch (thrown) {
        throw words(thrown);
      }
    },
  };
}

/** Something read from the settings at first use. An instance never sees two configurations. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
