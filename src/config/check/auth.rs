//! `[auth]`.

use std::path::PathBuf;

use super::Base;
use crate::config::raw::Table;

/// Reads the section: the file of accounts, and whether AUTH is offered.
pub(super) fn config(table: &Table<'_>, base: &Base) -> (Option<PathBuf>, bool) {
    let credentials = table.text("credentials").map(|path| base.resolve(path));
    let offered = table.bool("offer", credentials.is_some());
    table.finish();
    (credentials, offered)
}
