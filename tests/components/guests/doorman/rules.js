// What the doorman decides: plain values in, verdicts out. Runs in Node as well as in the plugin.

const reply = (code, [kind, subject, detail], text) => ({ code, status: { kind, subject, detail }, lines: [text] });
const proceed = { tag: 'proceed' };

export function judgeClient(address, closedTo) {
  if (closedTo != null && address === closedTo) {
    return { tag: 'close', val: reply(421, [4, 7, 0], 'we are closed') };
  }
  return proceed;
}

export function judgeSender(sender) {
  if (sender == null) return proceed; // a bounce
  if (sender.domain === 'spam.example') {
    return { tag: 'reject', val: reply(550, [5, 7, 1], `${sender.domain} is not welcome`) };
  }
  if (sender.domain === 'later.example') {
    return { tag: 'tempfail', val: reply(451, [4, 7, 1], 'not now') };
  }
  return proceed;
}

export function judgeRecipient(mailbox) {
  if (mailbox.localPart === 'broken') throw 'the doorman was told to break';
  if (mailbox.localPart === 'spin') for (;;);
  if (mailbox.localPart === 'nobody') {
    return { tag: 'reject', val: reply(550, [5, 1, 1], 'nobody of that name lives here') };
  }
  return mailbox.localPart === 'vip' ? { tag: 'accept' } : proceed;
}

export function movedTo(mailbox) {
  return mailbox.localPart === 'moved' ? { localPart: 'new', domain: mailbox.domain } : null;
}

export function judgeSubject(subject, seconds) {
  if (subject === 'discard') return { tag: 'discard', val: 'thrown away by the doorman' };
  if (subject === 'quarantine') return { tag: 'quarantine', val: `held at ${seconds}` };
  if (subject === 'reject') return { tag: 'reject', val: reply(554, [5, 7, 1], 'not with that subject') };
  return proceed;
}
