//! scripts/typescript test sdk-ts

import assert from 'node:assert/strict';
import test from 'node:test';
import { addressPattern, domainPattern, mailbox } from './addresses.ts';
import { duration } from './duration.ts';
import { outcomePattern, permanentReply } from './replies.ts';
import { Problems, read } from './settings.ts';

test('times', () => {
  for (const [text, seconds] of [['90s', 90], ['5m', 300], ['2h', 7200], ['3d', 259_200], [7, 7]]) {
    assert.equal(duration(text), seconds);
  }
  for (const text of ['', '5', 'm', '5 m', '-5m', '5w', 1.5, -1, null]) assert.equal(duration(text), undefined);
});

test('domains and addresses', () => {
  const at = (text: string) => mailbox(text);
  for (const [pattern, address, fits] of [
    ['example.org', 'ann@example.org', true],
    ['example.org', 'ann@sub.example.org', false],
    ['.example.org', 'ann@sub.example.org', true],
    ['.example.org', 'ann@example.org', false],
    ['*', 'ann@example.org', true],
    ['Ann@example.org', 'ann@example.org', true],
    ['bob@example.org', 'ann@example.org', false],
    ['mailer-daemon@', 'MAILER-DAEMON@example.net', true],
    ['root@.example.org', 'root@a.example.org', true],
  ] as const) {
    assert.equal(addressPattern(pattern)(at(address)), fits, `${pattern} ${address}`);
  }
  for (const odd of ['', 'a b', '@example.org', 'müller.example']) {
    assert.throws(() => addressPattern(odd), Error, odd);
  }
  assert.equal(domainPattern('[192.0.2.1]')('[192.0.2.1]'), true);
  for (const odd of ['ann', 'ann@', '@example.org', 'a b@example.org', '<a@example.org>']) assert.throws(() => mailbox(odd));
});

test('replies', () => {
  const otherwise = { code: 550, status: { kind: 5, subject: 0, detail: 0 }, lines: [] };
  const reply = permanentReply('554 5.7.1 no', otherwise);
  assert.deepEqual(reply, { code: 554, status: { kind: 5, subject: 7, detail: 1 }, lines: ['no'] });
  assert.equal(permanentReply('not at all', otherwise).code, 550);
  for (const odd of ['451 later', '550 4.7.1 no', '550', '550 5.7.1', '']) assert.throws(() => permanentReply(odd, otherwise));
});

test('outcomes', () => {
  const outcome = (code: number, status: string, text: string, more = {}) => {
    const [kind, subject, detail] = status.split('.').map(Number);
    const reply = { code, status: status === '' ? null : { kind, subject, detail }, lines: text.split('\n') };
    return { recipient: 0, kind: 'temporary', stage: 'rcpt', reply, details: [], ...more } as never;
  };
  const fits = (table: object, tried: never) => {
    const problems = new Problems();
    const fits = outcomePattern(read(JSON.stringify(table), problems), ['temporary', 'permanent']).fits(tried);
    assert.deepEqual(problems.errors, []);
    return fits;
  };
  const grey = outcome(451, '4.7.1', 'greylisted,\ntry later');
  for (const [table, wanted] of [
    [{}, true],
    [{ codes: ['4yz'] }, true],
    [{ codes: '45z', status: '4.7.*' }, true],
    [{ codes: ['450', '452'] }, false],
    [{ status: ['4.7.10'] }, false],
    [{ text: ['LISTED, try'] }, true],
    [{ text: 'later', stages: ['data'] }, false],
    [{ kinds: ['permanent'] }, false],
    [{ errors: 'refused' }, false],
  ] as const) {
    assert.equal(fits(table, grey), wanted, JSON.stringify(table));
  }
  assert.equal(fits({ status: '4.*' }, outcome(451, '', 'x')), false);
  const refused = outcome(0, '', '', { stage: 'connect', reply: null, details: [['error', 'Connection refused']] });
  assert.equal(fits({ stages: 'connect', errors: 'refused' }, refused), true);
  assert.equal(fits({ codes: '4yz' }, refused), false);
});

test('every mistake is told at once', () => {
  const problems = new Problems();
  const document = { a: 1, list: 'x', n: 5, rules: [{}, { codes: ['999'], odd: 1 }], d: '5w', c: 'no', t: [] };
  const table = read(JSON.stringify(document), problems);
  table.text('a');
  table.texts('list');
  table.whole('n', { least: 6, most: 9 });
  table.seconds('d', { least: 1, most: 60 });
  table.choice('c', ['yes', 'perhaps'], 'yes');
  table.table('t');
  for (const rule of table.tables('rules')) {
    outcomePattern(rule, []);
    rule.done();
  }
  table.done();
  assert.deepEqual(problems.errors.map((line) => line.split(':')[0]), ['a', 'n', 'd', 'c', 't', 'rules[2].codes', 'rules[2].odd']);
  for (const odd of ['[]', '3', '{']) {
    const problems = new Problems();
    read(odd, problems);
    assert.equal(problems.errors.length > 0, true, odd);
  }
});
