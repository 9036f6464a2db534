//! What every hook of a plugin in TypeScript does around its own work: the relay's refusals become the hook's failure.

import type { HostError } from 'waypost:plugin/types@0.1.0';

function isHostError(thrown: unknown): thrown is HostError {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && 'detail' in thrown;
}

/** In words, whatever was thrown. */
export function words(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown;
  if (isHostError(thrown)) return thrown.detail === '' ? thrown.code : `${thrown.code}: ${thrown.detail}`;
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}

/** The code of a refusal; undefined for anything else that was thrown. */
export function refusal(thrown: unknown): HostError['code'] | undefined {
  return isHostError(thrown) ? thrown.code : undefined;
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
