//! What is done with an outcome, and how long a next hop is left alone. Pure: time and chance are passed in.

import type { NextHop } from 'waypost:plugin/routing@0.1.0';
import type { RecipientOutcome, ResultAction } from 'waypost:plugin/deliveries@0.1.0';
import type { Mailbox } from 'waypost:plugin/types@0.1.0';
import { duration } from '../../sdk-ts/src/duration.ts';
import { said } from '../../sdk-ts/src/replies.ts';
import type { BackOff, Rule, Settings } from './settings.ts';

/** What is known of the attempt. Times in seconds. */
export interface Attempt {
  hop: NextHop;
  /** Attempts made before this one. */
  before: number;
  queuedAt: number;
  expiresAt: number;
  now: number;
}

export interface Decision {
  rule: string;
  action: ResultAction;
}

/** Nothing is tried again with less than this left: the relay's own word holds then. */
const LEAST_LEFT = 60;
/** The last attempt comes so long before the message is given up. */
const BEFORE_EXPIRY = 30;
/** The contract's bounds for a wait. */
const WEEK = 604_800;
/** Bounds of a time that the next hop itself named: it may be anybody. */
const HINT = { least: 30, most: 6 * 3600 };

/** The first rule that fits; undefined leaves the recipient to others. `chance` is from 0 to 1. */
export function decide(
  settings: Settings,
  attempt: Attempt,
  outcome: RecipientOutcome,
  recipient: Mailbox | undefined,
  chance: number,
): Decision | undefined {
  if (outcome.kind === 'delivered') return undefined;
  const rule = settings.rules.find((rule) => fits(rule, attempt, outcome, recipient));
  if (rule === undefined) return undefined;
  const action = actionOf(rule, settings.jitterPercent, attempt, outcome, chance);
  return action && { rule: rule.name, action };
}

function fits(rule: Rule, attempt: Attempt, outcome: RecipientOutcome, recipient: Mailbox | undefined): boolean {
  const hosts = [hopName(attempt.hop), outcome.remoteName?.toLowerCase().replace(/\.$/, '')];
  return (
    attempt.before + 1 >= rule.attempts &&
    attempt.now - attempt.queuedAt >= rule.queuedFor &&
    (rule.hops?.some((hop) => hosts.some((host) => host != null && hop(host))) ?? true) &&
    (rule.recipients?.some((pattern) => recipient !== undefined && pattern(recipient)) ?? true) &&
    rule.outcome.fits(outcome)
  );
}

function actionOf(
  { action }: Rule,
  jitterPercent: number,
  attempt: Attempt,
  outcome: RecipientOutcome,
  chance: number,
): ResultAction | undefined {
  switch (action.kind) {
    case 'retry': {
      const planned = action.after[Math.min(attempt.before, action.after.length - 1)];
      const hint = action.hinted ? hintOf(said(outcome)) : undefined;
      const wait = waitOf(hint ?? planned ?? 0, hint === undefined ? jitterPercent : 0, attempt, chance);
      return wait === undefined ? undefined : { tag: 'retry-after-seconds', val: wait };
    }
    case 'bounce':
      return { tag: 'bounce', val: action.reply };
    case 'forget':
      return { tag: 'forget', val: action.why };
    case 'default':
      return { tag: 'proceed' };
  }
}

/** Seconds to wait, some percent more or less; undefined where the message has no time left. */
export function waitOf(
  planned: number,
  jitterPercent: number,
  { now, expiresAt }: { now: number; expiresAt: number },
  chance: number,
): number | undefined {
  const left = expiresAt - now;
  if (left < LEAST_LEFT) return undefined;
  const jittered = Math.round(planned * (1 + ((chance * 2 - 1) * jitterPercent) / 100));
  return Math.max(1, Math.min(jittered, left - BEFORE_EXPIRY, WEEK));
}

/** Seconds of `try again in 300 seconds`; undefined where no sensible time is named. */
export function hintOf(text: string): number | undefined {
  const [, digits, unit] = /\bin (\d{1,6}) ?(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|ours?)?\b/i.exec(text.slice(0, 500)) ?? [];
  const seconds = duration(`${digits}${unit?.toLowerCase()}`);
  // A little later than asked: clocks differ, and greylists count whole seconds.
  return seconds === undefined ? undefined : Math.min(Math.max(seconds + 5, HINT.least), HINT.most);
}

/** The domain or the host of a hop, in lower case. */
export function hopName(hop: NextHop): string {
  switch (hop.tag) {
    case 'mx':
    case 'named':
      return hop.val.toLowerCase();
    case 'smtp':
    case 'lmtp':
      return hop.val.host.toLowerCase();
  }
}

/** What the hop is called in kv. */
export function hopKey(hop: NextHop): string {
  const port = hop.tag === 'smtp' || hop.tag === 'lmtp' ? `:${hop.val.port}` : '';
  return `${hop.tag}:${hopName(hop)}${port}`.slice(0, 400);
}

/** What an attempt says about the next hop as such. */
export type Reach = 'reached' | 'unreachable' | 'unknown';

/** Unreachable only if no recipient came as far as MAIL. A hop that does not exist is no matter of waiting. */
export function reachOf(outcomes: RecipientOutcome[]): Reach {
  const early = ['resolve', 'connect', 'greeting', 'helo', 'tls'];
  if (outcomes.some(({ stage }) => stage !== 'queue' && !early.includes(stage))) return 'reached';
  const failed = outcomes.length > 0 && outcomes.every(({ stage, kind }) => early.includes(stage) && kind !== 'permanent');
  return failed ? 'unreachable' : 'unknown';
}

/** Seconds of rest after so many failures in a row; zero where there are too few. It doubles from one to the next. */
export function restAfter(failures: number, backOff: BackOff): number {
  const over = failures - backOff.failures;
  return over < 0 ? 0 : Math.min(backOff.first * 2 ** Math.min(over, 20), backOff.longest);
}
