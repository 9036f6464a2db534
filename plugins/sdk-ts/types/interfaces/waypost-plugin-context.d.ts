/// <reference path="./waypost-plugin-deliveries.d.ts" />
/// <reference path="./waypost-plugin-messages.d.ts" />
/// <reference path="./waypost-plugin-sessions.d.ts" />
/// <reference path="./waypost-plugin-transactions.d.ts" />
/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/context@0.1.0' {
  /**
   * At connect, helo, auth, mail, rcpt, message, and route at arrival. `not-found` for messages that the relay itself
   * made or imported, and in the queue.
   */
  export function currentSession(): SmtpSession;
  /**
   * At mail, rcpt, message and route.
   */
  export function currentTransaction(): MailTransaction;
  /**
   * At message and route.
   */
  export function currentMessage(): Message;
  /**
   * At delivery-attempt, delivery-result and bounce.
   */
  export function currentDelivery(): Delivery;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  export type SmtpSession = import('waypost:plugin/sessions@0.1.0').SmtpSession;
  export type MailTransaction = import('waypost:plugin/transactions@0.1.0').MailTransaction;
  export type Message = import('waypost:plugin/messages@0.1.0').Message;
  export type Delivery = import('waypost:plugin/deliveries@0.1.0').Delivery;
}
