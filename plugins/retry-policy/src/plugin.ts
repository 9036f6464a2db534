//! The plugin: asks the relay, does what `rules` decides. Where kv fails, deliveries go on as if there were no back-off.

import { document } from 'waypost:plugin/config@0.1.0';
import { currentDelivery } from 'waypost:plugin/context@0.1.0';
import type { AttemptVerdict, Delivery, RecipientDisposition, RecipientOutcome } from 'waypost:plugin/deliveries@0.1.0';
import { delete as forget, getText, increment, setText } from 'waypost:plugin/kv@0.1.0';
import { write as log } from 'waypost:plugin/log@0.1.0';
import { add as count } from 'waypost:plugin/metrics@0.1.0';
import { now, randomBytes } from 'waypost:plugin/system@0.1.0';
import { hook, once, refusal, words } from '../../sdk-ts/src/hooks.ts';
import { shown } from '../../sdk-ts/src/addresses.ts';
import { decide, hopKey, reachOf, restAfter, waitOf, type Attempt } from './rules.ts';
import { settings as check, type BackOff, type Settings } from './settings.ts';

const OWN = 'own';

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

  selfTest(): void {
    if (settings().backOff === undefined) return;
    try {
      getText(OWN, 'until:');
    } catch (thrown) {
      if (refusal(thrown) === 'denied') throw 'back-off is set, and needs kv: add `grants.kv = {}` to the plugin';
    }
  },

  init(): void {},
};

export const onDeliveryAttempt = hook((): AttemptVerdict => {
  const { backOff, jitterPercent } = settings();
  if (backOff === undefined) return { tag: 'proceed' };
  const attempt = attemptOf(currentDelivery());
  const until = Number(tried('read', () => getText(OWN, `until:${hopKey(attempt.hop)}`)) ?? 0);
  const rest = until - attempt.now;
  // Nobody rests for longer than the longest rest: a clock may have been set back.
  if (!(rest > 0 && rest <= backOff.longest)) return { tag: 'proceed' };
  // Only ever later: whoever comes early would be held again.
  const wait = waitOf(rest, jitterPercent, attempt, 0.5 + chance() / 2);
  if (wait === undefined) return { tag: 'proceed' };
  count('retry-holds', 1, []);
  return { tag: 'hold-seconds', val: wait };
});

export const onDeliveryResult = hook((outcomes: RecipientOutcome[]): RecipientDisposition[] => {
  const delivery = currentDelivery();
  const attempt = attemptOf(delivery);
  const { backOff } = settings();
  if (backOff !== undefined) {
    tried('write', () => remember(outcomes, attempt, backOff));
  }
  const recipients = delivery.recipients();
  return outcomes.flatMap((outcome) => {
    const recipient = recipients.find(({ index }) => index === outcome.recipient)?.mailbox;
    const decision = decide(settings(), attempt, outcome, recipient, chance());
    if (decision === undefined) return [];
    const { rule, action } = decision;
    count('retry-decisions', 1, [['rule', rule], ['action', action.tag]]);
    const wait: [string, string][] = action.tag === 'retry-after-seconds' ? [['seconds', String(action.val)]] : [];
    const who = recipient === undefined ? '' : shown(recipient);
    log('info', `${action.tag} by the rule ${rule}`, [['recipient', who], ...wait]);
    return [{ recipient: outcome.recipient, action }];
  });
});

function attemptOf(delivery: Delivery): Attempt {
  return {
    hop: delivery.hop(),
    before: delivery.attempt(),
    queuedAt: Number(delivery.queuedAt().seconds),
    expiresAt: Number(delivery.expiresAt().seconds),
    now: Number(now().seconds),
  };
}

/** From 0 to 1. */
function chance(): number {
  return (randomBytes(1)[0] ?? 128) / 255;
}

/** Counts failures of the hop, and sets when its rest ends. */
function remember(outcomes: RecipientOutcome[], { hop, now }: Attempt, backOff: BackOff): void {
  const key = hopKey(hop);
  const reach = reachOf(outcomes);
  if (reach === 'reached' && getText(OWN, `failures:${key}`) != null) {
    forget(OWN, `failures:${key}`);
    forget(OWN, `until:${key}`);
    log('info', 'a next hop answers again', [['hop', key]]);
  }
  if (reach !== 'unreachable') return;
  // Attempts that were under way when the rest began say nothing new.
  if (Number(getText(OWN, `until:${key}`) ?? 0) > now) return;
  const failures = Number(increment(OWN, `failures:${key}`, 1, 86_400));
  const rest = restAfter(failures, backOff);
  if (rest === 0) return;
  setText(OWN, `until:${key}`, String(now + rest), rest);
  log('info', 'a next hop is left alone', [['hop', key], ['failures', String(failures)], ['seconds', String(rest)]]);
}

/** Back-off is a favour to others: what kv refuses must not keep rules from being followed. */
function tried<T>(what: string, use: () => T): T | undefined {
  try {
    return use();
  } catch (thrown) {
    log('warn', `back-off could not ${what}`, [['error', words(thrown)]]);
    return undefined;
  }
}
