//! `[smtp]`: the dialogue that all listeners share, and what one of them has otherwise.

use std::sync::Arc;
use std::time::Duration;

use super::YEAR;
use super::relay::plain_network;
use crate::config::raw::{Table, Value};
use crate::session::{self, LineEnds, RelayRules};
use crate::smtp::{Extension, Extensions};

/// What `[smtp]` says beside the dialogue itself.
pub(super) struct Greeting {
    /// Clients' names are looked up.
    pub(super) client_names: bool,
    /// They are listened to for so long before they are greeted.
    pub(super) delay: Duration,
}

const LINE_ENDS: [(&str, LineEnds); 2] = [("reject", LineEnds::Reject), ("normalise", LineEnds::Normalise)];

/// Reads `[smtp]`.
pub(super) fn config(table: &Table<'_>, hostname: &Arc<str>, relay: RelayRules) -> (session::Config, Greeting) {
    /// Offsets of 32 bits must do everywhere on the way, a little room for trace fields included.
    const TWO_GIB: u64 = (2 << 30) - 1;
    const HOUR: Duration = Duration::from_secs(3600);
    let max_hold = table.duration("max-hold", HOUR * 24 * 7, Duration::ZERO..=YEAR).as_secs();
    let config = session::Config {
        hostname: hostname.clone(),
        relay,
        extensions: extensions(table, Extensions::of(&USUAL), false),
        // RFC 5321 section 4.5.3.1.7: at least 64 KiB.
        max_message_size: table.size("max-message-size", 50 << 20, 64 << 10..=TWO_GIB),
        max_header_size: usize::try_from(table.size("max-header-size", 256 << 10, 1 << 10..=16 << 20))
            .unwrap_or(256 << 10),
        // RFC 5321 section 4.5.3.1.8: at least 100.
        max_recipients: table.count("max-recipients", 1000, 100..=100_000),
        max_transactions: u32::try_from(table.integer("max-transactions", 1_000_000, 1..=1_000_000))
            .unwrap_or(1_000_000),
        max_errors: u32::try_from(table.integer("max-errors", 20, 1..=1_000_000)).unwrap_or(20),
        max_hops: table.count("max-hops", 100, 5..=1000),
        // RFC 5321 section 4.5.3.1.6: at least 1000 octets.
        max_line_length: usize::try_from(table.size("max-line-length", 1 << 20, 1000..=TWO_GIB)).unwrap_or(1 << 20),
        line_ends: table.choice("bare-line-ends", LineEnds::Reject, &LINE_ENDS),
        strict_pipelining: table.bool("strict-pipelining", true),
        lmtp: false,
        submission: false,
        xclient_from: Vec::new(),
        max_hold,
        require_auth: false,
        allow_plaintext_auth: false,
        auth: Default::default(),
    };
    let client_names = table.bool("client-names", false);
    let delay = table.duration("greet-delay", Duration::ZERO, Duration::ZERO..=Duration::from_secs(60));
    table.finish();
    (config, Greeting { client_names, delay })
}

/// What a listener has otherwise.
pub(super) fn listener(table: &Table<'_>, session: &mut session::Config) {
    session.extensions = extensions(table, session.extensions, true);
    session.line_ends = table.choice("bare-line-ends", session.line_ends, &LINE_ENDS);
    session.strict_pipelining = table.bool("strict-pipelining", session.strict_pipelining);
    session.xclient_from = table.array("xclient-from").iter().filter_map(plain_network).collect();
    session.extensions.set(Extension::Xclient, !session.xclient_from.is_empty());
}

/// BINARYMIME is not among them: hardly any next hop takes it, and what can't be passed on comes back to the sender.
const USUAL: [Extension; 12] = [
    Extension::Pipelining,
    Extension::Size,
    Extension::Dsn,
    Extension::EnhancedStatusCodes,
    Extension::EightBitMime,
    Extension::SmtpUtf8,
    Extension::Chunking,
    Extension::RequireTls,
    Extension::Limits,
    Extension::MtPriority,
    Extension::DeliverBy,
    Extension::FutureRelease,
];

/// `offer` and `withhold` upon what is usual.
fn extensions(table: &Table<'_>, usual: Extensions, of_listener: bool) -> Extensions {
    let mut offered = usual;
    for (key, on) in [("offer", true), ("withhold", false)] {
        for value in table.array(key) {
            if let Some(extension) = extension(&value, on, of_listener) {
                offered.set(extension, on);
            }
        }
    }
    offered
}

fn extension(value: &Value<'_>, on: bool, of_listener: bool) -> Option<Extension> {
    let extension = value.parsed(|text| {
        let known: Vec<&str> = crate::smtp::extension::ALL.into_iter().map(Extension::keyword).collect();
        let help = format!("write one of {}", known.join(", "));
        Extension::named(text).ok_or((format!("{text:?} is no extension known here"), help))
    })?;
    let follows = match extension {
        Extension::StartTls => "set tls of the listener, and [tls]",
        Extension::Auth => "set credentials or offer in [auth]",
        Extension::Xclient => "name the peers in xclient-from of the listener",
        _ => return Some(extension),
    };
    // A listener may leave out what its other settings would have it offer; nothing else can be said of these.
    if !on && of_listener {
        return Some(extension);
    }
    value.wrong(format!("{} is offered where other settings allow it", extension.keyword()), follows);
    None
}
