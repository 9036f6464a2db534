/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/dns@0.1.0' {
  /**
   * Looks records up.
   */
  export function lookup(name: string, kind: RecordKind): Answer;
  /**
   * Reversed-address look-up in a block or allow list; the addresses it returned, none if the address is not listed.
   */
  export function listLookup(address: IpAddress, zone: string): Array<IpAddress>;
  export type IpAddress = import('waypost:plugin/types@0.1.0').IpAddress;
  /**
   * Which records.
   * # Variants
   *
   * ## `"a"`
   *
   * IPv4 addresses.
   * ## `"aaaa"`
   *
   * IPv6 addresses.
   * ## `"mx"`
   *
   * Mail exchangers.
   * ## `"txt"`
   *
   * Texts.
   * ## `"ptr"`
   *
   * Reverse names.
   * ## `"cname"`
   *
   * An alias.
   * ## `"ns"`
   *
   * Name servers.
   * ## `"srv"`
   *
   * Services.
   * ## `"tlsa"`
   *
   * TLS associations.
   */
  export type RecordKind = 'a' | 'aaaa' | 'mx' | 'txt' | 'ptr' | 'cname' | 'ns' | 'srv' | 'tlsa';
  /**
   * A mail exchanger.
   */
  export interface MxData {
    /**
     * Lower is tried first.
     */
    preference: number,
    /**
     * Its name.
     */
    exchange: string,
  }
  /**
   * A service.
   */
  export interface SrvData {
    /**
     * Lower is tried first.
     */
    priority: number,
    /**
     * Share among those of the same priority.
     */
    weight: number,
    /**
     * Where it listens.
     */
    port: number,
    /**
     * Its host.
     */
    target: string,
  }
  /**
   * What a record says.
   */
  export type RecordData = RecordDataAddress | RecordDataName | RecordDataMx | RecordDataTxt | RecordDataSrv | RecordDataRaw;
  /**
   * a, aaaa
   */
  export interface RecordDataAddress {
    tag: 'address',
    val: IpAddress,
  }
  /**
   * cname, ns, ptr
   */
  export interface RecordDataName {
    tag: 'name',
    val: string,
  }
  /**
   * mx
   */
  export interface RecordDataMx {
    tag: 'mx',
    val: MxData,
  }
  /**
   * txt; character-strings already joined.
   */
  export interface RecordDataTxt {
    tag: 'txt',
    val: string,
  }
  /**
   * srv
   */
  export interface RecordDataSrv {
    tag: 'srv',
    val: SrvData,
  }
  /**
   * tlsa, and any other
   */
  export interface RecordDataRaw {
    tag: 'raw',
    val: Uint8Array,
  }
  /**
   * What the resolver said.
   */
  export interface Answer {
    /**
     * In the resolver's order.
     */
    records: Array<RecordData>,
    /**
     * How long it holds.
     */
    ttlSeconds: number,
    /**
     * Validated with DNSSEC by a resolver on the relay's own machine, which said so (the AD bit); false where nobody on
     * this machine validates.
     */
    secure: boolean,
  }
  /**
   * Why there is no answer.
   */
  export type DnsError = DnsErrorNoSuchName | DnsErrorNoData | DnsErrorServerFailure | DnsErrorTimedOut | DnsErrorDenied | DnsErrorInvalidName | DnsErrorOther;
  /**
   * The name does not exist.
   */
  export interface DnsErrorNoSuchName {
    tag: 'no-such-name',
  }
  /**
   * The name exists without such records.
   */
  export interface DnsErrorNoData {
    tag: 'no-data',
  }
  /**
   * A server failed.
   */
  export interface DnsErrorServerFailure {
    tag: 'server-failure',
  }
  /**
   * Nobody answered in time.
   */
  export interface DnsErrorTimedOut {
    tag: 'timed-out',
  }
  /**
   * Not granted, or the per-call look-up budget is used up.
   */
  export interface DnsErrorDenied {
    tag: 'denied',
  }
  /**
   * That is no name.
   */
  export interface DnsErrorInvalidName {
    tag: 'invalid-name',
  }
  /**
   * Anything else.
   */
  export interface DnsErrorOther {
    tag: 'other',
    val: string,
  }
}
