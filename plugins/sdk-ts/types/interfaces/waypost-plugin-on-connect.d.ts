/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-connect@0.1.0' {
  /**
   * `context.current-session` says who connected.
   */
  export function handle(): SessionVerdict;
  export type SessionVerdict = import('waypost:plugin/types@0.1.0').SessionVerdict;
}
