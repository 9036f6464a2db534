//! The audit: a line for each change that was asked for through the API, done or not.
//!
//! A file of JSON lines that is only appended to; when it is large it is put aside, and of those put aside the oldest goes.
//! Blocking: call it off the workers. Must never hold a secret: what was asked is written as the caller hands it over.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Octets of one file: some ten thousand changes.
const FILE: u64 = 4 << 20;
/// Files put aside.
const ASIDE: u32 = 4;
/// Octets of one line; what was asked is left out where it is longer.
const LINE: usize = 16 << 10;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Entry {
    /// RFC 3339.
    pub(super) at: String,
    /// `uid N` or `token NAME`.
    pub(super) by: String,
    /// What who asked may do.
    pub(super) role: String,
    /// Which change: the operation's id in the API's document.
    pub(super) what: String,
    /// As it was asked for, without secrets.
    #[schema(value_type = Object)]
    pub(super) request: serde_json::Value,
    /// `done`, or why not.
    pub(super) outcome: String,
}

/// The file.
#[derive(Debug)]
pub(super) struct Audit {
    path: Option<PathBuf>,
    /// Whoever writes, or puts aside.
    turn: Mutex<()>,
}

impl Audit {
    /// None: nothing is written.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, turn: Mutex::new(()) }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn write(&self, mut entry: Entry) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut line = serde_json::to_vec(&entry)?;
        if line.len() > LINE {
            entry.request = format!("{} octets, left out", line.len()).into();
            entry.outcome = entry.outcome.chars().take(1000).collect();
            line = serde_json::to_vec(&entry)?;
        }
        line.push(b'\n');
        let _turn = self.turn.lock();
        if std::fs::metadata(path).is_ok_and(|found| found.len() > FILE) {
            put_aside(path)?;
        }
        // Who did what is the operators' business alone.
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(&line)
    }

    /// The last lines, the oldest of them first.
    pub(super) fn last(&self, most: usize) -> Vec<Entry> {
        let Some(path) = &self.path else { return Vec::new() };
        let mut last = VecDeque::new();
        for number in (0..=ASIDE).rev() {
            let file = if number == 0 { path.clone() } else { aside(path, number) };
            let Ok(file) = File::open(file) else { continue };
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                // A line that a crash cut off is no entry.
                let Ok(entry) = serde_json::from_str(&line) else { continue };
                if last.len() == most {
                    last.pop_front();
                }
                last.push_back(entry);
            }
        }
        last.into()
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn put_aside(path: &Path) -> io::Result<()> {
    for number in (1..ASIDE).rev() {
        match std::fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, aside(path, 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(number: usize, size: usize) -> Entry {
        Entry {
            at: "2026-11-27T00:00:00Z".into(),
            by: "uid 0".into(),
            role: "admin".into(),
            what: format!("change-{number}"),
            request: "x".repeat(size).into(),
            outcome: "done".into(),
        }
    }

    #[test]
    fn it_is_bounded_and_the_last_changes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::new(Some(path.clone()));
        for number in 0..2500 {
            audit.write(entry(number, 10_000)).unwrap();
        }
        let files: Vec<u64> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
        assert!(files.len() == 5 && files.iter().all(|size| *size < FILE + 20_000), "{files:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let last = audit.last(700);
        assert_eq!((last.len(), &*last[0].what, &*last[699].what), (700, "change-1800", "change-2499"));
    }

    #[test]
    fn a_long_request_is_left_out_and_a_cut_off_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::new(Some(path.clone()));
        audit.write(entry(1, 100_000)).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":\"2026\n").unwrap();
        audit.write(entry(2, 10)).unwrap();
        let last = audit.last(10);
        assert_eq!(last.len(), 2);
        assert!(last[0].request.as_str().unwrap().ends_with("octets, left out"));
        assert!(Audit::new(None).write(entry(1, 1)).is_ok() && Audit::new(None).last(1).is_empty());
    }
}
