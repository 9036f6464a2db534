//! `[smtp]`: the dialogue that all listeners share.

use std::sync::Arc;

use crate::config::raw::Table;
use crate::session::{self, RelayRules};
use crate::smtp::{Extension, Extensions};

/// `[smtp]`: the dialogue that all listeners share, and whether clients' names are looked up.
pub(super) fn config(table: &Table<'_>, hostname: &Arc<str>, relay: RelayRules) -> (session::Config, bool) {
    /// Offsets of 32 bits must do everywhere on the way, a little room for trace fields included.
    const TWO_GIB: u64 = (2 << 30) - 1;
    let config = session::Config {
        hostname: hostname.clone(),
        lmtp: false,
        relay,
        extensions: extensions(table),
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
        require_auth: false,
        allow_plaintext_auth: false,
    };
    let client_names = table.bool("client-names", false);
    table.finish();
    (config, client_names)
}

/// What is offered at all; a listener adds what depends on it.
fn extensions(table: &Table<'_>) -> Extensions {
    use Extension::{Dsn, EightBitMime, EnhancedStatusCodes, Pipelining, Size, SmtpUtf8};
    let mut offered = Extensions::of(&[Pipelining, Size, EnhancedStatusCodes, EightBitMime, SmtpUtf8]);
    offered.set(Dsn, table.bool("dsn", true));
    offered
}
