//! Replies that operators write, and patterns of what next hops say. Pure.

import type { OutcomeKind, RecipientOutcome, Stage } from 'waypost:plugin/deliveries@0.1.0';
import type { Reply } from 'waypost:plugin/types@0.1.0';
import type { Table } from './settings.ts';

const STAGES: readonly Stage[] = [
  'queue', 'resolve', 'connect', 'greeting', 'helo', 'tls', 'auth', 'mail', 'rcpt', 'data', 'answer', 'done',
];
const KINDS: readonly OutcomeKind[] = ['delivered', 'temporary', 'permanent', 'expired'];

/** Characters of a reply that patterns are tried on: a stranger wrote it, and a regular expression may take its time. */
const TEXT_MAX = 500;

/** `550 5.1.1 text` for a permanent failure; what is left out is taken from `otherwise`. */
export function permanentReply(text: string, otherwise: Reply): Reply {
  let [code, status, rest] = [otherwise.code, otherwise.status, text.trim()];
  const digits = /^(\d{3})(?:\s+|$)/.exec(rest);
  if (digits !== null) {
    code = Number(digits[1]);
    if (code < 500 || code > 599) throw new Error(`\`${text}\` has to begin with a code from 500 to 599`);
    rest = rest.slice(digits[0].length);
  }
  const enhanced = /^(\d)\.(\d{1,3})\.(\d{1,3})(?:\s+|$)/.exec(rest);
  if (enhanced !== null) {
    status = { kind: Number(enhanced[1]), subject: Number(enhanced[2]), detail: Number(enhanced[3]) };
    if (status.kind !== 5) throw new Error(`\`${text}\` has a status that is not 5.x.y`);
    rest = rest.slice(enhanced[0].length);
  }
  if (rest === '') throw new Error(`\`${text}\` has no text for the sender to read`);
  return { code, status, lines: [rest] };
}

/** True for codes of `451`, `45z` or `4yz`. */
function codePattern(text: string): (code: number) => boolean {
  if (!/^[245](\d\d|\dz|yz)$/.test(text)) throw new Error(`\`${text}\` is not a code such as 451, 45z or 4yz`);
  const digits = text.replace(/[yz]/g, '');
  return (code) => String(code).startsWith(digits);
}

/** True for statuses of `4.7.1`, `4.7.*` or `4.*`. */
function statusPattern(text: string): (status: string) => boolean {
  if (!/^[245]\.(\*|\d{1,3}\.(\*|\d{1,3}))$/.test(text)) {
    throw new Error(`\`${text}\` is not a status such as 4.7.1, 4.7.* or 4.*`);
  }
  return text.endsWith('*') ? (status) => status.startsWith(text.slice(0, -1)) : (status) => status === text;
}

/** A regular expression; case is not looked at. */
export function expression(text: string): RegExp {
  try {
    return new RegExp(text, 'i');
  } catch {
    throw new Error(`\`${text}\` is not a regular expression`);
  }
}

function member<T extends string>(all: readonly T[]): (text: string) => T {
  return (text) => {
    const found = all.find((one) => one === text);
    if (found === undefined) throw new Error(`\`${text}\` is none of ${all.join(', ')}`);
    return found;
  };
}

/** The text of a reply, on one line. */
export function said(outcome: RecipientOutcome): string {
  return outcome.reply?.lines.join(' ') ?? '';
}

export function statusOf(outcome: RecipientOutcome): string {
  const status = outcome.reply?.status;
  return status == null ? '' : `${status.kind}.${status.subject}.${status.detail}`;
}

/** What has to be true of an outcome. */
export interface OutcomePattern {
  /** Nothing was asked for: fits every outcome of the default kinds. */
  readonly isOpen: boolean;
  fits(outcome: RecipientOutcome): boolean;
}

/** The keys `codes`, `status`, `text`, `errors`, `stages` and `kinds` of a rule. `kinds`: those meant where it is not there. */
export function outcomePattern(table: Table, kinds: readonly OutcomeKind[]): OutcomePattern {
  const codes = table.parsed('codes', codePattern);
  const statuses = table.parsed('status', statusPattern);
  const texts = table.parsed('text', expression);
  const errors = table.parsed('errors', expression);
  const stages = table.parsed('stages', member(STAGES));
  const wanted = table.parsed('kinds', member(KINDS)) ?? kinds;
  const error = (outcome: RecipientOutcome) => outcome.details.find(([name]) => name === 'error')?.[1] ?? '';
  return {
    isOpen: [codes, statuses, texts, errors, stages].every((list) => list === undefined),
    fits: (outcome) =>
      wanted.includes(outcome.kind) &&
      (stages?.includes(outcome.stage) ?? true) &&
      (codes?.some((fits) => outcome.reply != null && fits(outcome.reply.code)) ?? true) &&
      (statuses?.some((fits) => fits(statusOf(outcome))) ?? true) &&
      (texts?.some((text) => text.test(said(outcome).slice(0, TEXT_MAX))) ?? true) &&
      (errors?.some((text) => text.test(error(outcome).slice(0, TEXT_MAX))) ?? true),
  };
}
