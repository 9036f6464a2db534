/// <reference path="./waypost-plugin-types.d.ts" />
declare module 'waypost:plugin/messages@0.1.0' {
  export type Timestamp = import('waypost:plugin/types@0.1.0').Timestamp;
  export type HostError = import('waypost:plugin/types@0.1.0').HostError;
  /**
   * One header field.
   */
  export interface HeaderField {
    /**
     * Position when the hook was entered; edits do not shift it.
     */
    index: number,
    /**
     * Field name, as received.
     */
    name: string,
    /**
     * Unfolded and trimmed, otherwise as received: encoded words are not decoded.
     */
    value: string,
  }

  export class BodyReader implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * The next octets: at most `max`, and at most 256 KiB. An empty list is the end.
    */
    read(max: number): Uint8Array;
    /**
    * Passes over octets; returns how many there were to pass.
    */
    skip(count: number): number;
    [Symbol.dispose](): void;
  }

  export class BodyWriter implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * Appends octets.
    */
    write(bytes: Uint8Array): void;
    /**
    * Appends a text as UTF-8. Line ends are not touched: a mail has CRLF.
    */
    writeText(text: string): void;
    /**
    * Appends octets of the body as it stood when the hook was entered, without a way through the plugin.
    */
    copy(offset: number, count: number): void;
    /**
    * Octets so far.
    */
    written(): number;
    [Symbol.dispose](): void;
  }

  export class Message implements Disposable {
    /**
     * This type does not have a public constructor.
     */
    private constructor();
    /**
    * When its last octet came.
    */
    receivedAt(): Timestamp;
    /**
    * Header section, separator and body. The relay takes no message of 2 GiB or more.
    */
    size(): number;
    /**
    * Octets of the body.
    */
    bodySize(): number;
    /**
    * All header fields, top to bottom.
    */
    headers(): Array<HeaderField>;
    /**
    * Those of that name, whatever its case.
    */
    headersNamed(name: string): Array<HeaderField>;
    /**
    * First field of that name, unfolded and RFC 2047-decoded.
    */
    text(name: string): string | undefined;
    /**
    * Octets after the colon as received, folding kept, final CRLF removed.
    */
    rawHeader(index: number): Uint8Array;
    /**
    * A new field above all others. A name is 1 to 78 printable ASCII characters without a colon; a value has no
    * control characters but tab, and at most 64 KiB; the relay folds it. The edits are allowed at message.
    */
    prependHeader(name: string, value: string): void;
    /**
    * A new field below all others.
    */
    appendHeader(name: string, value: string): void;
    /**
    * Another value for a field.
    */
    replaceHeader(index: number, value: string): void;
    /**
    * One field less.
    */
    removeHeader(index: number): void;
    /**
    * Random access to the body: at most `max` octets, at most 256 KiB, fewer only at the end, none past it.
    */
    readBody(offset: number, max: number): Uint8Array;
    /**
    * A reader of the body.
    */
    openBody(): BodyReader;
    /**
    * A reader of header section, separator and body together.
    */
    openRaw(): BodyReader;
    /**
    * A writer of a new body. Allowed at message; at most four in one call.
    */
    newBody(): BodyWriter;
    /**
    * Takes effect, like every edit, when the hook returns ok. The last one wins.
    */
    replaceBody(body: BodyWriter): void;
    [Symbol.dispose](): void;
  }
}
