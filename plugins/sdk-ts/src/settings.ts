//! The operator's table, read field by field; every mistake is kept, so that all are told at once. Decides nothing.

import { duration } from './duration.ts';

/** What is wrong with a table, and what is odd about it. One line each, beginning with the key. */
export class Problems {
  readonly errors: string[] = [];
  readonly warnings: string[] = [];
}

/** Bounds of a number, both included. */
export interface Bounds {
  least: number;
  most: number;
}

/** The document that `config` hands out; what is no table is an error. */
export function read(document: string, problems: Problems): Table {
  let value: unknown = {};
  try {
    if (document.trim() !== '') value = JSON.parse(document);
  } catch {
    problems.errors.push('the settings are not JSON');
  }
  if (!isTable(value)) {
    problems.errors.push('the settings are not a table');
    value = {};
  }
  return new Table(value as Record<string, unknown>, '', problems);
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A table, its path for messages, and which of its keys were asked for. */
export class Table {
  private readonly known = new Set<string>();

  constructor(
    private readonly values: Record<string, unknown>,
    private readonly path: string,
    readonly problems: Problems,
  ) {}

  /** The path of a key, as messages name it. */
  at(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }

  error(key: string, words: string): void {
    this.problems.errors.push(`${this.at(key)}: ${words}`);
  }

  warn(key: string, words: string): void {
    this.problems.warnings.push(`${this.at(key)}: ${words}`);
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  /** Any value; undefined if the key is not there. */
  raw(key: string): unknown {
    this.known.add(key);
    return this.values[key];
  }

  keys(): string[] {
    return Object.keys(this.values);
  }

  text(key: string): string | undefined {
    return this.of(key, 'a text', (value) => (typeof value === 'string' && value !== '' ? value : undefined));
  }

  flag(key: string, otherwise: boolean): boolean {
    return this.of(key, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined)) ?? otherwise;
  }

  whole(key: string, { least, most }: Bounds): number | undefined {
    const fits = (value: unknown) =>
      typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most ? value : undefined;
    return this.of(key, `a whole number from ${least} to ${most}`, fits);
  }

  /** Seconds of `5m`. */
  seconds(key: string, bounds: Bounds): number | undefined {
    return this.of(key, `a time such as 90s, 5m, 2h or 3d, from ${bounds.least} s to ${bounds.most} s`, (value) => {
      const seconds = duration(value);
      return seconds !== undefined && seconds >= bounds.least && seconds <= bounds.most ? seconds : undefined;
    });
  }

  choice<T extends string>(key: string, choices: readonly T[], otherwise: T): T {
    const fits = (value: unknown) => choices.find((choice) => choice === value);
    return this.of(key, `one of ${choices.join(', ')}`, fits) ?? otherwise;
  }

  /** A list of texts, or one text alone. */
  texts(key: string): string[] | undefined {
    return this.of(key, 'a list of texts', (value) => {
      const list = typeof value === 'string' ? [value] : value;
      const good = Array.isArray(list) && list.every((text) => typeof text === 'string' && text !== '');
      return good ? (list as string[]) : undefined;
    });
  }

  /** A list of texts, each made into something; what throws an Error is a mistake with its words. */
  parsed<T>(key: string, parse: (text: string) => T): T[] | undefined {
    const texts = this.texts(key);
    if (texts?.length === 0) this.error(key, 'an empty list fits nothing');
    return texts?.flatMap((text) => {
      try {
        return [parse(text)];
      } catch (mistake) {
        this.error(key, mistake instanceof Error ? mistake.message : String(mistake));
        return [];
      }
    });
  }

  table(key: string): Table | undefined {
    const table = this.of(key, 'a table', (value) => (isTable(value) ? value : undefined));
    return table && new Table(table, this.at(key), this.problems);
  }

  /** A list of tables; messages count them from 1. */
  tables(key: string): Table[] {
    const good = (value: unknown) => (Array.isArray(value) && value.every(isTable) ? value : undefined);
    const list = this.of(key, 'a list of tables', good) ?? [];
    return list.map((table, index) => new Table(table, `${this.at(key)}[${index + 1}]`, this.problems));
  }

  /** Call it when all keys were asked for: the others are mistakes. */
  done(): void {
    for (const key of this.keys()) {
      if (!this.known.has(key)) {
        this.error(key, `there is no such key; there are ${[...this.known].sort().join(', ')}`);
      }
    }
  }

  private of<T>(key: string, what: string, fits: (value: unknown) => T | undefined): T | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    const good = fits(value);
    if (good === undefined) this.error(key, `is not ${what}`);
    return good;
  }
}
