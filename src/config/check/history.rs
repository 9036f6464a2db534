//! `[history]`.

use std::path::Path;
use std::time::Duration;

use super::{Base, YEAR};
use crate::config::raw::Table;
use crate::history::Config;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// Reads the section; `queue` is the queue's folder.
pub(super) fn config(table: &Table<'_>, base: &Base, queue: &Path) -> Config {
    let config = Config {
        record: table.bool("record", true),
        path: table.text("path").map_or_else(|| queue.join("history"), |path| base.resolve(path)),
        keep: table.duration("keep", WEEK, MINUTE..=YEAR),
        bytes: table.size("bytes", 256 << 20, 1 << 20..=1 << 40),
    };
    table.finish();
    config
}
