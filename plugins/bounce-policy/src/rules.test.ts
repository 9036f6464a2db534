//! scripts/typescript test bounce-policy

import assert from 'node:assert/strict';
import test from 'node:test';
import { mailbox } from '../../sdk-ts/src/addresses.ts';
import { autoSubmitted, decide, languageOf, limitKey, type Case } from './rules.ts';
import { settings } from './settings.ts';

function outcome(text: string, more = {}) {
  const [, code, kind, subject, detail, words] = /^(\d+) (?:(\d)\.(\d+)\.(\d+) )?(.*)$/.exec(text) ?? [];
  const status = kind === undefined ? null : { kind: +kind, subject: +subject!, detail: +detail! };
  return { recipient: 0, kind: 'permanent', stage: 'rcpt', reply: { code: +code!, status, lines: [words] }, details: [], ...more } as never;
}

const UNKNOWN = { outcome: outcome('550 5.1.1 no such mailbox'), mailbox: mailbox('bob@example.com') };
const SPAM = { outcome: outcome('554 5.7.1 spam'), mailbox: mailbox('eve@example.net') };

function about(more: object = {}): Case {
  const noted = { origin: undefined, spf: undefined, autoSubmitted: undefined, language: undefined };
  return { sender: mailbox('ann@example.org'), size: 1000, noted, failed: [UNKNOWN], annotation: () => undefined, ...more };
}

function decided(config: object, more: object = {}) {
  const checked = settings(JSON.stringify(config));
  assert.deepEqual(checked.problems.errors, []);
  const { verdict, reason } = decide(checked.settings, about(more));
  return { verdict, reason, text: `${verdict.tag} ${reason}` };
}

test('without settings only mailer-daemon is not told', () => {
  assert.equal(decided({}).text, 'proceed none');
  assert.equal(decided({}, { sender: mailbox('MAILER-DAEMON@example.org') }).text, 'suppress role');
  assert.equal(decided({ 'suppress-to': [] }, { sender: mailbox('mailer-daemon@example.org') }).text, 'proceed none');
  const roles = { 'suppress-to': ['no-reply@', '.bulk.example'] };
  assert.equal(decided(roles, { sender: mailbox('no-reply@example.org') }).text, 'suppress role');
  assert.equal(decided(roles, { sender: mailbox('x@a.bulk.example') }).text, 'suppress role');
});

test('machines and strangers', () => {
  const noted = (more: object) => ({ noted: { ...about().noted, ...more } });
  for (const [config, known, expected] of [
    [{ 'suppress-auto-submitted': true }, { autoSubmitted: true }, 'suppress auto-submitted'],
    [{ 'suppress-auto-submitted': true }, { autoSubmitted: false }, 'proceed none'],
    [{ 'suppress-auto-submitted': true }, {}, 'proceed none'],
    [{}, { autoSubmitted: true }, 'proceed none'],
    [{ backscatter: 'never' }, { origin: 'stranger' }, 'suppress backscatter'],
    [{ backscatter: 'never' }, { origin: 'authenticated' }, 'proceed none'],
    [{ backscatter: 'never' }, {}, 'proceed none'],
    [{ backscatter: 'spf' }, { origin: 'stranger', spf: 'fail' }, 'suppress backscatter'],
    [{ backscatter: 'spf' }, { origin: 'stranger', spf: 'none' }, 'suppress backscatter'],
    [{ backscatter: 'spf' }, { origin: 'stranger', spf: 'pass' }, 'proceed none'],
    [{ backscatter: 'spf' }, { origin: 'stranger', spf: 'temperror' }, 'proceed none'],
    [{ backscatter: 'spf' }, { origin: 'stranger', spf: 'unavailable' }, 'proceed none'],
    [{ backscatter: 'spf' }, { origin: 'stranger' }, 'proceed none'],
    [{ backscatter: 'spf' }, { origin: 'relay-client', spf: 'fail' }, 'proceed none'],
  ] as const) {
    assert.equal(decided(config, noted(known)).text, expected, JSON.stringify([config, known]));
  }
});

test('a rule fits all failed recipients, or any', () => {
  const rule = { name: 'spam', status: '5.7.*', suppress: 'it was spam' };
  const both = { failed: [UNKNOWN, SPAM] };
  assert.equal(decided({ rules: [rule] }, { failed: [SPAM] }).text, 'suppress spam');
  assert.equal(decided({ rules: [rule] }, both).text, 'proceed none');
  assert.equal(decided({ rules: [{ ...rule, any: true }] }, both).text, 'suppress spam');
  const here = { name: 'here', recipients: 'example.com', codes: '550', text: 'no such', suppress: 'typo' };
  assert.equal(decided({ rules: [here] }).text, 'suppress here');
  assert.equal(decided({ rules: [here] }, both).text, 'proceed none');
  const warned = outcome('451 4.0.0 later', { kind: 'temporary' });
  assert.equal(decided({ rules: [{ suppress: 'x' }] }, { failed: [{ outcome: warned }] }).text, 'proceed none');
});

