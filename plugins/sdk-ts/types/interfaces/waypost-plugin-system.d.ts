/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/system@0.1.0' {
  /**
   * The wall time of this moment.
   */
  export function now(): Timestamp;
  /**
   * Unpredictable octets from the operating system's generator; at most 1024 at a time.
   */
  export function randomBytes(count: number): Uint8Array;
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
}
