/// <reference path="./waypost-plugin-transactions.d.ts" />
/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-rcpt@0.1.0' {
  /**
   * `candidate` is not yet among the transaction's recipients.
   */
  export function handle(candidate: Recipient): SessionVerdict;
  export type SessionVerdict = import('waypost:plugin/types@0.1.0').SessionVerdict;
  export type Recipient = import('waypost:plugin/transactions@0.1.0').Recipient;
}
