/// <reference path="./waypost-plugin-deliveries.d.ts" />
declare module 'waypost:plugin/on-delivery-result@0.1.0' {
  /**
   * A recipient that is not in the answer is left to the next plugin, then to the relay's default.
   */
  export function handle(outcomes: Array<RecipientOutcome>): Array<RecipientDisposition>;
  export type RecipientOutcome = import('waypost:plugin/deliveries@0.1.0').RecipientOutcome;
  export type RecipientDisposition = import('waypost:plugin/deliveries@0.1.0').RecipientDisposition;
}
