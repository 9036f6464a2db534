//! `[plugins.retry-policy.config]`, checked. Pure: asks nobody.

import type { Reply } from 'waypost:plugin/types@0.1.0';
import { addressPattern, domainPattern, type AddressPattern, type DomainPattern } from '../../sdk-ts/src/addresses.ts';
import { duration } from '../../sdk-ts/src/duration.ts';
import { outcomePattern, permanentReply, type OutcomePattern } from '../../sdk-ts/src/replies.ts';
import { Problems, read, type Table } from '../../sdk-ts/src/settings.ts';

/** What becomes of a recipient. */
export type Action =
  | { kind: 'retry'; after: number[]; hinted: boolean }
  | { kind: 'bounce'; reply: Reply }
  | { kind: 'forget'; why: string }
  | { kind: 'default' };

/** When an action is meant, and which. */
export interface Rule {
  name: string;
  recipients: AddressPattern[] | undefined;
  hops: DomainPattern[] | undefined;
  outcome: OutcomePattern;
  /** Attempts that have to have been made, the one just made among them. */
  attempts: number;
  /** Seconds that the message has to have been queued. */
  queuedFor: number;
  action: Action;
}

/** Rest for a next hop that can't be reached. Seconds. */
export interface BackOff {
  failures: number;
  first: number;
  longest: number;
}

export interface Settings {
  jitterPercent: number;
  rules: Rule[];
  backOff: BackOff | undefined;
}

/** The contract's bound for a wait. */
const WEEK = 604_800;
const RULES_MAX = 200;
const TIMES_MAX = 50;

/** What is done where the operator's rules say nothing. Waits as short as greylists are; RFC 6647 section 5 has them at minutes. */
const BUILT_IN = [
  {
    name: 'greylisted',
    kinds: ['temporary'],
    stages: ['mail', 'rcpt', 'data', 'answer'],
    text: ['gr[ae]y-?\\s?list', 'try again in \\d+ (s|m)'],
    retry: ['5m', '10m', '20m', '1h', '2h'],
    hint: true,
  },
  {
    name: 'mailbox-full',
    kinds: ['temporary'],
    status: ['4.2.2'],
    retry: ['1h', '4h', '12h'],
  },
];

/** The settings; the mistakes are among the problems, and then the settings are not to be used. */
export function settings(document: string): { settings: Settings; problems: Problems } {
  const problems = new Problems();
  const table = read(document, problems);
  const jitterPercent = table.whole('jitter-percent', { least: 0, most: 50 }) ?? 10;
  const schedules = schedulesOf(table);
  const rules = table.tables('rules').map((rule, index) => ruleOf(rule, index, schedules));
  if (rules.length > RULES_MAX) table.error('rules', `there are ${rules.length}; at most ${RULES_MAX} are read`);
  const names = new Set<string>();
  for (const { name } of rules) {
    if (names.has(name)) table.error('rules', `two of them are named \`${name}\``);
    names.add(name);
  }
  const builtIn = table.flag('built-in-rules', true);
  const backOff = backOffOf(table);
  table.done();
  if (!builtIn && rules.length === 0 && backOff === undefined) {
    problems.warnings.push('there are no rules and no back-off: the plugin changes nothing');
  }
  if (builtIn) rules.push(...builtInRules());
  return { settings: { jitterPercent, rules, backOff }, problems };
}

function builtInRules(): Rule[] {
  return BUILT_IN.map((rule, index) => {
    const table = read(JSON.stringify(rule), new Problems());
    return ruleOf(table, index, new Map());
  });
}

function schedulesOf(table: Table): Map<string, number[]> {
  const schedules = new Map<string, number[]>();
  const named = table.table('schedules');
  for (const name of named?.keys() ?? []) {
    const times = named && timesOf(named, name);
    if (times !== undefined) schedules.set(name, times);
  }
  return schedules;
}

function timesOf(table: Table, key: string): number[] | undefined {
  const times = table.parsed(key, (text) => {
    const seconds = duration(text);
    if (seconds === undefined || seconds < 1 || seconds > WEEK) {
      throw new Error(`\`${text}\` is not a time such as 90s, 5m, 2h or 3d, of at most a week`);
    }
    return seconds;
  });
  if (times !== undefined && times.length > TIMES_MAX) table.error(key, `has more than ${TIMES_MAX} times`);
  return times;
}

function ruleOf(table: Table, index: number, schedules: Map<string, number[]>): Rule {
  const action = actionOf(table, schedules);
  // What is given up for good has to be given up on purpose: expired recipients only where a rule names them.
  const outcome = outcomePattern(table, ['temporary', 'permanent']);
  const rule: Rule = {
    name: table.text('name') ?? `rule-${index + 1}`,
    recipients: table.parsed('recipients', addressPattern),
    hops: table.parsed('hops', domainPattern),
    outcome,
    attempts: table.whole('attempts', { least: 1, most: 1000 }) ?? 1,
    queuedFor: table.seconds('queued-for', { least: 0, most: 60 * 86_400 }) ?? 0,
    action,
  };
  if (!/^[a-z0-9][a-z0-9_.-]{0,39}$/.test(rule.name)) table.error('name', 'has 1 to 40 of a-z, 0-9, -, _ and .');
  const everything = outcome.isOpen && rule.recipients === undefined && rule.hops === undefined;
  if (everything && rule.attempts === 1 && rule.queuedFor === 0 && (action.kind === 'bounce' || action.kind === 'forget')) {
    table.warn(action.kind, 'gives up everything that fails once; say what it is meant for');
  }
  table.done();
  return rule;
}

function actionOf(table: Table, schedules: Map<string, number[]>): Action {
  const given = ['retry', 'schedule', 'bounce', 'forget', 'default'].filter((key) => table.has(key));
  if (given.length !== 1) {
    table.error(given[1] ?? 'retry', 'a rule has exactly one of retry, schedule, bounce, forget and default');
    for (const key of given) table.raw(key);
  }
  const hinted = table.flag('hint', false);
  if (hinted && given[0] !== 'retry' && given[0] !== 'schedule') table.error('hint', 'goes with retry or schedule');
  switch (given[0]) {
    case 'retry':
      return { kind: 'retry', after: timesOf(table, 'retry') ?? [], hinted };
    case 'schedule': {
      const name = table.text('schedule');
      const after = name === undefined ? undefined : schedules.get(name);
      if (name !== undefined && after === undefined) table.error('schedule', `there is no \`${name}\` among schedules`);
      return { kind: 'retry', after: after ?? [], hinted };
    }
    case 'bounce': {
      const reply = { code: 550, status: { kind: 5, subject: 4, detail: 7 }, lines: [] };
      return { kind: 'bounce', reply: table.parsed('bounce', (text) => permanentReply(text, reply))?.[0] ?? reply };
    }
    case 'forget':
      return { kind: 'forget', why: table.text('forget') ?? '' };
    default:
      if (given[0] === 'default' && !table.flag('default', false)) table.error('default', 'is true where it is there');
      return { kind: 'default' };
  }
}

function backOffOf(table: Table): BackOff | undefined {
  const own = table.table('back-off');
  if (own === undefined) return undefined;
  const backOff = {
    failures: own.whole('failures', { least: 1, most: 1000 }) ?? 3,
    first: own.seconds('first', { least: 10, most: 86_400 }) ?? 300,
    longest: own.seconds('longest', { least: 10, most: 86_400 }) ?? 7200,
  };
  if (backOff.longest < backOff.first) own.error('longest', `is shorter than first, which is ${backOff.first} s`);
  own.done();
  return backOff;
}
