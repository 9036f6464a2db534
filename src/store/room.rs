//! The watch on free space: mail is refused before the disk is full, because an engine that met a full disk has to be
//! closed, and can't be opened again until somebody makes room.
//!
//! Reads the file system's figures at most every [`EVERY`]; never writes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::StoreError;

/// How old the figure may get. In between, what is written is counted.
const EVERY: Duration = Duration::from_millis(100);

/// Free space of the file system that holds the spool, against a floor.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
    floor: u64,
    started: Instant,
    /// Milliseconds after `started` at which `free` was read, plus one; zero: never.
    read_at: AtomicU64,
    free: AtomicU64,
    /// Written since then.
    written: AtomicU64,
    /// In memory and still to be written.
    pending: AtomicU64,
}

impl Room {
    /// Watches the file system of `path`: below `floor` octets there is no room. Reads its figures.
    pub fn new(path: PathBuf, floor: u64) -> Self {
        let zero = || AtomicU64::new(0);
        // Known before anybody asks: while the first of many reads it anew, the others are told this one.
        let free = AtomicU64::new(free_of(&path).unwrap_or(u64::MAX));
        Self { path, floor, started: Instant::now(), read_at: zero(), free, written: zero(), pending: zero() }
    }

    /// Cheap: a system call every 100 ms at most.
    ///
    /// # Errors
    /// [`StoreError::Full`] below the floor.
    pub fn check(&self) -> Result<(), StoreError> {
        let left = self.left();
        if left < self.floor {
            return Err(StoreError::Full(format!("{left} octets free, {} wanted", self.floor).into()));
        }
        Ok(())
    }

    /// True near the floor, half as much again: what is kept for later use should be given back. Cheap.
    pub fn is_short(&self) -> bool {
        self.left() < self.floor.saturating_add(self.floor / 2)
    }

    fn left(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let read_at = self.read_at.load(Ordering::Relaxed);
        let old = read_at == 0 || now.saturating_sub(read_at) >= u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        if old && self.read_at.compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // A file system that doesn't tell is not called full: the writes themselves will show.
            let free = free_of(&self.path).unwrap_or(u64::MAX);
            self.written.store(0, Ordering::Relaxed);
            self.free.store(free, Ordering::Relaxed);
        }
        let taken = self.written.load(Ordering::Relaxed).saturating_add(self.pending.load(Ordering::Relaxed));
        self.free.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// Free octets, where the file system tells.
    pub fn free(&self) -> Option<u64> {
        free_of(&self.path)
    }

    /// Octets went to the file system.
    pub fn wrote(&self, octets: u64) {
        self.written.fetch_add(octets, Ordering::Relaxed);
    }

    /// Octets wait in memory to be written.
    pub(super) fn await_octets(&self, octets: u64) {
        self.pending.fetch_add(octets, Ordering::Relaxed);
    }

    /// They were, or will never be.
    pub(super) fn forget_octets(&self, octets: u64) {
        let _before =
            self.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had| Some(had.saturating_sub(octets)));
    }

    /// Octets that wait in memory.
    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}

/// Octets that a file system has left, where it tells.
fn free_of(path: &Path) -> Option<u64> {
    rustix::fs::statvfs(path).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_of_a_full_disk_while_another_reads_the_first_figure() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::new(folder.path().to_owned(), 1);
        // Another has said that it reads, and is not done.
        room.read_at.store(u64::MAX / 2, Ordering::Relaxed);
        room.check().unwrap();
    }

    #[test]
    fn what_is_on_its_way_counts_against_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let free = rustix::fs::statvfs(folder.path()).map(|s| s.f_bavail * s.f_frsize).unwrap();
        let room = Room::new(folder.path().to_owned(), free / 2);
        room.check().unwrap();
        room.wrote(free);
        assert!(matches!(room.check(), Err(StoreError::Full(_))), "until the figure is read again");
        let room = Room::new(folder.path().to_owned(), free / 2);
        room.await_octets(free);
        assert!(matches!(room.check(), Err(StoreError::Full(_))));
        room.forget_octets(free);
        room.check().unwrap();
        assert!(!room.is_short());
        room.wrote(free / 2 - free / 5);
        room.check().unwrap();
        assert!(room.is_short());
        assert!(Room::new(folder.path().to_owned(), u64::MAX).check().is_err());
    }
}
