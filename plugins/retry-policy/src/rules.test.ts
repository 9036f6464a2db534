//! scripts/typescript test retry-policy

import assert from 'node:assert/strict';
import test from 'node:test';
import { decide, hintOf, hopKey, reachOf, restAfter, waitOf, type Attempt } from './rules.ts';
import { settings } from './settings.ts';

const DAY = 86_400;
const NOW = 1_795_694_400;
const HOP = { tag: 'mx', val: 'example.com' } as const;
const BOB = { localPart: 'bob', domain: 'example.com' };

function attempt(more: Partial<Attempt> = {}): Attempt {
  return { hop: HOP, before: 0, queuedAt: NOW - 60, expiresAt: NOW + 5 * DAY, now: NOW, ...more };
}

function outcome(text: string, more = {}) {
  const [, code, kind, subject, detail, words] = /^(\d+) (?:(\d)\.(\d+)\.(\d+) )?(.*)$/.exec(text) ?? [];
  const status = kind === undefined ? null : { kind: +kind, subject: +subject!, detail: +detail! };
  const reply = { code: Number(code), status, lines: [words] };
  const failed = Number(code) >= 500 ? 'permanent' : 'temporary';
  return { recipient: 0, kind: failed, stage: 'rcpt', reply, remoteName: 'MX.example.com.', details: [], ...more } as never;
}

function decided(config: object, said: never, more: Partial<Attempt> = {}) {
  const checked = settings(JSON.stringify({ 'jitter-percent': 0, ...config }));
  assert.deepEqual(checked.problems.errors, []);
  const decision = decide(checked.settings, attempt(more), said, BOB, 0.5);
  return decision && `${decision.rule} ${decision.action.tag} ${JSON.stringify('val' in decision.action ? decision.action.val : null)}`;
}

test('built-in rules know greylists and full mailboxes', () => {
  for (const [said, before, expected] of [
    ['451 4.7.1 greylisted, come back', 0, 'greylisted retry-after-seconds 300'],
    ['450 4.2.0 Recipient address rejected: Greylisted', 1, 'greylisted retry-after-seconds 600'],
    ['451 4.7.1 grey listing in action', 9, 'greylisted retry-after-seconds 7200'],
    ['451 4.7.1 greylisted, please try again in 120 seconds', 0, 'greylisted retry-after-seconds 125'],
    ['452 4.2.2 mailbox full', 0, 'mailbox-full retry-after-seconds 3600'],
    ['451 4.3.0 out of order', 0, undefined],
    ['550 5.7.1 greylisted for ever', 0, undefined],
  ] as const) {
    assert.equal(decided({}, outcome(said), { before }), expected, said);
  }
  assert.equal(decided({ 'built-in-rules': false }, outcome('451 4.7.1 greylisted')), undefined);
  assert.equal(decided({}, outcome('250 ok', { kind: 'delivered' })), undefined);
});

