//! What becomes of a bounce. Pure: what is known of the message and its sender is passed in.

import type { BounceVerdict, RecipientOutcome } from 'waypost:plugin/deliveries@0.1.0';
import type { Mailbox } from 'waypost:plugin/types@0.1.0';
import { shown } from '../../sdk-ts/src/addresses.ts';
import { said } from '../../sdk-ts/src/replies.ts';
import type { Annotation, Limit, Origin, Rule, Settings, Texts } from './settings.ts';

/** What was written down when the message came; undefined where nobody looked. */
export interface Noted {
  origin: Origin | undefined;
  /** SPF result. */
  spf: string | undefined;
  autoSubmitted: boolean | undefined;
  language: string | undefined;
}

/** What is known of the bounce. */
export interface Case {
  sender: Mailbox;
  size: number;
  noted: Noted;
  /** Each failed recipient; its address is not known if the relay does not name it. */
  failed: { outcome: RecipientOutcome; mailbox: Mailbox | undefined }[];
  annotation(wanted: Annotation): string | undefined;
}

/** A verdict, and the reason under which it is counted. */
export interface Decision {
  verdict: BounceVerdict;
  reason: string;
}

/** Recipients that a preface names; there may be a thousand. */
const NAMED_MAX = 5;

export function decide(settings: Settings, about: Case): Decision {
  const why = unwanted(settings, about);
  if (why !== undefined) return why;
  const rule = settings.rules.find((rule) => fits(rule, about));
  if (rule?.suppress !== undefined) return suppress(rule.name, rule.suppress);
  // Where the bounce would go to an address that has just failed, it goes to the sender as ever.
  const known = rule?.redirect;
  const failedToo = about.failed.some(({ mailbox }) => known && mailbox && shown(mailbox) === shown(known));
  const redirectTo = failedToo ? undefined : known;
  const large = settings.headersOnlyAbove !== undefined && about.size > settings.headersOnlyAbove;
  const returnHeadersOnly = settings.headersOnly || large || (rule?.headersOnly ?? false);
  const text = rule?.preface && textFor(rule.preface, settings, about);
  const preface = text && filled(text, about);
  if (redirectTo === undefined && !returnHeadersOnly && preface === undefined) {
    return { verdict: { tag: 'proceed' }, reason: rule?.name ?? 'none' };
  }
  const edit = { preface, returnHeadersOnly, redirectTo, options: [] };
  return { verdict: { tag: 'edit', val: edit }, reason: rule?.name ?? 'size' };
}

function suppress(reason: string, words: string): Decision {
  return { verdict: { tag: 'suppress', val: words }, reason };
}

/** What no rule is asked about. On doubt the sender is told. */
function unwanted(settings: Settings, { sender, noted }: Case): Decision | undefined {
  if (settings.suppressTo.some((pattern) => pattern(sender))) {
    return suppress('role', `${shown(sender)} is never told`);
  }
  if (settings.suppressAutoSubmitted && noted.autoSubmitted) {
    return suppress('auto-submitted', 'the message was sent by a machine (Auto-Submitted)');
  }
  if (noted.origin !== 'stranger') return undefined;
  if (settings.backscatter === 'never') {
    return suppress('backscatter', 'the message came from a stranger, who may have made its sender up');
  }
  // A check that could not be done is no proof of forgery: only what SPF could say against the sender counts.
  const doubtful = noted.spf !== undefined && !['pass', 'temperror', 'unavailable'].includes(noted.spf);
  if (settings.backscatter === 'spf' && doubtful) {
    return suppress('backscatter', `the message came from a stranger, and SPF says ${noted.spf} of its sender`);
  }
  return undefined;
}

function fits(rule: Rule, about: Case): boolean {
  const { sender, noted, failed } = about;
  const one = ({ outcome, mailbox }: Case['failed'][number]) =>
    rule.outcome.fits(outcome) &&
    (rule.recipients?.some((pattern) => mailbox !== undefined && pattern(mailbox)) ?? true);
  return (
    (rule.senders?.some((pattern) => pattern(sender)) ?? true) &&
    (rule.origins?.some((origin) => origin === noted.origin) ?? true) &&
    (rule.autoSubmitted === undefined || rule.autoSubmitted === noted.autoSubmitted) &&
    rule.annotations.every((wanted) => about.annotation(wanted) === wanted.value) &&
    (rule.any ? failed.some(one) : failed.every(one))
  );
}

/** In the message's own language if there is a text, then in that of the sender's domain, then in the operator's. */
function textFor(texts: Texts, settings: Settings, { sender, noted }: Case): string | undefined {
  const ofDomain = settings.languages.find(([domain]) => domain(sender.domain))?.[1];
  const wanted = [noted.language, ofDomain, settings.language, ''];
  return wanted.map((language) => (language === undefined ? undefined : texts.get(language))).find((text) => text !== undefined);
}

/** `{recipients}` and `{reply}` in a preface. */
function filled(text: string, { failed }: Case): string {
  const named = failed.flatMap(({ mailbox }) => (mailbox === undefined ? [] : [shown(mailbox)]));
  const more = named.length > NAMED_MAX ? ', …' : '';
  const reply = failed.map(({ outcome }) => said(outcome)).find((text) => text !== '') ?? '';
  const values: Record<string, string> = {
    '{recipients}': named.slice(0, NAMED_MAX).join(', ') + more,
    '{reply}': reply.slice(0, 300),
  };
  return text.replace(/\{(recipients|reply)\}/g, (name) => values[name] ?? name);
}

/** Under which name the bounces of a limit are counted. */
export function limitKey(limit: Limit, sender: Mailbox): string {
  switch (limit.by) {
    case 'sender':
      return `sender ${shown(sender).toLowerCase().slice(0, 330)}`;
    case 'domain':
      return `domain ${sender.domain.slice(0, 260)}`;
    case 'all':
      return 'all';
  }
}

/** True for `auto-replied` and its like (RFC 3834 section 5): everything but `no` and a field that is not there. */
export function autoSubmitted(field: string | undefined): boolean {
  const word = field?.split(/[;\s(]/)[0]?.toLowerCase() ?? '';
  return word !== '' && word !== 'no';
}

/** `de` of `de-AT, en`; undefined for what is no language (RFC 3282). */
export function languageOf(field: string | undefined): string | undefined {
  return /^\s*([a-z]{2,3})(?![a-z])/i.exec(field ?? '')?.[1]?.toLowerCase();
}
