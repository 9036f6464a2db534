/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-mail@0.1.0' {
  /**
   * `sender` is none for the null sender.
   */
  export function handle(sender: Mailbox | undefined): SessionVerdict;
  export type SessionVerdict = import('waypost:plugin/types@0.1.0').SessionVerdict;
  export type Mailbox = import('waypost:plugin/types@0.1.0').Mailbox;
}
