//! scripts/typescript test sdk-ts

import assert from 'node:assert/strict';
import test from 'node:test';
import { hook, once, refusal, words } from './hooks.ts';

const refused = Object.assign(new Error('x'), { payload: { code: 'denied', detail: 'add it' } });

test('a refusal of the relay becomes words', () => {
  assert.equal(words(refused), 'denied: add it');
  assert.equal(words({ code: 'exhausted', detail: '' }), 'exhausted');
  assert.equal(words('as it is'), 'as it is');
  assert.equal(words(new TypeError('no')), 'TypeError: no');
  assert.equal(refusal(refused), 'denied');
  assert.equal(refusal(new Error('no')), undefined);
  assert.equal(refusal(undefined), undefined);
});

test('a hook throws texts alone', () => {
  const { handle } = hook((text: string) => {
    if (text === 'refused') throw refused;
    return text.length;
  });
  assert.equal(handle('four'), 4);
  assert.throws(() => handle('refused'), (thrown) => thrown === 'denied: add it');
});

test('settings are read once', () => {
  let times = 0;
  const read = once(() => (times += 1));
  assert.deepEqual([read(), read(), times], [1, 1, 1]);
});
