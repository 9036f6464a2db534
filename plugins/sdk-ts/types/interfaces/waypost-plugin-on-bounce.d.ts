/// <reference path="./waypost-plugin-deliveries.d.ts" />
declare module 'waypost:plugin/on-bounce@0.1.0' {
  /**
   * `failed` are the recipients the bounce is about to report.
   */
  export function handle(failed: Array<RecipientOutcome>): BounceVerdict;
  export type RecipientOutcome = import('waypost:plugin/deliveries@0.1.0').RecipientOutcome;
  export type BounceVerdict = import('waypost:plugin/deliveries@0.1.0').BounceVerdict;
}
