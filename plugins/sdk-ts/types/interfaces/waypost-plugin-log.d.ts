declare module 'waypost:plugin/log@0.1.0' {
  /**
   * True if a line of this level would be written.
   */
  export function enabled(level: Level): boolean;
  /**
   * Writes a line of at most 1 KiB, fields included; the rest is cut off, control characters are escaped, and lines
   * past the plugin's rate are counted but not written.
   */
  export function write(level: Level, message: string, fields: Array<[string, string]>): void;
  /**
   * How much it matters.
   * # Variants
   *
   * ## `"trace"`
   *
   * Every step.
   * ## `"debug"`
   *
   * For the plugin's author.
   * ## `"info"`
   *
   * For the operator's record.
   * ## `"warn"`
   *
   * Something the operator should look at.
   * ## `"error"`
   *
   * Something is broken.
   */
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
}
