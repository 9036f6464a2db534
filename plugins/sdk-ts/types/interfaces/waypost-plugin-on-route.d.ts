/// <reference path="./waypost-plugin-routing.d.ts" />
/// <reference path="./waypost-plugin-transactions.d.ts" />
declare module 'waypost:plugin/on-route@0.1.0' {
  /**
   * `recipients` are those that no earlier plugin has assigned.
   */
  export function handle(phase: RoutingPhase, recipients: Array<Recipient>): RoutingVerdict;
  export type RoutingVerdict = import('waypost:plugin/routing@0.1.0').RoutingVerdict;
  export type RoutingPhase = import('waypost:plugin/routing@0.1.0').RoutingPhase;
  export type Recipient = import('waypost:plugin/transactions@0.1.0').Recipient;
}
