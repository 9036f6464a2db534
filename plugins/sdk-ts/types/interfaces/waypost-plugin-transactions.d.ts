/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/transactions@0.1.0' {
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
  export type Mailbox = import('waypost:plugin/types@0.1.0').Mailbox;
  export type EsmtpParam = import('waypost:plugin/types@0.1.0').EsmtpParam;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * One forward-path.
   */
  export interface Recipient {
    /**
     * Names the recipient in edits and verdicts; never reused within a transaction.
     */
    index: number,
    /**
     * Where the mail goes.
     */
    mailbox: Mailbox,
    /**
     * As the client sent it, before any rewriting.
     */
    original: Mailbox,
    /**
     * Parameters of RCPT.
     */
    params: Array<EsmtpParam>,
  }
  /**
   * What the client declared the body to be.
   * # Variants
   *
   * ## `"seven-bit"`
   *
   * `BODY=7BIT`, or no BODY parameter.
   * ## `"eight-bit-mime"`
   *
   * `BODY=8BITMIME`.
   * ## `"binary-mime"`
   *
   * `BODY=BINARYMIME`.
   */
  export type BodyKind = 'seven-bit' | 'eight-bit-mime' | 'binary-mime';

  export class MailTransaction implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * Becomes the queue id.
    */
    id(): string;
    /**
    * When MAIL came.
    */
    startedAt(): Timestamp;
    /**
    * Reverse-path; none: the null sender.
    */
    sender(): Mailbox | undefined;
    /**
    * Parameters of MAIL.
    */
    senderParams(): Array<EsmtpParam>;
    /**
    * What SIZE said, if the client sent it and it is below 2^31.
    */
    declaredSize(): number | undefined;
    /**
    * What BODY said.
    */
    bodyKind(): BodyKind;
    /**
    * True if the client sent SMTPUTF8.
    */
    smtputf8(): boolean;
    /**
    * Those accepted so far.
    */
    recipients(): Array<Recipient>;
    /**
    * Another reverse-path. Allowed at mail and message.
    */
    setSender(sender: Mailbox | undefined): void;
    /**
    * One more recipient; returns its index. Allowed at message.
    */
    addRecipient(mailbox: Mailbox): number;
    /**
    * One recipient less. Allowed at message. A message left without any is answered 250 and kept nowhere.
    */
    removeRecipient(index: number): void;
    /**
    * Another address for a recipient. Allowed at rcpt (the candidate only) and message.
    */
    rewriteRecipient(index: number, mailbox: Mailbox): void;
    /**
    * Annotation left by `plugin` (none: this plugin) under `key`. Another plugin's annotations are `denied` without
    * the grant `notes-of`.
    */
    annotation(plugin: string | undefined, key: string): string | undefined;
    /**
    * Leaves an annotation. A plugin may leave 16 KiB with one message, all plugins together 64 KiB: past that, it is
    * `exhausted`. A key has 1 to 128 octets.
    */
    setAnnotation(key: string, value: string): void;
    /**
    * Forgets one of this plugin's annotations; that it is not there is no error.
    */
    removeAnnotation(key: string): void;
    /**
    * Short label for logs and metrics: 1 to 32 characters of `a-z`, `0-9`, `-`, `_` and `.`; at most 16 per message.
    */
    addTag(tag: string): void;
    [Symbol.dispose](): void;
  }
}
