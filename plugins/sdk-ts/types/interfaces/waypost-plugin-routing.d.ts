/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/routing@0.1.0' {
  export type Reply = import('waypost:plugin/types@0.1.0').Reply;
  /**
   * A fixed host.
   */
  export interface HostTarget {
    /**
     * Name, ip-address, or (LMTP only) `unix:` and a path; the port is then not looked at.
     */
    host: string,
    /**
     * TCP port; not zero but for `unix:`.
     */
    port: number,
  }
  /**
   * One place to try.
   */
  export type NextHop = NextHopMx | NextHopSmtp | NextHopLmtp | NextHopNamed;
  /**
   * MX lookup of this domain.
   */
  export interface NextHopMx {
    tag: 'mx',
    val: string,
  }
  /**
   * Fixed SMTP host.
   */
  export interface NextHopSmtp {
    tag: 'smtp',
    val: HostTarget,
  }
  /**
   * Fixed LMTP host.
   */
  export interface NextHopLmtp {
    tag: 'lmtp',
    val: HostTarget,
  }
  /**
   * A destination the operator named in the configuration.
   */
  export interface NextHopNamed {
    tag: 'named',
    val: string,
  }
  /**
   * How the connection is to be protected.
   * # Variants
   *
   * ## `"inherit"`
   *
   * Whatever the relay's configuration says for the destination.
   * ## `"off"`
   *
   * No TLS even if offered.
   * ## `"opportunistic"`
   *
   * TLS if offered; the certificate is not judged.
   * ## `"encrypt"`
   *
   * TLS or no delivery; the certificate is not judged.
   * ## `"verify"`
   *
   * TLS with a certificate that verifies for the host's name, or no delivery.
   * ## `"dane"`
   *
   * DANE (RFC 7672).
   */
  export type TlsPolicy = 'inherit' | 'off' | 'opportunistic' | 'encrypt' | 'verify' | 'dane';
  /**
   * A way for mail.
   */
  export interface Route {
    /**
     * Tried in order within one attempt; 1 to 16 of them.
     */
    hops: Array<NextHop>,
    /**
     * For all of them.
     */
    tls: TlsPolicy,
    /**
     * Name of a source in the configuration, to connect from.
     */
    source?: string,
    /**
     * Name of a credential in the configuration; a plugin never sees the secret behind it.
     */
    credential?: string,
    /**
     * Name of a lane in the configuration, whose limits apply.
     */
    lane?: string,
    /**
     * Name of a retry schedule in the configuration.
     */
    retrySchedule?: string,
    /**
     * Give-up time, counted from arrival.
     */
    expiresAfterSeconds?: number,
    /**
     * The door for later settings within this line, by name. An unknown name is a failure.
     */
    options: Array<[string, string]>,
  }
  /**
   * What becomes of a group of recipients.
   */
  export type Assignment = AssignmentRoute | AssignmentFail;
  /**
   * They go this way.
   */
  export interface AssignmentRoute {
    tag: 'route',
    val: Route,
  }
  /**
   * Permanent failure (5yz) of these recipients alone; leads to a bounce.
   */
  export interface AssignmentFail {
    tag: 'fail',
    val: Reply,
  }
  /**
   * Recipients and what becomes of them.
   */
  export interface RouteGroup {
    /**
     * Indexes of recipients; one that was not asked about, or is named twice, is a failure.
     */
    recipients: Uint32Array,
    /**
     * What becomes of them.
     */
    assignment: Assignment,
  }
  /**
   * Verdict of the route hook.
   */
  export type RoutingVerdict = RoutingVerdictProceed | RoutingVerdictAssign | RoutingVerdictReject | RoutingVerdictTempfail;
  /**
   * No opinion about anybody.
   */
  export interface RoutingVerdictProceed {
    tag: 'proceed',
  }
  /**
   * May cover only some recipients; the rest go on to the next plugin, then to the relay's own routing.
   */
  export interface RoutingVerdictAssign {
    tag: 'assign',
    val: Array<RouteGroup>,
  }
  /**
   * Permanent refusal of the message, 5yz.
   */
  export interface RoutingVerdictReject {
    tag: 'reject',
    val: Reply,
  }
  /**
   * Temporary refusal of the message, 4yz.
   */
  export interface RoutingVerdictTempfail {
    tag: 'tempfail',
    val: Reply,
  }
  /**
   * Who waits for the answer.
   * # Variants
   *
   * ## `"arrival"`
   *
   * The client still waits for the answer to the message.
   * ## `"requeue"`
   *
   * From the queue: a reroute was asked for, or a route expired.
   */
  export type RoutingPhase = 'arrival' | 'requeue';
}
