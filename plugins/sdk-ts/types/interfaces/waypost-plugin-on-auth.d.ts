/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-auth@0.1.0' {
  /**
   * The first verdict that is not `proceed` wins.
   */
  export function handle(attempt: Attempt): AuthVerdict;
  export type Identity = import('waypost:plugin/types@0.1.0').Identity;
  export type Reply = import('waypost:plugin/types@0.1.0').Reply;
  /**
   * What it offers.
   */
  export interface Attempt {
    /**
     * `PLAIN` or `LOGIN`.
     */
    mechanism: string,
    /**
     * Authentication identity.
     */
    name: string,
    /**
     * Authorization identity, when it differs.
     */
    actsAs?: string,
    /**
     * The door for later facts, by name.
     */
    details: Array<[string, string]>,
    /**
     * The password; only with the grant `auth-secrets`.
     */
    secret?: string,
  }
  /**
   * Verdict of the auth hook.
   */
  export type AuthVerdict = AuthVerdictProceed | AuthVerdictSuccess | AuthVerdictFailure | AuthVerdictTempfail;
  /**
   * Not for this plugin; ask the next one, then the relay's own back ends.
   */
  export interface AuthVerdictProceed {
    tag: 'proceed',
  }
  /**
   * This is who it is.
   */
  export interface AuthVerdictSuccess {
    tag: 'success',
    val: Identity,
  }
  /**
   * It is not who it claims to be; 5yz.
   */
  export interface AuthVerdictFailure {
    tag: 'failure',
    val: Reply,
  }
  /**
   * Can't tell now; 4yz.
   */
  export interface AuthVerdictTempfail {
    tag: 'tempfail',
    val: Reply,
  }
}
