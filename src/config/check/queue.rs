//! `[queue]`.

use std::time::Duration;

use super::{Base, YEAR};
use crate::config::raw::Table;
use crate::queue::{self, Bounds};

const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Reads the section.
pub(super) fn config(table: &Table<'_>, base: &Base) -> queue::Config {
    let config = queue::Config {
        path: base.resolve(table.text("path").unwrap_or("waypost-data/spool")),
        min_free: table.size("min-free", 256 * MIB, 0..=TIB),
        cache: table.size("cache", 8 * MIB, MIB..=TIB),
        window: table.count("window", 10_000, 1..=1_000_000),
        hot_bytes: table.size("hot-bytes", 128 * MIB, 0..=TIB),
        bounds: Bounds {
            messages: table.get("max-messages").and_then(|value| value.integer(1..=1_000_000_000)),
            octets: table.get("max-bytes").and_then(|value| value.size(MIB..=1024 * TIB)),
            held: held(table),
        },
        quotas: super::quota::quotas(table),
    };
    table.finish();
    config
}

/// How long held mail is kept; none: for ever.
fn held(table: &Table<'_>) -> Option<Duration> {
    let value = table.get("held-expire").filter(|value| !value.is_word("never"))?;
    value.duration(HOUR..=10 * YEAR)
}
