//! What is told: the form in `docs/plugins/webhooks.md`, and its signature. Pure.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;

use crate::settings::Kind;

/// The version of the form.
pub(crate) const VERSION: u32 = 1;

/// Events of one call, about one message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Batch {
    pub(crate) version: u32,
    pub(crate) events: Vec<Event>,
}

/// One thing that happened to one recipient.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Event {
    /// Stays the same if it is told again.
    pub(crate) id: String,
    pub(crate) event: Option<Kind>,
    /// Seconds since 1970.
    pub(crate) time: i64,
    pub(crate) queue_id: String,
    /// Empty: the null sender.
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) original_recipient: String,
    pub(crate) size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
}

/// The same for the same thing, so that a service can pass over what it was told before.
pub(crate) fn id(queue_id: &str, recipient: u32, kind: Kind, attempt: u32) -> String {
    let word = match kind {
        Kind::Accepted => 'a',
        Kind::Delivered => 'd',
        Kind::Deferred => 't',
        Kind::Rejected => 'r',
        Kind::Expired => 'x',
        Kind::Bounced => 'b',
    };
    format!("{queue_id}.{recipient}.{word}{attempt}")
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 (RFC 2104) over the seconds, a dot, and the body. The time is signed, so that an old
/// request can't be sent again unnoticed.
pub(crate) fn signature(key: &str, now: i64, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| "the signing key can't be used")?;
    mac.update(format!("{now}.").as_bytes());
    mac.update(body);
    let mut text = format!("t={now},v1=");
    for octet in mac.finalize().into_bytes() {
        // Writing to a String can't fail.
        let _ = write!(text, "{octet:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_the_page_says() {
        let event = Event {
            id: id("q1", 0, Kind::Delivered, 2),
            event: Some(Kind::Delivered),
            time: 1_795_474_200,
            queue_id: "q1".to_owned(),
            sender: "ann@example.org".to_owned(),
            recipient: "bob@example.com".to_owned(),
            original_recipient: "bob@example.com".to_owned(),
            size: 1000,
            attempt: Some(2),
            reply: Some("250 2.0.0 taken".to_owned()),
            ..Event::default()
        };
        let batch = Batch { version: VERSION, events: vec![event] };
        assert_eq!(
            serde_json::to_string(&batch).unwrap(),
            r#"{"version":1,"events":[{"id":"q1.0.d2","event":"delivered","time":1795474200,"queue-id":"q1","sender":"ann@example.org","recipient":"bob@example.com","original-recipient":"bob@example.com","size":1000,"attempt":2,"reply":"250 2.0.0 taken"}]}"#
        );
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // Computed with another implementation: HMAC-SHA-256 of "1.{}" under "key".
        assert_eq!(
            signature("key", 1, b"{}").unwrap(),
            "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
        );
        assert_ne!(signature("key", 1, b"{}"), signature("key", 2, b"{}"));
        assert_ne!(signature("key", 1, b"{}"), signature("other", 1, b"{}"));
    }

    #[test]
    fn ids_tell_events_apart() {
        assert_eq!(id("q1", 0, Kind::Deferred, 3), id("q1", 0, Kind::Deferred, 3));
        assert_ne!(id("q1", 0, Kind::Deferred, 3), id("q1", 0, Kind::Deferred, 4));
        assert_ne!(id("q1", 0, Kind::Rejected, 3), id("q1", 0, Kind::Bounced, 3));
    }
}
