/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/config@0.1.0' {
  /**
   * A value of the table by its key: a string as it is, anything else as JSON.
   */
  export function get(key: string): string | undefined;
  /**
   * The whole table as JSON.
   */
  export function document(): string;
  /**
   * A secret by its name, which the operator granted; never in a log or a listing of the relay. `denied` for any other name.
   */
  export function secret(name: string): string;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
}
