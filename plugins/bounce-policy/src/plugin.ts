//! The plugin: writes down at message what a bounce will want to know, and does at bounce what `rules` decides.

import { spf } from 'waypost:plugin/auth-results@0.1.0';
import { document } from 'waypost:plugin/config@0.1.0';
import { currentDelivery, currentMessage, currentSession, currentTransaction } from 'waypost:plugin/context@0.1.0';
import type { BounceVerdict, Delivery, RecipientOutcome } from 'waypost:plugin/deliveries@0.1.0';
import { write as log } from 'waypost:plugin/log@0.1.0';
import { add as count } from 'waypost:plugin/metrics@0.1.0';
import { take } from 'waypost:plugin/rate-limits@0.1.0';
import type { MessageVerdict, Mailbox } from 'waypost:plugin/types@0.1.0';
import { hook, once, refusal } from '../../sdk-ts/src/hooks.ts';
import { autoSubmitted, decide, languageOf, limitKey, type Decision, type Noted } from './rules.ts';
import { ORIGINS, settings as check, type Limit, type Origin, type Settings } from './settings.ts';

const settings = once<Settings>(() => {
  const { settings, problems } = check(document());
  if (problems.errors.length > 0) throw `settings: ${problems.errors.join('; ')}`;
  return settings;
});

export const lifecycle = {
  validateConfig(document: string): string[] {
    const { errors, warnings } = check(document).problems;
    if (errors.length > 0) throw errors;
    return warnings;
  },

  selfTest(): void {},

  init(): void {},
};

export const onMessage = hook((): MessageVerdict => {
  const transaction = currentTransaction();
  // A bounce would go nowhere: nothing to be known about it.
  if (transaction.sender() == null) return { tag: 'proceed' };
  const message = currentMessage();
  const origin = originOf();
  if (origin !== undefined) transaction.setAnnotation('origin', origin);
  if (origin === 'stranger' && settings().backscatter === 'spf') transaction.setAnnotation('spf', spfOf());
  const auto = autoSubmitted(message.text('Auto-Submitted') ?? undefined);
  transaction.setAnnotation('auto-submitted', auto ? 'yes' : 'no');
  const language = languageOf(message.text('Content-Language') ?? undefined);
  if (language !== undefined) transaction.setAnnotation('language', language);
  return { tag: 'proceed' };
});

export const onBounce = hook((failed: RecipientOutcome[]): BounceVerdict => {
  const delivery = currentDelivery();
  const sender = delivery.sender();
  if (sender == null) return { tag: 'proceed' };
  const recipients = delivery.recipients();
  const { limit } = settings();
  let { verdict, reason } = decide(settings(), {
    sender,
    size: delivery.messageSize(),
    noted: notedOf(delivery),
    failed: failed.map((outcome) => ({
      outcome,
      mailbox: recipients.find(({ index }) => index === outcome.recipient)?.mailbox,
    })),
    annotation: ({ plugin, key }) => delivery.annotation(plugin, key) ?? undefined,
  });
  if (limit !== undefined && verdict.tag !== 'suppress') {
    ({ verdict, reason } = limited(limit, sender) ?? { verdict, reason });
  }
  count('bounces', 1, [['action', verdict.tag], ['reason', reason]]);
  if (verdict.tag !== 'proceed') log('info', `${verdict.tag} a bounce`, [['reason', reason]]);
  return verdict;
});

/** Undefined for messages that the relay itself made or took over: nobody sent them. */
function originOf(): Origin | undefined {
  try {
    const session = currentSession();
    if (session.identity() != null) return 'authenticated';
    return session.mayRelay() ? 'relay-client' : 'stranger';
  } catch (thrown) {
    if (refusal(thrown) === undefined) throw thrown;
    return undefined;
  }
}

function spfOf(): string {
  try {
    return spf().status;
  } catch (thrown) {
    if (refusal(thrown) === undefined) throw thrown;
    return 'unavailable';
  }
}

function notedOf(delivery: Delivery): Noted {
  const own = (key: string) => delivery.annotation(undefined, key) ?? undefined;
  const auto = own('auto-submitted');
  return {
    origin: ORIGINS.find((origin) => origin === own('origin')),
    spf: own('spf'),
    autoSubmitted: auto === undefined ? undefined : auto === 'yes',
    language: own('language'),
  };
}

/** The decision in place of another one if the sender has had its share. */
function limited(limit: Limit, sender: Mailbox): Decision | undefined {
  const quota = { burst: limit.bounces, refill: limit.bounces, periodMillis: limit.seconds * 1000 };
  if (take(limitKey(limit, sender), quota, 1).allowed) return undefined;
  const words = `more than ${limit.bounces} bounces in ${limit.seconds} s`;
  return { verdict: { tag: 'suppress', val: words }, reason: 'limit' };
}
