//! `[queue]`.

use super::Base;
use crate::config::raw::Table;
use crate::queue;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Reads the section.
pub(super) fn config(table: &Table<'_>, base: &Base) -> queue::Config {
    let config = queue::Config {
        path: base.resolve(table.text("path").unwrap_or("waypost-data/spool")),
        min_free: table.size("min-free", 256 * MIB, 0..=TIB),
        cache: table.size("cache", 128 * MIB, MIB..=TIB),
        window: table.count("window", 10_000, 1..=1_000_000),
        hot_bytes: table.size("hot-bytes", 128 * MIB, 0..=TIB),
    };
    table.finish();
    config
}