test('a permanent failure may be temporary, and the other way round', () => {
  const rules = [
    { name: 'throttled', codes: '5yz', text: 'too many connections', retry: ['15m', '1h'] },
    { name: 'gone', codes: '450', status: '4.1.*', bounce: '550 5.1.1 that mailbox is gone' },
    { name: 'ads', recipients: '.ads.example', forget: 'nobody cares' },
  ];
  assert.equal(decided({ rules }, outcome('554 5.7.0 Too many connections')), 'throttled retry-after-seconds 900');
  assert.match(decided({ rules }, outcome('450 4.1.1 unknown'))!, /^gone bounce {"code":550,.*"that mailbox is gone"/);
  assert.equal(decided({ rules }, outcome('550 5.1.1 unknown')), undefined);
  const expired = outcome('450 4.1.1 unknown', { kind: 'expired' });
  assert.equal(decided({ rules }, expired), undefined, 'expired only where a rule names it');
});

test('rules look at the hop, the stage, the number of attempts and the age', () => {
  const rules = [
    { name: 'tired', attempts: 3, hops: 'mx.example.com', codes: '4yz', bounce: 'we have tried three times' },
    { name: 'old', 'queued-for': '2d', recipients: 'bob@', bounce: 'two days are enough' },
    { name: 'refused', stages: 'connect', errors: 'refused', retry: '2m' },
    { name: 'left', hops: '.example.com', default: true },
    { name: 'rest', schedule: 'slow' },
  ];
  const config = { rules, schedules: { slow: ['1h', '2h'] } };
  const dead = outcome('451 4.4.1 no', { stage: 'connect', reply: null, remoteName: null, details: [['error', 'Connection refused']] });
  assert.match(decided(config, outcome('451 4.0.0 no'), { before: 2 })!, /^tired bounce/);
  assert.match(decided(config, outcome('451 4.0.0 no'), { queuedAt: NOW - 2 * DAY })!, /^old bounce/);
  assert.equal(decided(config, dead), 'refused retry-after-seconds 120');
  assert.equal(decided(config, outcome('451 4.0.0 no')), 'left proceed null');
  const elsewhere = outcome('451 4.0.0 no', { remoteName: null });
  assert.equal(decided(config, elsewhere), 'rest retry-after-seconds 3600');
  assert.equal(decided(config, elsewhere, { before: 7 }), 'rest retry-after-seconds 7200');
});

test('nothing waits past the end', () => {
  const rules = [{ codes: '4yz', retry: '4h' }];
  for (const [left, expected] of [
    [5 * DAY, 'rule-1 retry-after-seconds 14400'],
    [3600, 'rule-1 retry-after-seconds 3570'],
    [60, 'rule-1 retry-after-seconds 30'],
    [59, undefined],
    [-5, undefined],
  ] as const) {
    assert.equal(decided({ rules }, outcome('451 4.0.0 no'), { expiresAt: NOW + left }), expected, String(left));
  }
});

test('chance moves a wait by some percent', () => {
  for (const [chance, expected] of [[0, 90], [0.5, 100], [1, 110]] as const) {
    assert.equal(waitOf(100, 10, attempt(), chance), expected);
  }
  assert.equal(waitOf(0, 10, attempt(), 0), 1);
  assert.equal(waitOf(700_000, 0, attempt({ expiresAt: NOW + 30 * DAY }), 0), 604_800);
});

test('times that next hops name', () => {
  for (const [text, seconds] of [
    ['please try again in 300 seconds', 305],
    ['try again in 5 minutes', 305],
    ['retry in 1 hour', 3605],
    ['in 10s', 30],
    ['in 999999 s', 21_600],
    ['in 5 days', undefined],
    ['listed in 3 lists', undefined],
    ['', undefined],
  ] as const) {
    assert.equal(hintOf(text), seconds, text);
  }
});

test('a hop is left alone for longer and longer', () => {
  const backOff = { failures: 3, first: 300, longest: 7200 };
  assert.deepEqual([1, 2, 3, 4, 5, 8, 99].map((n) => restAfter(n, backOff)), [0, 0, 300, 600, 1200, 7200, 7200]);
  const at = (stage: string, kind = 'temporary') => ({ stage, kind, details: [], recipient: 0 }) as never;
  for (const [outcomes, reach] of [
    [[at('connect'), at('connect')], 'unreachable'],
    [[at('connect', 'expired')], 'unreachable'],
    [[at('resolve', 'permanent')], 'unknown'],
    [[at('queue')], 'unknown'],
    [[at('rcpt'), at('connect')], 'reached'],
    [[at('done', 'delivered')], 'reached'],
    [[], 'unknown'],
  ] as const) {
    assert.equal(reachOf(outcomes as never), reach);
  }
  assert.equal(hopKey({ tag: 'smtp', val: { host: 'MX.example.com', port: 2525 } }), 'smtp:mx.example.com:2525');
  assert.equal(hopKey({ tag: 'lmtp', val: { host: 'unix:/run/x', port: 0 } }), 'lmtp:unix:/run/x:0');
});

test('every mistake in the settings is named', () => {
  const wrong = {
    'jitter-percent': 80,
    schedules: { slow: ['5w'], none: [] },
    rules: [
      { codes: '6yz', retry: '5m' },
      { retry: '5m', bounce: '550 no' },
      { schedule: 'fast' },
      { text: '(', bounce: '450 no', hint: true },
      { name: 'A b', default: false },
      { name: 'x', default: true },
      { name: 'x', default: true },
      {},
    ],
    'back-off': { first: '2h', longest: '1h', odd: 1 },
    rulez: [],
  };
  const { problems } = settings(JSON.stringify(wrong));
  const keys = problems.errors.map((line) => line.split(': ')[0]).sort();
  assert.deepEqual(keys, [
    'back-off.longest', 'back-off.odd', 'jitter-percent', 'rules', 'rules[1].codes', 'rules[2].bounce', 'rules[3].schedule',
    'rules[4].bounce', 'rules[4].hint', 'rules[4].text', 'rules[5].default', 'rules[5].name', 'rules[8].retry', 'rulez',
    'schedules.none', 'schedules.slow',
  ]);
  assert.deepEqual(settings('').problems, settings('{}').problems);
  assert.equal(settings('{}').problems.warnings.length, 0);
  const idle = settings('{"built-in-rules": false}').problems.warnings;
  assert.match(idle.join(), /changes nothing/);
  const rash = settings('{"rules": [{"bounce": "no"}]}').problems.warnings;
  assert.match(rash.join(), /gives up everything/);
});
