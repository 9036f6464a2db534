//! The files of the record: segments in a folder of their own, each named by the microsecond at which it began.
//!
//! Lines are only appended. A segment that is full, or has become old, is followed by another; the oldest are removed
//! once all of them are too large or too old. What a crash tore stays where it is: the next line begins on a line of its
//! own, and readers skip what is no line. Does blocking I/O.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Keep;
use crate::time::Timestamp;

/// Segments of which the record is made: what is removed at a time is one of them.
const PARTS: u64 = 16;

/// A segment is read whole.
const SEGMENT_MAX: u64 = 64 << 20;

/// One file of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub began: Timestamp,
    pub len: u64,
}

/// All segments of a folder, the oldest first. Other files are not looked at.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let began = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|name| name.parse().ok());
        // One that is removed meanwhile has no length any more.
        if let (Some(began), Ok(meta)) = (began, entry.metadata()) {
            segments.push(Segment { path: entry.path(), began: Timestamp::from_micros(began), len: meta.len() });
        }
    }
    segments.sort_by_key(|segment| segment.began);
    Ok(segments)
}

/// The writer's side of a folder.
#[derive(Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    keep: Duration,
    bytes: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    began: Timestamp,
    len: u64,
}

impl Segments {
    /// Nothing is opened or made before the first line.
    pub(crate) fn new(folder: PathBuf, keep: Keep) -> Self {
        Self { folder, keep: keep.time, bytes: keep.bytes, current: None }
    }

    fn segment_max(&self) -> u64 {
        (self.bytes / PARTS).clamp(1, SEGMENT_MAX)
    }

    /// Appends whole lines. What was written is taken off the batch, also when the rest could not be.
    pub(crate) fn write(&mut self, batch: &mut Vec<u8>, now: Timestamp) -> io::Result<()> {
        let mut done = 0;
        let written = self.append(batch, &mut done, now);
        batch.drain(..done.min(batch.len()));
        if written.is_err() {
            // It may end in half a line: opened anew, it is looked at.
            self.current = None;
        }
        written
    }

    fn append(&mut self, batch: &[u8], done: &mut usize, now: Timestamp) -> io::Result<()> {
        while let Some(rest) = batch.get(*done..).filter(|rest| !rest.is_empty()) {
            let limit = self.segment_max();
            let current = self.current(now)?;
            let room = usize::try_from(limit.saturating_sub(current.len)).unwrap_or(usize::MAX);
            let fits = lines_within(rest, room);
            if fits == 0 && current.len > 0 {
                self.turn(now)?;
                continue;
            }
            // A line that no segment has room for gets one of its own.
            let take = if fits > 0 { fits } else { memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1) };
            current.file.write_all(rest.get(..take).unwrap_or(rest))?;
            current.len += take as u64;
            *done += take;
        }
        Ok(())
    }

    /// The file to write to: the newest one while there is room, else another.
    fn current(&mut self, now: Timestamp) -> io::Result<&mut Current> {
        let old = |current: &Current| now.since(current.began) > self.keep / 16;
        if self.current.as_ref().is_some_and(old) {
            self.current = None;
            self.prune(now)?;
        }
        if self.current.is_none() {
            make_folder(&self.folder)?;
            let newest = list(&self.folder)?.pop();
            let (limit, young) = (self.segment_max(), self.keep / 16);
            let current = match newest {
                Some(newest) if newest.len < limit && now.since(newest.began) <= young => resume(newest)?,
                newest => begin(&self.folder, newest.as_ref(), now)?,
            };
            return Ok(self.current.insert(current));
        }
        self.current.as_mut().ok_or_else(|| io::Error::other("no segment"))
    }

    /// Another segment in place of the one that is full.
    fn turn(&mut self, now: Timestamp) -> io::Result<()> {
        self.current = None;
        self.prune(now)?;
        let newest = list(&self.folder)?.pop();
        self.current = Some(begin(&self.folder, newest.as_ref(), now)?);
        Ok(())
    }

    /// Removes the oldest segments until one more fits, and those whose last line is too old.
    pub(crate) fn prune(&mut self, now: Timestamp) -> io::Result<()> {
        let segments = list(&self.folder)?;
        let mut total: u64 = segments.iter().map(|segment| segment.len).sum();
        let most = self.bytes.saturating_sub(self.segment_max());
        let in_use = self.current.as_ref().map(|current| current.began);
        for (at, segment) in segments.iter().enumerate() {
            // What comes after it began when it ended; the last one ended when it became too old to be added to.
            let ended = segments.get(at + 1).map_or_else(|| segment.began.plus(self.keep / 16), |next| next.began);
            let outdated = now.since(ended) > self.keep;
            if in_use != Some(segment.began) && (total > most || outdated) {
                match std::fs::remove_file(&segment.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => total = total.saturating_sub(segment.len),
                }
            }
        }
        Ok(())
    }
}

/// Octets of the whole lines at the start that fit.
fn lines_within(octets: &[u8], room: usize) -> usize {
    if octets.len() <= room {
        return octets.len();
    }
    octets.get(..room).and_then(|fitting| memchr::memrchr(b'\n', fitting)).map_or(0, |at| at + 1)
}

/// For the relay's user alone: who wrote to whom is in there.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn begin(folder: &Path, newest: Option<&Segment>, now: Timestamp) -> io::Result<Current> {
    // A clock that steps back makes no segment that sorts before an older one.
    let after = newest.map_or(0, |newest| newest.began.micros().saturating_add(1));
    let began = Timestamp::from_micros(now.micros().max(after));
    let path = folder.join(format!("{:020}.jsonl", began.micros()));
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    Ok(Current { file, began, len: 0 })
}

/// Goes on where an earlier process, or a full disk, left off.
fn resume(Segment { path, began, .. }: Segment) -> io::Result<Current> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let mut len = file.seek(SeekFrom::End(0))?;
    if len > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(len - 1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            len += 1;
        }
    }
    Ok(Current { file, began, len })
}
