declare module 'waypost:plugin/lifecycle@0.1.0' {
  /**
   * Once per generation, before it may serve: warnings, or errors that stop the load.
   */
  export function validateConfig(document: string): Array<string>;
  /**
   * Once per generation, after validate-config.
   */
  export function selfTest(): void;
  /**
   * Once per instance, before its first hook. Keep it cheap.
   */
  export function init(): void;
}
