//! What greylisting decides. Pure: no host, no clock; `now` is passed in.

use std::fmt::Write as _;
use std::net::IpAddr;

use sha2::{Digest, Sha256};
use waypost_plugin::Network;

use crate::settings::Settings;

/// What is known of the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// None for a local socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) authenticated: bool,
    pub(crate) may_relay: bool,
}

/// What is remembered of a triplet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Asked to come back; seconds of the first try.
    Waiting { since: i64 },
    /// Came back; seconds when that was last written down.
    Passed { renewed: i64 },
}

/// What to tell the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    ComeBackIn(u32),
    /// It has just come back for the first time.
    Passed {
        waited: i64,
    },
    Known,
}

/// A decision, and what to remember for how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) decision: Decision,
    pub(crate) write: Option<(Entry, u32)>,
}

/// A triplet that passed is written again at most once a day: its life is renewed without a write per recipient.
const RENEW_AFTER_SECONDS: i64 = 86_400;

/// Decides about a triplet.
pub(crate) fn judge(entry: Option<Entry>, now: i64, settings: &Settings) -> Step {
    let delay = i64::from(settings.delay_seconds);
    match entry {
        None => Step {
            decision: Decision::ComeBackIn(settings.delay_seconds),
            write: Some((Entry::Waiting { since: now }, settings.expiry_seconds)),
        },
        Some(Entry::Waiting { since }) => {
            // A clock that was set back must not make anybody wait longer than the delay.
            let waited = now.saturating_sub(since);
            let left = delay.saturating_sub(waited).clamp(0, delay);
            if left > 0 {
                let left = u32::try_from(left).unwrap_or(settings.delay_seconds);
                return Step { decision: Decision::ComeBackIn(left), write: None };
            }
            let write = Some((Entry::Passed { renewed: now }, settings.remember_seconds));
            Step { decision: Decision::Passed { waited }, write }
        }
        Some(Entry::Passed { renewed }) => {
            let due = now.saturating_sub(renewed) >= RENEW_AFTER_SECONDS;
            let write = due.then_some((Entry::Passed { renewed: now }, settings.remember_seconds));
            Step { decision: Decision::Known, write }
        }
    }
}

/// The key of a triplet: its digest, because sender and recipient together may be longer than a key may be. Case is not
/// looked at: nobody means two senders by it. Servers try again from another address of their network, hence the network.
pub(crate) fn key(client: &Client, sender: &str, recipient: &str, settings: &Settings) -> String {
    let network = match client.address {
        Some(address) => Network::around(address, settings.network_v4, settings.network_v6).to_string(),
        None => "local".to_owned(),
    };
    let mut digest = Sha256::new();
    for part in [network.as_str(), &sender.to_lowercase(), &recipient.to_lowercase()] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    let mut key = String::from("t:");
    for octet in digest.finalize().iter().take(16) {
        // Writing to a String can't fail.
        let _ = write!(key, "{octet:02x}");
    }
    key
}

impl Entry {
    /// The stored form, readable in a dump: `w 1795474200` or `p 1795474200`.
    pub(crate) fn encode(self) -> String {
        match self {
            Self::Waiting { since } => format!("w {since}"),
            Self::Passed { renewed } => format!("p {renewed}"),
        }
    }

    /// None for what this version can't read: the triplet then starts anew.
    pub(crate) fn decode(stored: &[u8]) -> Option<Self> {
        let (kind, seconds) = std::str::from_utf8(stored).ok()?.split_once(' ')?;
        let seconds = seconds.parse().ok()?;
        match kind {
            "w" => Some(Self::Waiting { since: seconds }),
            "p" => Some(Self::Passed { renewed: seconds }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    const NOW: i64 = 1_795_474_200;

    fn settings() -> Settings {
        Settings::read("{}").unwrap().settings
    }

    #[test]
    fn the_first_try_is_deferred_and_remembered() {
        let step = judge(None, NOW, &settings());
        assert_eq!(step.decision, Decision::ComeBackIn(300));
        assert_eq!(step.write, Some((Entry::Waiting { since: NOW }, 2 * 86_400)));
    }

    #[test]
    fn coming_back_too_early_changes_nothing() {
        for (waited, left) in [(0, 300), (1, 299), (299, 1), (-3600, 300)] {
            let step = judge(Some(Entry::Waiting { since: NOW - waited }), NOW, &settings());
            assert_eq!(step, Step { decision: Decision::ComeBackIn(left), write: None }, "waited {waited} s");
        }
    }

    #[test]
    fn coming_back_in_time_passes() {
        for waited in [300, 301, 40_000] {
            let step = judge(Some(Entry::Waiting { since: NOW - waited }), NOW, &settings());
            assert_eq!(step.decision, Decision::Passed { waited });
            assert_eq!(step.write, Some((Entry::Passed { renewed: NOW }, 36 * 86_400)));
        }
    }

    #[test]
    fn who_passed_is_known_and_renewed_once_a_day() {
        for (age, renewed) in [(0, false), (86_399, false), (86_400, true), (-5, false)] {
            let step = judge(Some(Entry::Passed { renewed: NOW - age }), NOW, &settings());
            assert_eq!(step.decision, Decision::Known);
            assert_eq!(step.write.is_some(), renewed, "after {age} s");
        }
    }

    #[test]
    fn entries_survive_the_store() {
        for entry in [Entry::Waiting { since: NOW }, Entry::Passed { renewed: -1 }] {
            assert_eq!(Entry::decode(entry.encode().as_bytes()), Some(entry));
        }
        for stored in [&b""[..], b"w", b"w x", b"q 1", b"\xff 1"] {
            assert_eq!(Entry::decode(stored), None);
        }
    }

    #[test]
    fn keys_join_networks_and_keep_triplets_apart() {
        let settings = settings();
        let of = |address: &str, sender: &str, recipient: &str| {
            let client = Client { address: address.parse().ok(), authenticated: false, may_relay: false };
            key(&client, sender, recipient, &settings)
        };
        let first = of("192.0.2.1", "a@example.org", "b@example.net");
        assert_eq!(first, of("192.0.2.200", "A@example.org", "b@Example.net"));
        assert_eq!(first.len(), 34);
        for other in [
            of("192.0.3.1", "a@example.org", "b@example.net"),
            of("192.0.2.1", "", "b@example.net"),
            of("192.0.2.1", "a@example.org", "c@example.net"),
            of("192.0.2.1", "a@example.orgb", "@example.net"),
            of("unix:/run/x", "a@example.org", "b@example.net"),
        ] {
            assert_ne!(first, other);
        }
    }
}
