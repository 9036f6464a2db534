//! The audit: one line for every change of the plugins that serve, and for every weakening that was refused.
//!
//! Appended to, flushed, never rewritten; once it is full it becomes `audit.jsonl.1` in place of the one before.
//! Blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Octets of a file: tens of thousands of changes.
const SIZE_MAX: u64 = 4 << 20;

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// RFC 3339.
    pub at: String,
    /// What was done: `reload`, `roll-back to 3`, `reload refused`…
    pub what: String,
    /// Who: `uid 0`, `signal`, `automatic`.
    pub by: String,
    /// The generation that served afterwards.
    pub generation: u64,
    /// What became weaker, or would have.
    #[serde(default)]
    pub weakenings: Vec<String>,
}

/// The file.
#[derive(Debug)]
pub struct Audit(PathBuf);

impl Audit {
    /// Below the host's folder; made with the first entry.
    pub fn below(path: &Path) -> Self {
        Self(path.join("audit.jsonl"))
    }

    fn older(&self) -> PathBuf {
        self.0.with_extension("jsonl.1")
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write(&self, entry: &AuditEntry) -> io::Result<()> {
        if fs::metadata(&self.0).is_ok_and(|found| found.len() >= SIZE_MAX) {
            fs::rename(&self.0, self.older())?;
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        file.write_all(&line)?;
        file.sync_data()
    }

    /// The last entries, the oldest of them first. Lines that make no sense are left out.
    pub fn last(&self, most: usize) -> Vec<AuditEntry> {
        let mut entries = Vec::new();
        for path in [self.older(), self.0.clone()] {
            let Ok(file) = File::open(path) else { continue };
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            entries.extend(lines.filter_map(|line| serde_json::from_str(&line).ok()));
        }
        let surplus = entries.len().saturating_sub(most);
        entries.split_off(surplus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_come_in_order_over_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::below(dir.path());
        assert!(audit.last(10).is_empty());
        let entry = |generation| AuditEntry { generation, what: "reload".into(), ..AuditEntry::default() };
        audit.write(&entry(1)).unwrap();
        let full = vec![b'\n'; usize::try_from(SIZE_MAX).unwrap()];
        OpenOptions::new().append(true).open(&audit.0).unwrap().write_all(&full).unwrap();
        audit.write(&entry(2)).unwrap();
        audit.write(&entry(3)).unwrap();
        assert_eq!(audit.last(10), [entry(1), entry(2), entry(3)]);
        assert_eq!(audit.last(2), [entry(2), entry(3)]);
        assert!(fs::metadata(&audit.0).unwrap().len() < 1000);
    }
}
