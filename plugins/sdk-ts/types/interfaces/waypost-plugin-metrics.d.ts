/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/metrics@0.1.0' {
  /**
   * Adds to a counter.
   */
  export function add(counter: string, delta: number, labels: Array<[string, string]>): void;
  /**
   * Adds an observation to a histogram.
   */
  export function observe(histogram: string, value: number, labels: Array<[string, string]>): void;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
}
