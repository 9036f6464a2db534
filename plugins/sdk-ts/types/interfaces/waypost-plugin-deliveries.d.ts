/// <reference path="./waypost-plugin-routing.d.ts" />
/// <reference path="./waypost-plugin-transactions.d.ts" />
/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/deliveries@0.1.0' {
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
  export type Endpoint = import('waypost:plugin/types@0.1.0').Endpoint;
  export type Mailbox = import('waypost:plugin/types@0.1.0').Mailbox;
  export type Reply = import('waypost:plugin/types@0.1.0').Reply;
  export type TlsInfo = import('waypost:plugin/types@0.1.0').TlsInfo;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  export type Recipient = import('waypost:plugin/transactions@0.1.0').Recipient;
  export type Route = import('waypost:plugin/routing@0.1.0').Route;
  export type NextHop = import('waypost:plugin/routing@0.1.0').NextHop;
  /**
   * How far an attempt came.
   * # Variants
   *
   * ## `"queue"`
   *
   * No attempt was made: expired, or a plugin said so.
   * ## `"resolve"`
   *
   * Looking up the next hop.
   * ## `"connect"`
   *
   * Opening the connection.
   * ## `"greeting"`
   *
   * Waiting for 220.
   * ## `"helo"`
   *
   * EHLO, HELO or LHLO.
   * ## `"tls"`
   *
   * STARTTLS and the handshake.
   * ## `"auth"`
   *
   * AUTH.
   * ## `"mail"`
   *
   * MAIL.
   * ## `"rcpt"`
   *
   * RCPT.
   * ## `"data"`
   *
   * Up to the final dot.
   * ## `"answer"`
   *
   * The final dot was sent, the answer is missing or a refusal.
   * ## `"done"`
   *
   * Answered.
   */
  export type Stage = 'queue' | 'resolve' | 'connect' | 'greeting' | 'helo' | 'tls' | 'auth' | 'mail' | 'rcpt' | 'data' | 'answer' | 'done';
  /**
   * What became of a recipient.
   * # Variants
   *
   * ## `"delivered"`
   *
   * The next hop has it.
   * ## `"temporary"`
   *
   * To be tried again.
   * ## `"permanent"`
   *
   * Will never do.
   * ## `"expired"`
   *
   * Temporary until the give-up time came.
   */
  export type OutcomeKind = 'delivered' | 'temporary' | 'permanent' | 'expired';
  /**
   * What became of one recipient in one attempt.
   */
  export interface RecipientOutcome {
    /**
     * Its index.
     */
    recipient: number,
    /**
     * What became of it.
     */
    kind: OutcomeKind,
    /**
     * How far the attempt came.
     */
    stage: Stage,
    /**
     * What the next hop said; for local failures, what the relay says of them.
     */
    reply?: Reply,
    /**
     * Host name of the next hop.
     */
    remoteName?: string,
    /**
     * Where the connection went.
     */
    remote?: Endpoint,
    /**
     * What protected it.
     */
    tls?: TlsInfo,
    /**
     * `error`: what went wrong below SMTP. More names may come.
     */
    details: Array<[string, string]>,
  }
  /**
   * Verdict of the delivery-attempt hook.
   */
  export type AttemptVerdict = AttemptVerdictProceed | AttemptVerdictHoldSeconds | AttemptVerdictReroute | AttemptVerdictFail;
  /**
   * Go on.
   */
  export interface AttemptVerdictProceed {
    tag: 'proceed',
  }
  /**
   * Not now, and not counted as an attempt. 1 to 604800 (a week).
   */
  export interface AttemptVerdictHoldSeconds {
    tag: 'hold-seconds',
    val: number,
  }
  /**
   * Another way.
   */
  export interface AttemptVerdictReroute {
    tag: 'reroute',
    val: Route,
  }
  /**
   * Give up for all recipients of this attempt (5yz); leads to a bounce.
   */
  export interface AttemptVerdictFail {
    tag: 'fail',
    val: Reply,
  }
  /**
   * What is to become of a recipient after an attempt.
   */
  export type ResultAction = ResultActionProceed | ResultActionRetryAfterSeconds | ResultActionReroute | ResultActionBounce | ResultActionForget;
  /**
   * The relay's default for this outcome.
   */
  export interface ResultActionProceed {
    tag: 'proceed',
  }
  /**
   * Try again then. 1 to 604800 (a week).
   */
  export interface ResultActionRetryAfterSeconds {
    tag: 'retry-after-seconds',
    val: number,
  }
  /**
   * Try again at once, another way.
   */
  export interface ResultActionReroute {
    tag: 'reroute',
    val: Route,
  }
  /**
   * Give up with a bounce; 5yz.
   */
  export interface ResultActionBounce {
    tag: 'bounce',
    val: Reply,
  }
  /**
   * Forget the recipient without a bounce; the text goes to the log.
   */
  export interface ResultActionForget {
    tag: 'forget',
    val: string,
  }
  /**
   * One recipient's action.
   */
  export interface RecipientDisposition {
    /**
     * Index of a recipient of the attempt; another one, or the same twice, is a failure.
     */
    recipient: number,
    /**
     * What is to become of it.
     */
    action: ResultAction,
  }
  /**
   * Changes to a bounce.
   */
  export interface BounceEdit {
    /**
     * Text put in front of the standard explanation; at most 4 KiB.
     */
    preface?: string,
    /**
     * Return the header section only, whatever RET said.
     */
    returnHeadersOnly: boolean,
    /**
     * Where the bounce goes, if not to the sender.
     */
    redirectTo?: Mailbox,
    /**
     * As in a route: the door for later settings, by name. An unknown name is a failure.
     */
    options: Array<[string, string]>,
  }
  /**
   * Verdict of the bounce hook.
   */
  export type BounceVerdict = BounceVerdictProceed | BounceVerdictEdit | BounceVerdictSuppress;
  /**
   * As it is.
   */
  export interface BounceVerdictProceed {
    tag: 'proceed',
  }
  /**
   * With changes.
   */
  export interface BounceVerdictEdit {
    tag: 'edit',
    val: BounceEdit,
  }
  /**
   * No bounce; the text goes to the log.
   */
  export interface BounceVerdictSuppress {
    tag: 'suppress',
    val: string,
  }

  export class Delivery implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * The message.
    */
    queueId(): string;
    /**
    * Attempts made before this one.
    */
    attempt(): number;
    /**
    * When the relay took the message.
    */
    queuedAt(): Timestamp;
    /**
    * When it will be given up.
    */
    expiresAt(): Timestamp;
    /**
    * Reverse-path; none: the null sender.
    */
    sender(): Mailbox | undefined;
    /**
    * The recipients of this attempt.
    */
    recipients(): Array<Recipient>;
    /**
    * Octets of header section and body.
    */
    messageSize(): number;
    /**
    * How they are routed.
    */
    route(): Route;
    /**
    * The hop of that route in question.
    */
    hop(): NextHop;
    /**
    * Outcomes of the previous attempt, if there was one.
    */
    previous(): Array<RecipientOutcome>;
    /**
    * Return path for this attempt only (VERP). Allowed at delivery-attempt.
    */
    setSender(sender: Mailbox | undefined): void;
    /**
    * Extra header for this attempt only. Allowed at delivery-attempt.
    */
    prependHeader(name: string, value: string): void;
    /**
    * As on `mail-transaction`.
    */
    annotation(plugin: string | undefined, key: string): string | undefined;
    /**
    * As on `mail-transaction`. Allowed at delivery-attempt and delivery-result.
    */
    setAnnotation(key: string, value: string): void;
    [Symbol.dispose](): void;
  }
}
