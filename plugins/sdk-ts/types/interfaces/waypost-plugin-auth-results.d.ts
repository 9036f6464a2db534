/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/auth-results@0.1.0' {
  /**
   * MAIL identity, or the HELO identity for the null sender.
   */
  export function spf(): SpfOutcome;
  /**
   * One outcome per signature, for the first ten.
   */
  export function dkim(): Array<DkimOutcome>;
  /**
   * The From field's domain.
   */
  export function dmarc(): DmarcOutcome;
  /**
   * The chain as a whole.
   */
  export function arc(): ArcOutcome;
  /**
   * The Authentication-Results value the relay would write; at MAIL and RCPT, the client's name and SPF only.
   */
  export function headerValue(): string;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * Result of a check (RFC 8601 section 2.7).
   * # Variants
   *
   * ## `"none"`
   *
   * There was nothing to check.
   * ## `"neutral"`
   *
   * No statement either way.
   * ## `"pass"`
   *
   * It holds.
   * ## `"policy"`
   *
   * Something of it is not acceptable to the relay.
   * ## `"softfail"`
   *
   * It probably does not hold.
   * ## `"fail"`
   *
   * It does not hold.
   * ## `"temperror"`
   *
   * The check could not be done now.
   * ## `"permerror"`
   *
   * What was published can't be understood.
   */
  export type Status = 'none' | 'neutral' | 'pass' | 'policy' | 'softfail' | 'fail' | 'temperror' | 'permerror';
  /**
   * SPF (RFC 7208).
   */
  export interface SpfOutcome {
    /**
     * Its result.
     */
    status: Status,
    /**
     * Whose policy was looked at.
     */
    domain: string,
    /**
     * What the domain says about failures.
     */
    explanation?: string,
  }
  /**
   * One DKIM signature (RFC 6376).
   */
  export interface DkimOutcome {
    /**
     * Its result.
     */
    status: Status,
    /**
     * Who signed; empty where the signature can't be read.
     */
    domain: string,
    /**
     * Which key.
     */
    selector: string,
    /**
     * The key is marked as being tested.
     */
    testing: boolean,
  }
  /**
   * What a DMARC policy asks for.
   * # Variants
   *
   * ## `"none"`
   *
   * Nothing.
   * ## `"quarantine"`
   *
   * Suspicion.
   * ## `"reject"`
   *
   * Refusal.
   */
  export type DmarcDisposition = 'none' | 'quarantine' | 'reject';
  /**
   * DMARC (RFC 9989).
   */
  export interface DmarcOutcome {
    /**
     * Its result.
     */
    status: Status,
    /**
     * Domain of the From field; empty where the field has not exactly one.
     */
    fromDomain: string,
    /**
     * What its policy asks for.
     */
    disposition: DmarcDisposition,
    /**
     * SPF passed for an aligned domain.
     */
    spfAligned: boolean,
    /**
     * DKIM passed for an aligned domain.
     */
    dkimAligned: boolean,
  }
  /**
   * ARC (RFC 8617).
   */
  export interface ArcOutcome {
    /**
     * Result of the chain.
     */
    status: Status,
    /**
     * Who sealed it last: a mere claim unless the chain passed.
     */
    sealer?: string,
  }
}
