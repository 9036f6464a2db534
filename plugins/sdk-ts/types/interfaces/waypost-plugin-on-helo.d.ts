/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-helo@0.1.0' {
  /**
   * `name` is the argument.
   */
  export function handle(name: string): SessionVerdict;
  export type SessionVerdict = import('waypost:plugin/types@0.1.0').SessionVerdict;
}
