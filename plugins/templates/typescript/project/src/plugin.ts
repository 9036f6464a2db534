// {{name}}: a Waypost plugin. Each hook is an object with the name of its interface; see types/interfaces.
{{#rcpt}}
// The operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.

import { document } from 'waypost:plugin/config@0.1.0';
import { write as log } from 'waypost:plugin/log@0.1.0';
{{/}}
{{#connect}}
import type * as Connect from 'waypost:plugin/on-connect@0.1.0';
{{/}}
{{#helo}}
import type * as Helo from 'waypost:plugin/on-helo@0.1.0';
{{/}}
{{#auth}}
import type * as Auth from 'waypost:plugin/on-auth@0.1.0';
{{/}}
{{#mail}}
import type * as Mail from 'waypost:plugin/on-mail@0.1.0';
{{/}}
{{#rcpt}}
import type * as Rcpt from 'waypost:plugin/on-rcpt@0.1.0';
{{/}}
{{#message}}
import type * as Message from 'waypost:plugin/on-message@0.1.0';
{{/}}
{{#route}}
import type * as Route from 'waypost:plugin/on-route@0.1.0';
{{/}}
{{#delivery-attempt}}
import type * as DeliveryAttempt from 'waypost:plugin/on-delivery-attempt@0.1.0';
{{/}}
{{#delivery-result}}
import type * as DeliveryResult from 'waypost:plugin/on-delivery-result@0.1.0';
{{/}}
{{#bounce}}
import type * as Bounce from 'waypost:plugin/on-bounce@0.1.0';
{{/}}

// What goes wrong in a hook becomes the plugin's failure, with words; thrown as it is, it would be a trap without any.
function inWords<Given extends unknown[], Verdict>(hook: { handle: (...given: Given) => Verdict }) {
  return {
    handle(...given: Given): Verdict {
      try {
        return hook.handle(...given);
      } catch (thrown) {
        // A refusal of the relay comes as the payload of an Error.
        const why = (thrown as { payload?: { code?: string; detail?: string } } | null)?.payload;
        throw why?.detail === undefined ? String(thrown) : `${why.code}: ${why.detail}`;
      }
    },
  };
}

{{#rcpt}}
// An instance serves many calls: the operator's table is read at the first of them.
let unread: string[] | null = null;

function isUnread(localPart: string): boolean {
  if (unread === null) {
    const table = JSON.parse(document()) as { unread?: string[] };
    unread = (table.unread ?? []).map((name) => name.toLowerCase());
  }
  return unread.includes(localPart.toLowerCase());
}

{{/}}
{{#connect}}
// After accept, before the banner.
export const onConnect: typeof Connect = inWords({
  handle() {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#helo}}
// HELO or EHLO, with its argument.
export const onHelo: typeof Helo = inWords({
  handle(name) {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#auth}}
// A client offers proof of who it is.
export const onAuth: typeof Auth = inWords({
  handle(attempt) {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#mail}}
// MAIL; for the null sender there is none (null here, whatever the type says: compare with ==).
export const onMail: typeof Mail = inWords({
  handle(sender) {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#rcpt}}
// Each RCPT.
export const onRcpt: typeof Rcpt = inWords({
  handle(candidate) {
    const { localPart } = candidate.mailbox;
    if (!isUnread(localPart)) return { tag: 'proceed' };
    log('info', `refused ${localPart}`, []);
    const status = { kind: 5, subject: 7, detail: 1 };
    return { tag: 'reject', val: { code: 550, status, lines: ['nobody reads that mailbox'] } };
  },
});

{{/}}
{{#message}}
// After the end of the data; currentMessage() of waypost:plugin/context@0.1.0 is the message.
export const onMessage: typeof Message = inWords({
  handle() {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#route}}
// Where recipients go that no earlier plugin has assigned.
export const onRoute: typeof Route = inWords({
  handle(phase, recipients) {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#delivery-attempt}}
// Before a connection is chosen.
export const onDeliveryAttempt: typeof DeliveryAttempt = inWords({
  handle() {
    return { tag: 'proceed' };
  },
});

{{/}}
{{#delivery-result}}
// After an attempt; recipients not answered for are left to the relay.
export const onDeliveryResult: typeof DeliveryResult = inWords({
  handle(outcomes) {
    return [];
  },
});

{{/}}
{{#bounce}}
// Before a bounce is made.
export const onBounce: typeof Bounce = inWords({
  handle(failed) {
    return { tag: 'proceed' };
  },
});

{{/}}
