// The same as ../rust, in JavaScript.

import { now } from 'waypost:plugin/system@0.1.0';

export const onMail = {
  handle(_sender) {
    let sum = 0;
    for (let i = 0; i < 100; i += 1) sum += Number(now().seconds);
    return { tag: sum > 0 ? 'proceed' : 'accept' };
  },
};

export const onRcpt = {
  handle(candidate) {
    if (candidate.mailbox.localPart.startsWith('blocked')) {
      const status = { kind: 5, subject: 7, detail: 1 };
      return { tag: 'reject', val: { code: 550, status, lines: ['blocked'] } };
    }
    return { tag: 'proceed' };
  },
};
