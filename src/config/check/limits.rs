//! `[limits]`.

use std::time::Duration;

use super::YEAR;
use crate::config::raw::Table;
use crate::listen::Limits;

/// Reads the section.
pub(super) fn limits(table: &Table<'_>) -> Limits {
    const SECOND: Duration = Duration::from_secs(1);
    let usual = Limits::default();
    let limits = Limits {
        connections: table.count("connections", usual.connections, 1..=1_000_000),
        per_client: table.count("per-client", usual.per_client, 1..=1_000_000),
        command_timeout: table.duration("command-timeout", usual.command_timeout, SECOND..=YEAR),
        data_timeout: table.duration("data-timeout", usual.data_timeout, SECOND..=YEAR),
        session_timeout: table.duration("session-timeout", usual.session_timeout, SECOND..=YEAR),
        drain: table.duration("drain", usual.drain, Duration::ZERO..=Duration::from_secs(3600)),
    };
    table.finish();
    limits
}
