/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/sessions@0.1.0' {
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
  export type Endpoint = import('waypost:plugin/types@0.1.0').Endpoint;
  export type TlsInfo = import('waypost:plugin/types@0.1.0').TlsInfo;
  export type Identity = import('waypost:plugin/types@0.1.0').Identity;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * Which protocol the client speaks.
   * # Variants
   *
   * ## `"smtp"`
   *
   * It said HELO, or nothing yet.
   * ## `"esmtp"`
   *
   * It said EHLO.
   * ## `"lmtp"`
   *
   * It said LHLO.
   */
  export type Protocol = 'smtp' | 'esmtp' | 'lmtp';

  export class SmtpSession implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * Stable for the connection; appears in every log line.
    */
    id(): string;
    /**
    * Name of the listener in the relay's configuration.
    */
    listener(): string;
    /**
    * When the connection was accepted.
    */
    connectedAt(): Timestamp;
    /**
    * The client's end.
    */
    client(): Endpoint;
    /**
    * The relay's end.
    */
    server(): Endpoint;
    /**
    * Forward-confirmed reverse name of the client, if it has one.
    */
    clientName(): string | undefined;
    /**
    * As of the last HELO, EHLO or LHLO.
    */
    protocol(): Protocol;
    /**
    * Argument of the last HELO, EHLO or LHLO.
    */
    helo(): string | undefined;
    /**
    * What protects the connection, if anything does.
    */
    tls(): TlsInfo | undefined;
    /**
    * Who the client proved to be, if it did.
    */
    identity(): Identity | undefined;
    /**
    * True if the relay's own rules let this client relay anywhere.
    */
    mayRelay(): boolean;
    /**
    * Transactions of this connection that have ended.
    */
    transactionsSoFar(): number;
    /**
    * Recipients of this connection that were refused.
    */
    refusedRecipientsSoFar(): number;
    /**
    * Connection-lived note left by `plugin` (none: this plugin) under `key`. Another plugin's notes are `denied`
    * without the grant `notes-of`.
    */
    note(plugin: string | undefined, key: string): string | undefined;
    /**
    * Leaves a note. A plugin may leave 16 KiB with one connection, all plugins together 64 KiB: past that, it
    * is `exhausted`. A key has 1 to 128 octets.
    */
    setNote(key: string, value: string): void;
    /**
    * Takes an extension out of what this client is offered, by its keyword, e.g. `CHUNKING`; for as long as the
    * connection lasts. One that the relay does not know is `invalid-argument`. Allowed at connect and helo.
    */
    withholdExtension(keyword: string): void;
    [Symbol.dispose](): void;
  }
}
