/// <reference path="./waypost-plugin-deliveries.d.ts" />
declare module 'waypost:plugin/on-delivery-attempt@0.1.0' {
  /**
   * The first verdict that is not `proceed` ends the chain.
   */
  export function handle(): AttemptVerdict;
  export type AttemptVerdict = import('waypost:plugin/deliveries@0.1.0').AttemptVerdict;
}
