declare module 'waypost:plugin/types@0.1.0' {
  /**
   * Wall-clock instant, UTC.
   */
  export interface Timestamp {
    /**
     * Whole seconds since 1970-01-01T00:00:00Z, rounded down.
     */
    seconds: bigint,
    /**
     * Past `seconds`; below 1,000,000,000.
     */
    nanoseconds: number,
  }
  /**
   * Text after RFC 5952, e.g. `192.0.2.1` or `2001:db8::1`; an IPv4-mapped address is given as IPv4.
   */
  export type IpAddress = string;
  /**
   * One end of a connection.
   */
  export interface Endpoint {
    /**
     * An ip-address, or `unix:` and a path.
     */
    address: string,
    /**
     * Zero for `unix:`.
     */
    port: number,
  }
  /**
   * An envelope address, already parsed and normalised by the relay. One that a plugin hands in is parsed again: what
   * is no address is `invalid-argument` in a host function and a failure in a verdict.
   */
  export interface Mailbox {
    /**
     * Unquoted; UTF-8 only if SMTPUTF8 was negotiated.
     */
    localPart: string,
    /**
     * Lower-case A-labels, or an address literal in brackets; empty only for a bare `postmaster`.
     */
    domain: string,
  }
  /**
   * One ESMTP parameter of MAIL or RCPT.
   */
  export interface EsmtpParam {
    /**
     * In upper case.
     */
    keyword: string,
    /**
     * What followed `=`, as it was sent.
     */
    value?: string,
  }
  /**
   * RFC 3463 status, e.g. 5.7.1.
   */
  export interface EnhancedStatus {
    /**
     * The first number: 4 in a temporary, 5 in a permanent reply.
     */
    kind: number,
    /**
     * The second number, at most 999.
     */
    subject: number,
    /**
     * The third number, at most 999.
     */
    detail: number,
  }
  /**
   * A reply to an SMTP client. The relay checks that code and status fit the verdict (5yz to reject, 4yz to tempfail,
   * either to close), strips control characters and cuts long lines; a code that does not fit is a failure.
   */
  export interface Reply {
    /**
     * Three digits.
     */
    code: number,
    /**
     * Written before every line; none: the relay puts a general one that fits the code.
     */
    status?: EnhancedStatus,
    /**
     * The text, without code, status and line ends; at most 16 lines. Empty: the relay's own words.
     */
    lines: Array<string>,
  }
  /**
   * What a client showed at the TLS handshake.
   */
  export interface ClientCertificate {
    /**
     * True if it verified against the operator's authorities.
     */
    verified: boolean,
    /**
     * Distinguished name of the subject.
     */
    subject: string,
    /**
     * Names from subjectAltName.
     */
    dnsNames: Array<string>,
    /**
     * Digest of the certificate: 32 octets.
     */
    sha256: Uint8Array,
  }
  /**
   * What protects a connection.
   */
  export interface TlsInfo {
    /**
     * E.g. `TLSv1.3`.
     */
    protocol: string,
    /**
     * E.g. `TLS13_AES_256_GCM_SHA384`.
     */
    cipher: string,
    /**
     * Server Name Indication, if the client sent one.
     */
    serverName?: string,
    /**
     * The client's certificate, if it showed one.
     */
    client?: ClientCertificate,
    /**
     * The door for later facts, by name; so are the other lists called `details`.
     */
    details: Array<[string, string]>,
  }
  /**
   * Who an authenticated client is.
   */
  export interface Identity {
    /**
     * SASL mechanism, e.g. `PLAIN`.
     */
    mechanism: string,
    /**
     * SASL authentication identity.
     */
    name: string,
    /**
     * SASL authorization identity, when it differs from `name`.
     */
    actsAs?: string,
    /**
     * What the back end knows beside, e.g. a tenant. Every plugin can read it.
     */
    attributes: Array<[string, string]>,
  }
  /**
   * Why a host function did not do what it was asked for.
   * # Variants
   *
   * ## `"denied"`
   *
   * The operator did not grant this capability, or not for these arguments. The detail names the line that would.
   * ## `"not-here"`
   *
   * Granted, but meaningless at this hook (e.g. a header edit at RCPT), or through a handle that is no longer good.
   * ## `"not-found"`
   *
   * There is no such thing.
   * ## `"invalid-argument"`
   *
   * An argument breaks a rule; the detail says which.
   * ## `"too-large"`
   *
   * An argument or a result is beyond a limit.
   * ## `"exhausted"`
   *
   * A quota or a per-call budget is used up.
   * ## `"timed-out"`
   *
   * The relay waited for somebody else for too long.
   * ## `"unavailable"`
   *
   * Can't be had now, e.g. because the store can't be read.
   * ## `"other"`
   *
   * Anything else.
   */
  export type ErrorCode = 'denied' | 'not-here' | 'not-found' | 'invalid-argument' | 'too-large' | 'exhausted' | 'timed-out' | 'unavailable' | 'other';
  /**
   * The error of host functions.
   */
  export interface HostError {
    /**
     * For the plugin's logic.
     */
    code: ErrorCode,
    /**
     * For the plugin's log; never rely on the words.
     */
    detail: string,
  }
  /**
   * Verdict of connect, helo, mail and rcpt.
   */
  export type SessionVerdict = SessionVerdictProceed | SessionVerdictAccept | SessionVerdictReject | SessionVerdictTempfail | SessionVerdictClose;
  /**
   * No opinion; the next plugin runs, at the end the relay's own default applies.
   */
  export interface SessionVerdictProceed {
    tag: 'proceed',
  }
  /**
   * In favour; skips the remaining plugins of this hook, save mandatory ones.
   */
  export interface SessionVerdictAccept {
    tag: 'accept',
  }
  /**
   * Permanent refusal, 5yz.
   */
  export interface SessionVerdictReject {
    tag: 'reject',
    val: Reply,
  }
  /**
   * Temporary refusal, 4yz.
   */
  export interface SessionVerdictTempfail {
    tag: 'tempfail',
    val: Reply,
  }
  /**
   * Send the reply (4yz or 5yz), then close the connection.
   */
  export interface SessionVerdictClose {
    tag: 'close',
    val: Reply,
  }
  /**
   * Verdict of the message hook.
   */
  export type MessageVerdict = MessageVerdictProceed | MessageVerdictAccept | MessageVerdictReject | MessageVerdictTempfail | MessageVerdictDiscard | MessageVerdictQuarantine;
  /**
   * No opinion; the next plugin runs, at the end the message is taken.
   */
  export interface MessageVerdictProceed {
    tag: 'proceed',
  }
  /**
   * In favour; skips the remaining plugins of this hook, save mandatory ones.
   */
  export interface MessageVerdictAccept {
    tag: 'accept',
  }
  /**
   * Permanent refusal, 5yz.
   */
  export interface MessageVerdictReject {
    tag: 'reject',
    val: Reply,
  }
  /**
   * Temporary refusal, 4yz.
   */
  export interface MessageVerdictTempfail {
    tag: 'tempfail',
    val: Reply,
  }
  /**
   * Answer 250, keep nothing; the text goes to the log.
   */
  export interface MessageVerdictDiscard {
    tag: 'discard',
    val: string,
  }
  /**
   * Answer 250, store held; the text is the reason shown to the operator.
   */
  export interface MessageVerdictQuarantine {
    tag: 'quarantine',
    val: string,
  }
}
