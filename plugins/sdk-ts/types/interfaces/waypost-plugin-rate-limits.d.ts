/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/rate-limits@0.1.0' {
  /**
   * Takes `cost` tokens if it can. A cost of zero only looks.
   */
  export function take(key: string, quota: Quota, cost: number): Decision;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * Size and speed of a token bucket.
   */
  export interface Quota {
    /**
     * Tokens at most.
     */
    burst: number,
    /**
     * Tokens given back per period.
     */
    refill: number,
    /**
     * Length of the period.
     */
    periodMillis: number,
  }
  /**
   * What a bucket said.
   */
  export interface Decision {
    /**
     * True if the tokens were taken.
     */
    allowed: boolean,
    /**
     * Tokens left.
     */
    remaining: number,
    /**
     * When it is worth to ask again.
     */
    retryAfterMillis: number,
  }
}
