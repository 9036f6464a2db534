// {{name}}: a Waypost plugin. Each hook is an object with the name of its interface; see wit/deps/waypost-plugin.
{{#rcpt}}
// The operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.

import { document } from 'waypost:plugin/config@0.1.0';
import { write as log } from 'waypost:plugin/log@0.1.0';

// An instance serves many calls: the operator's table is read at the first of them.
let unread = null;

function isUnread(localPart) {
  unread ??= (JSON.parse(document()).unread ?? []).map((name) => name.toLowerCase());
  return unread.includes(localPart.toLowerCase());
}
{{/}}

// What goes wrong in a hook becomes the plugin's failure, with words; thrown as it is, it would be a trap without any.
function inWords({ handle }) {
  return {
    handle(...given) {
      try {
        return handle(...given);
      } catch (thrown) {
        // A refusal of the relay comes as the payload of an Error.
        const why = thrown?.payload ?? thrown;
        throw why?.detail === undefined ? String(why) : `${why.code}: ${why.detail}`;
      }
    },
  };
}

{{#connect helo auth mail rcpt message route delivery-attempt bounce}}
const proceed = { tag: 'proceed' };

{{/}}
{{#connect}}
// After accept, before the banner.
export const onConnect = inWords({
  handle() {
    return proceed;
  },
});

{{/}}
{{#helo}}
// HELO or EHLO, with its argument.
export const onHelo = inWords({
  handle(name) {
    return proceed;
  },
});

{{/}}
{{#auth}}
// A client offers proof of who it is.
export const onAuth = inWords({
  handle(attempt) {
    return proceed;
  },
});

{{/}}
{{#mail}}
// MAIL; the null sender is null.
export const onMail = inWords({
  handle(sender) {
    return proceed;
  },
});

{{/}}
{{#rcpt}}
// Each RCPT.
export const onRcpt = inWords({
  handle(candidate) {
    const { localPart } = candidate.mailbox;
    if (!isUnread(localPart)) return proceed;
    log('info', `refused ${localPart}`, []);
    const status = { kind: 5, subject: 7, detail: 1 };
    return { tag: 'reject', val: { code: 550, status, lines: ['nobody reads that mailbox'] } };
  },
});

{{/}}
{{#message}}
// After the end of the data; currentMessage() of waypost:plugin/context@0.1.0 is the message.
export const onMessage = inWords({
  handle() {
    return proceed;
  },
});

{{/}}
{{#route}}
// Where recipients go that no earlier plugin has assigned.
export const onRoute = inWords({
  handle(phase, recipients) {
    return proceed;
  },
});

{{/}}
{{#delivery-attempt}}
// Before a connection is chosen.
export const onDeliveryAttempt = inWords({
  handle() {
    return proceed;
  },
});

{{/}}
{{#delivery-result}}
// After an attempt; recipients not answered for are left to the relay.
export const onDeliveryResult = inWords({
  handle(outcomes) {
    return [];
  },
});

{{/}}
{{#bounce}}
// Before a bounce is made.
export const onBounce = inWords({
  handle(failed) {
    return proceed;
  },
});

{{/}}
