//! `[plugins.bounce-policy.config]`, checked. Pure: asks nobody.

import type { Mailbox } from 'waypost:plugin/types@0.1.0';
import { addressPattern, domainPattern, mailbox, type AddressPattern, type DomainPattern } from '../../sdk-ts/src/addresses.ts';
import { outcomePattern, type OutcomePattern } from '../../sdk-ts/src/replies.ts';
import { Problems, read, type Table } from '../../sdk-ts/src/settings.ts';

export const BACKSCATTER = ['send', 'spf', 'never'] as const;
export const ORIGINS = ['authenticated', 'relay-client', 'stranger'] as const;
export type Origin = (typeof ORIGINS)[number];

/** A text for each language; the empty one is for all. */
export type Texts = Map<string, string>;

/** An annotation that has to be there, with that value. */
export interface Annotation {
  /** Undefined: this plugin's own. */
  plugin: string | undefined;
  key: string;
  value: string;
}

/** When something else than the standard bounce is meant, and what. */
export interface Rule {
  name: string;
  senders: AddressPattern[] | undefined;
  recipients: AddressPattern[] | undefined;
  origins: Origin[] | undefined;
  autoSubmitted: boolean | undefined;
  annotations: Annotation[];
  outcome: OutcomePattern;
  /** One failed recipient that fits is enough. */
  any: boolean;
  /** The reason, for the log. */
  suppress: string | undefined;
  redirect: Mailbox | undefined;
  headersOnly: boolean;
  preface: Texts | undefined;
}

/** Bounces that one sender, one domain or everybody together gets. */
export interface Limit {
  bounces: number;
  seconds: number;
  by: 'sender' | 'domain' | 'all';
}

export interface Settings {
  suppressTo: AddressPattern[];
  suppressAutoSubmitted: boolean;
  backscatter: (typeof BACKSCATTER)[number];
  headersOnly: boolean;
  /** Octets; messages larger than that come back without their body. */
  headersOnlyAbove: number | undefined;
  language: string;
  languages: [DomainPattern, string][];
  limit: Limit | undefined;
  rules: Rule[];
}

/** The contract's bound for a preface, in octets. */
const PREFACE_MAX = 4096;
const RULES_MAX = 200;

/** The settings; the mistakes are among the problems, and then the settings are not to be used. */
export function settings(document: string): { settings: Settings; problems: Problems } {
  const problems = new Problems();
  const table = read(document, problems);
  const rules = table.tables('rules').map(ruleOf);
  if (rules.length > RULES_MAX) table.error('rules', `there are ${rules.length}; at most ${RULES_MAX} are read`);
  const names = rules.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) table.error('rules', `two of them are named \`${twice}\``);
  const settings: Settings = {
    // RFC 3834 section 2 names those that no machine should write to on its own.
    suppressTo: table.has('suppress-to') ? addressesOf(table, 'suppress-to') : [addressPattern('mailer-daemon@')],
    suppressAutoSubmitted: table.flag('suppress-auto-submitted', false),
    backscatter: table.choice('backscatter', BACKSCATTER, 'send'),
    headersOnly: table.flag('headers-only', false),
    headersOnlyAbove: table.whole('headers-only-above', { least: 1, most: 2 ** 31 - 1 }),
    language: languageOf(table, 'language') ?? 'en',
    languages: languagesOf(table),
    limit: limitOf(table),
    rules,
  };
  if (settings.headersOnly && settings.headersOnlyAbove !== undefined) {
    table.warn('headers-only-above', 'says nothing beside headers-only');
  }
  for (const { name, preface } of rules) {
    if (preface !== undefined && !preface.has('') && !preface.has(settings.language)) {
      table.error('rules', `the preface of \`${name}\` has no text in the language \`${settings.language}\``);
    }
  }
  table.done();
  return { settings, problems };
}

/** An empty list is good: nobody. */
function addressesOf(table: Table, key: string): AddressPattern[] {
  return table.texts(key)?.length === 0 ? [] : (table.parsed(key, addressPattern) ?? []);
}

function languageOf(table: Table, key: string): string | undefined {
  const language = table.text(key)?.toLowerCase();
  if (language !== undefined && !/^[a-z]{2,3}$/.test(language)) table.error(key, 'is not a language such as en');
  return language;
}

