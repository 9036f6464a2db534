//! Reading a Maildir.

use std::fs;
use std::path::Path;

/// The messages in `new`, in no order. A folder that is not there has none.
pub(crate) fn maildir_messages(maildir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(maildir.join("new")) else { return Vec::new() };
    entries.map(|entry| String::from_utf8(fs::read(entry.unwrap().path()).unwrap()).unwrap()).collect()
}
