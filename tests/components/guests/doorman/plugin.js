// A plugin in JavaScript, for the tests of the plugin host: it uses as many kinds of values of the contract as fit into
// four small hooks. What it decides is in rules.js, which Node can test.
//
// QuickJS here has no TextDecoder and no console; `none` arrives as null; an error of the relay is thrown, and a thrown
// string is the hook's own failure.

import { currentMessage, currentSession, currentTransaction } from 'waypost:plugin/context@0.1.0';
import { get as setting } from 'waypost:plugin/config@0.1.0';
import { increment } from 'waypost:plugin/kv@0.1.0';
import { write as log } from 'waypost:plugin/log@0.1.0';
import { now } from 'waypost:plugin/system@0.1.0';
import { judgeClient, judgeRecipient, judgeSender, judgeSubject, movedTo } from './rules.js';

export const onConnect = {
  handle() {
    const session = currentSession();
    const client = session.client();
    session.setNote('seen', client.address);
    log('info', 'a client is at the door', [['client', client.address], ['listener', session.listener()]]);
    return judgeClient(client.address, setting('closed-to'));
  },
};

export const onMail = {
  handle(sender) {
    if (sender != null) {
      currentTransaction().setAnnotation('sender', `${sender.localPart}@${sender.domain}`);
    }
    return judgeSender(sender);
  },
};

export const onRcpt = {
  handle(candidate) {
    const transaction = currentTransaction();
    // On request it counts, which needs the kv grant: a refusal is thrown, and ends the hook as a failure.
    if (setting('count') === 'true') {
      const count = increment('own', `to:${candidate.mailbox.domain}`, 1, undefined);
      transaction.setAnnotation('count', String(count));
    }
    const moved = movedTo(candidate.mailbox);
    if (moved != null) {
      transaction.rewriteRecipient(candidate.index, moved);
    }
    return judgeRecipient(candidate.mailbox);
  },
};

export const onMessage = {
  handle() {
    const message = currentMessage();
    const subject = message.text('Subject');
    for (const field of message.headersNamed('X-Doorman')) {
      message.removeHeader(field.index);
    }
    message.prependHeader('X-Doorman', `${message.headers().length} fields, ${message.bodySize()} octets`);
    if (subject === 'banner') {
      const body = message.newBody();
      body.writeText('Seen by the doorman.\r\n');
      body.copy(0, message.bodySize());
      message.replaceBody(body);
    }
    return judgeSubject(subject, now().seconds);
  },
};