function languagesOf(table: Table): [DomainPattern, string][] {
  const own = table.table('languages');
  const found = (own?.keys() ?? []).flatMap((domain): [DomainPattern, string][] => {
    const language = own && languageOf(own, domain);
    try {
      return language === undefined ? [] : [[domainPattern(domain), language]];
    } catch (mistake) {
      own?.error(domain, (mistake as Error).message);
      return [];
    }
  });
  return found;
}

function limitOf(table: Table): Limit | undefined {
  const own = table.table('limit');
  if (own === undefined) return undefined;
  const limit: Limit = {
    bounces: own.whole('bounces', { least: 1, most: 1_000_000 }) ?? 20,
    seconds: own.seconds('per', { least: 1, most: 86_400 }) ?? 3600,
    by: own.choice('by', ['sender', 'domain', 'all'] as const, 'sender'),
  };
  own.done();
  return limit;
}

function ruleOf(table: Table, index: number): Rule {
  const rule: Rule = {
    name: table.text('name') ?? `rule-${index + 1}`,
    senders: table.parsed('senders', addressPattern),
    recipients: table.parsed('recipients', addressPattern),
    origins: table.parsed('origins', (text) => {
      const origin = ORIGINS.find((one) => one === text);
      if (origin === undefined) throw new Error(`\`${text}\` is none of ${ORIGINS.join(', ')}`);
      return origin;
    }),
    autoSubmitted: table.has('auto-submitted') ? table.flag('auto-submitted', true) : undefined,
    annotations: annotationsOf(table),
    outcome: outcomePattern(table, ['permanent', 'expired']),
    any: table.flag('any', false),
    suppress: table.text('suppress'),
    redirect: redirectOf(table),
    headersOnly: table.flag('headers-only', false),
    preface: prefaceOf(table),
  };
  if (!/^[a-z0-9][a-z0-9_.-]{0,39}$/.test(rule.name)) table.error('name', 'has 1 to 40 of a-z, 0-9, -, _ and .');
  const edits = rule.redirect !== undefined || rule.headersOnly || rule.preface !== undefined;
  if (rule.suppress !== undefined && edits) table.error('suppress', 'leaves nothing to redirect, to preface or to shorten');
  const says = ['suppress', 'redirect', 'headers-only', 'preface'].some((key) => table.has(key));
  if (!says) table.error('suppress', 'a rule has one of suppress, redirect, headers-only and preface');
  table.done();
  return rule;
}

function redirectOf(table: Table): Mailbox | undefined {
  if (Array.isArray(table.raw('redirect'))) {
    table.error('redirect', 'is one address');
    return undefined;
  }
  return table.parsed('redirect', mailbox)?.[0];
}

function annotationsOf(table: Table): Annotation[] {
  const own = table.table('annotations');
  return (own?.keys() ?? []).flatMap((name) => {
    const value = own?.text(name);
    const [key, plugin] = name.split(':').reverse();
    if (name.split(':').length > 2 || !key || plugin === '') own?.error(name, 'is not `key` or `plugin:key`');
    return key && value !== undefined ? [{ plugin, key, value }] : [];
  });
}

/** Octets in UTF-8: QuickJS has no TextEncoder. */
function octetsOf(text: string): number {
  const octets = (point: number) => (point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4);
  return [...text].reduce((sum, character) => sum + octets(character.codePointAt(0) ?? 0), 0);
}

function prefaceOf(table: Table): Texts | undefined {
  const texts: Texts = new Map();
  const keep = (owner: Table, key: string, language: string) => {
    const text = owner.text(key);
    if (text === undefined) return;
    if (octetsOf(text) > PREFACE_MAX) owner.error(key, `has more than ${PREFACE_MAX} octets`);
    texts.set(language, text);
  };
  if (!table.has('preface')) return undefined;
  if (typeof table.raw('preface') === 'string') {
    keep(table, 'preface', '');
    return texts;
  }
  const own = table.table('preface');
  for (const language of own?.keys() ?? []) {
    if (!/^[a-z]{2,3}$/.test(language)) own?.error(language, 'is not a language such as en');
    if (own !== undefined) keep(own, language, language);
  }
  if (own !== undefined && texts.size === 0) table.error('preface', 'has no text');
  return texts;
}
