//! What attempts came to: counted, and told to those who watch.

use std::time::Duration;

use serde_json::json;

use crate::hooks::OutcomeKind;
use crate::mail::Recipient;
use crate::pulse::{Event, Kind, Pulse, Tally};
use crate::queue::{Change, Record, Settled};
use crate::time::Timestamp;

/// One settlement.
pub(super) struct Ended<'a> {
    pub(super) record: &'a Record,
    pub(super) recipients: &'a [Recipient],
    pub(super) next_hop: &'a str,
    /// None: no attempt was made.
    pub(super) took: Option<Duration>,
    pub(super) now: Timestamp,
}

impl Ended<'_> {
    pub(super) fn count(&self, pulse: &Pulse, settled: &[Settled]) {
        let tally = pulse.tally();
        if let Some(took) = self.took {
            tally.attempts.observe(took);
        }
        for one in settled {
            let Some(outcome) = &one.outcome else { continue };
            let what = match (&one.change, outcome.kind) {
                (Change::Gone, OutcomeKind::Delivered) => {
                    Tally::count(&tally.delivered);
                    "delivered"
                }
                (Change::Gone, _) => {
                    Tally::count(&tally.failed);
                    "failed"
                }
                (Change::Retry { .. }, _) => {
                    Tally::count(&tally.deferred);
                    let said = outcome.reply.as_ref().map(ToString::to_string);
                    let said = outcome.error.as_deref().map(str::to_owned).or(said).unwrap_or_default();
                    pulse.deferred_because(&said, u64::try_from(self.now.secs()).unwrap_or_default() / 60);
                    "deferred"
                }
                (Change::Park { .. }, _) => continue,
            };
            pulse.tell(Kind::Delivery, || self.event(what, outcome));
        }
    }

    fn event(&self, what: &str, outcome: &crate::hooks::Outcome) -> Event {
        let recipient = self.recipients.iter().find(|r| r.index == outcome.recipient).map(|r| r.mailbox.to_string());
        let sender = self.record.sender.0.as_ref().map(ToString::to_string);
        let client = self.record.origin.as_ref().and_then(|origin| origin.client.address.parse().ok());
        let data = json!({
            "what": what,
            "queue_id": self.record.id.to_string(),
            "sender": sender.as_deref().unwrap_or("<>"),
            "recipient": recipient,
            "next_hop": self.next_hop,
            "remote": outcome.remote,
            "stage": outcome.stage,
            "reply": outcome.reply.as_ref().map(ToString::to_string),
            "error": outcome.error,
            "took_ms": self.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        });
        Event { client, addresses: sender.into_iter().chain(recipient).collect(), data, ..Event::default() }
    }
}
