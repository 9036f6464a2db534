// node --test tests/components/guests/doorman/
import assert from 'node:assert/strict';
import test from 'node:test';
import * as rules from './rules.js';

test('the door is closed to one client', () => {
  assert.equal(rules.judgeClient('192.0.2.1', '192.0.2.1').tag, 'close');
  assert.equal(rules.judgeClient('192.0.2.1', '192.0.2.2').tag, 'proceed');
  assert.equal(rules.judgeClient('192.0.2.1', null).tag, 'proceed');
});

test('senders', () => {
  for (const [sender, tag] of [
    [null, 'proceed'],
    [{ localPart: 'a', domain: 'example.org' }, 'proceed'],
    [{ localPart: 'a', domain: 'spam.example' }, 'reject'],
    [{ localPart: 'a', domain: 'later.example' }, 'tempfail'],
  ]) {
    assert.equal(rules.judgeSender(sender).tag, tag);
  }
});

test('recipients', () => {
  const at = (localPart) => ({ localPart, domain: 'example.org' });
  assert.equal(rules.judgeRecipient(at('ann')).tag, 'proceed');
  assert.equal(rules.judgeRecipient(at('vip')).tag, 'accept');
  assert.equal(rules.judgeRecipient(at('nobody')).val.code, 550);
  assert.throws(() => rules.judgeRecipient(at('broken')));
  assert.deepEqual(rules.movedTo(at('moved')), at('new'));
  assert.equal(rules.movedTo(at('ann')), null);
});

test('subjects', () => {
  for (const subject of ['discard', 'quarantine', 'reject']) {
    assert.equal(rules.judgeSubject(subject, 0).tag, subject);
  }
  assert.equal(rules.judgeSubject(null, 0).tag, 'proceed');
});
