/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/kv@0.1.0' {
  /**
   * Reads a value.
   */
  export function get(bucket: string, key: string): Entry | undefined;
  /**
   * Writes a value, which vanishes after `ttl-seconds` (none: never).
   */
  export function set(bucket: string, key: string, value: Uint8Array, ttlSeconds: number | undefined): void;
  /**
   * Reads a value as UTF-8, for guests without an encoder; not UTF-8 is `invalid-argument`.
   */
  export function getText(bucket: string, key: string): string | undefined;
  /**
   * Writes a value as UTF-8.
   */
  export function setText(bucket: string, key: string, value: string, ttlSeconds: number | undefined): void;
  /**
   * Forgets a key; that it is not there is no error.
   */
  export { _delete as delete };
  function _delete(bucket: string, key: string): void;
  /**
   * Adds to a number, atomically, and returns the sum. Creates the key at `delta`; the ttl is set only on creation. The
   * value is decimal text: one that is no number, or a sum past +-2^53, is `invalid-argument`.
   */
  export function increment(bucket: string, key: string, delta: number, ttlSeconds: number | undefined): bigint;
  /**
   * Writes a value if the key still has the version `expected` (none: must not exist). False if it lost the race.
   */
  export function compareAndSet(bucket: string, key: string, expected: string | undefined, value: Uint8Array, ttlSeconds: number | undefined): boolean;
  /**
   * Keys that start with `prefix`, at most `limit` and at most 1000 at a time.
   */
  export function keys(bucket: string, prefix: string, cursor: string | undefined, limit: number): KeyPage;
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * A value and what is known about it.
   */
  export interface Entry {
    /**
     * The value.
     */
    value: Uint8Array,
    /**
     * Changes on every write; opaque.
     */
    version: string,
    /**
     * When it vanishes, if it does.
     */
    expiresAt?: Timestamp,
  }
  /**
   * Some keys of a bucket.
   */
  export interface KeyPage {
    /**
     * In order.
     */
    keys: Array<string>,
    /**
     * Pass back to go on; none at the end.
     */
    cursor?: string,
  }
}