test('rules look at the sender, the origin and annotations', () => {
  const noted = { ...about().noted, origin: 'authenticated', autoSubmitted: false };
  for (const [rule, fits] of [
    [{ senders: ['example.org'] }, true],
    [{ senders: ['bob@example.org'] }, false],
    [{ origins: ['authenticated'] }, true],
    [{ origins: ['stranger', 'relay-client'] }, false],
    [{ 'auto-submitted': false }, true],
    [{ 'auto-submitted': true }, false],
    [{ annotations: { campaign: 'a' } }, true],
    [{ annotations: { campaign: 'a', 'rspamd:score': '1' } }, false],
    [{ annotations: { 'greylist:greylist': 'x' } }, false],
  ] as const) {
    const annotation = ({ plugin, key }: { plugin?: string; key: string }) => (plugin == null && key === 'campaign' ? 'a' : undefined);
    const tag = decided({ rules: [{ ...rule, suppress: 'x' }] }, { noted, annotation }).verdict.tag;
    assert.equal(tag, fits ? 'suppress' : 'proceed', JSON.stringify(rule));
  }
});

test('bounces are redirected, shortened and prefaced', () => {
  const edit = (config: object, more: object = {}) => {
    const { verdict } = decided(config, more);
    return verdict.tag === 'edit' ? verdict.val : undefined;
  };
  const desk = { senders: 'example.org', redirect: 'bounces@Example.org' };
  assert.deepEqual(edit({ rules: [desk] })?.redirectTo, { localPart: 'bounces', domain: 'example.org' });
  assert.equal(edit({ rules: [{ redirect: 'bob@example.com' }] }), undefined, 'to whom it could not be delivered');
  assert.equal(edit({ 'headers-only': true })?.returnHeadersOnly, true);
  assert.equal(edit({ 'headers-only-above': 999 })?.returnHeadersOnly, true);
  assert.equal(edit({ 'headers-only-above': 1000 }), undefined);
  assert.equal(edit({ rules: [{ 'headers-only': true }] })?.returnHeadersOnly, true);
  const preface = 'Sorry: {recipients} said {reply}. {other}';
  assert.equal(edit({ rules: [{ preface }] })?.preface, 'Sorry: bob@example.com said no such mailbox. {other}');
  const many = { failed: Array.from({ length: 9 }, () => UNKNOWN) };
  assert.match(edit({ rules: [{ preface }] }, many)?.preface ?? '', /(bob@example.com, ){5}…/);
});

test('a preface comes in the language of the message, of the domain, or of the house', () => {
  const config = { language: 'en', languages: { '.de': 'de', 'example.fr': 'fr' }, rules: [{ preface: { en: 'sorry', de: 'leider' } }] };
  const said = (sender: string, language?: string) => {
    const { verdict } = decided(config, { sender: mailbox(sender), noted: { ...about().noted, language } });
    return verdict.tag === 'edit' ? verdict.val.preface : undefined;
  };
  assert.equal(said('ann@example.org'), 'sorry');
  assert.equal(said('ann@example.de'), 'leider');
  assert.equal(said('ann@example.fr'), 'sorry', 'no such text');
  assert.equal(said('ann@example.org', 'de'), 'leider');
  assert.equal(said('ann@example.de', 'en'), 'sorry');
});

test('fields of the message', () => {
  for (const [field, auto] of [
    [undefined, false], ['', false], ['no', false], ['No (human)', false], ['auto-replied', true],
    ['auto-generated; type=x', true], ['AUTO-NOTIFIED', true],
  ] as const) {
    assert.equal(autoSubmitted(field), auto, field);
  }
  for (const [field, language] of [
    ['de', 'de'], ['de-AT, en', 'de'], [' EN', 'en'], ['german', undefined], ['', undefined], [undefined, undefined],
  ] as const) {
    assert.equal(languageOf(field), language, field);
  }
});

test('limits have keys of their own', () => {
  const sender = mailbox('Ann@Example.org');
  const limit = { bounces: 1, seconds: 1 };
  assert.equal(limitKey({ ...limit, by: 'sender' }, sender), 'sender ann@example.org');
  assert.equal(limitKey({ ...limit, by: 'domain' }, sender), 'domain example.org');
  assert.equal(limitKey({ ...limit, by: 'all' }, sender), 'all');
});

test('every mistake in the settings is named', () => {
  const wrong = {
    'suppress-to': ['a b'],
    'suppress-auto-submitted': 'yes',
    backscatter: 'maybe',
    'headers-only-above': 0,
    language: 'english',
    languages: { '.d e': 'de', '.fr': 1 },
    limit: { bounces: 0, per: '5w', by: 'moon', odd: 1 },
    rules: [
      { codes: '55' },
      { suppress: 'x', redirect: 'a@b.example' },
      { redirect: 'nobody' },
      { preface: { english: 'x' } },
      { preface: { de: 'nur deutsch' } },
      { preface: 'x'.repeat(5000) },
      { name: 'Bad name', origins: ['moon'], annotations: { 'a:b:c': 'x' }, suppress: 'x' },
    ],
    odd: 1,
  };
  const keys = settings(JSON.stringify(wrong)).problems.errors.map((line) => line.split(': ')[0]).sort();
  assert.deepEqual(keys, [
    'backscatter', 'headers-only-above', 'language', 'languages..d e', 'languages..fr', 'limit.bounces', 'limit.by', 'limit.odd',
    'limit.per', 'odd', 'rules', 'rules[1].codes', 'rules[1].suppress', 'rules[2].suppress', 'rules[3].redirect',
    'rules[4].preface.english', 'rules[6].preface', 'rules[7].annotations.a:b:c', 'rules[7].name', 'rules[7].origins',
    'suppress-auto-submitted', 'suppress-to',
  ]);
  assert.deepEqual(settings('{}').problems.errors, []);
});
