/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/on-message@0.1.0' {
  /**
   * `context.current-message` is the message.
   */
  export function handle(): MessageVerdict;
  export type MessageVerdict = import('waypost:plugin/types@0.1.0').MessageVerdict;
}
