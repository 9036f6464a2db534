//! The open database: sled below, the journal and its overlay above.
//!
//! Crash order. A batch is in the journal, flushed, before anybody sees it or hears of it. The carrier brings a frozen
//! layer into sled, flushes - first the pages in files of their own, then the log that names them -, then writes how far
//! the journal is carried, flushes again, and only then are journal slots written over. Whatever state of sled a crash leaves, the batches after the mark are in the journal, and
//! bringing one in twice changes nothing: the last writer of a key is the same. That needs every write to a tree to go
//! the same way: a tree that is committed to is not written past the journal, or a replay would undo it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::{Mutex, RwLock};

use super::super::committer::Item;
use super::super::journal::{AppendError, Journal, Slots};
use super::super::overlay::Overlay;
use super::super::{Pair, StoreError, Write};
use super::blobs::Blobs;
use super::{LOCKED_FOR, SEGMENT, failure};

/// Where the mark is kept.
const MARK_TREE: &str = "journal";
const MARK: &[u8] = b"carried";

/// Beside it: up to where sled's pages in files of their own are flushed.
const SETTLED: &[u8] = b"blobs";

/// Writes of one sled batch: larger ones hold the log up.
const BATCH: usize = 256;

pub(super) struct Engine {
    db: sled::Db,
    trees: RwLock<HashMap<Box<str>, sled::Tree>>,
    file: Arc<File>,
    pub(super) blobs: Arc<Blobs>,
    journal: Mutex<Journal>,
    slots: Arc<Slots>,
    over: RwLock<Over>,
    /// One at a time carries.
    carrying: Mutex<()>,
    /// Something was applied past the journal and not flushed yet.
    dirty: AtomicBool,
}

/// The overlay, and the sequence numbers of its layers' last batches.
struct Over {
    overlay: Overlay,
    last: u64,
    carried: u64,
}

impl Engine {
    /// As [`Self::open`], waiting for the lock: threads of an engine just closed, or a process just killed, may hold it
    /// for a moment more.
    pub(super) fn open_patiently(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let until = Instant::now() + LOCKED_FOR;
        loop {
            match Self::open(path, cache) {
                // sled makes a text of it.
                Err(StoreError::Broken(why)) if why.contains("acquire lock") && Instant::now() < until => {
                    std::thread::park_timeout(LOCKED_FOR / 50);
                }
                done => return done,
            }
        }
    }

    pub(super) fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path).map_err(|e| failure(&e))?;
        clear_half_done(path).map_err(|e| failure(&e))?;
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(cache)
            .mode(sled::Mode::HighThroughput)
            .segment_size(SEGMENT)
            .flush_every_ms(None)
            .open()
            .map_err(engine_failure)?;
        let file = File::open(path.join("db")).map_err(|e| failure(&e))?;
        let marks = db.open_tree(MARK_TREE).map_err(engine_failure)?;
        let mark = |key| {
            Ok::<_, StoreError>(marks.get(key).map_err(engine_failure)?.and_then(|mark| mark.first_chunk().copied()))
        };
        let carried = mark(MARK)?.map_or(0, u64::from_be_bytes);
        // What was recovered may be in the page cache only (the process was killed, not the machine): others rely on
        // what they read here to be durable.
        let blobs = Arc::new(Blobs::new(path, mark(SETTLED)?.map_or(-1, i64::from_be_bytes)));
        blobs.flush().map_err(|e| failure(&e))?;
        let (journal, replay) = Journal::open(&path.join("journal"), carried).map_err(|e| failure(&e))?;
        let mut overlay = Overlay::default();
        for batch in replay {
            let items = decode(batch.payload.into());
            let items = items.ok_or_else(|| StoreError::Damaged(format!("journal batch {}", batch.sequence).into()))?;
            items.into_iter().for_each(|(tree, writes)| overlay.write(&tree, writes));
        }
        // As for the pages above.
        let mut folders = path.parent().into_iter().chain([path]);
        let synced = folders.try_for_each(|f| File::open(f)?.sync_all());
        synced.and_then(|()| file.sync_all()).map_err(|e| failure(&e))?;
        let (slots, over) = (journal.slots(), Over { overlay, last: journal.last(), carried });
        Ok(Self {
            db,
            trees: RwLock::default(),
            file: Arc::new(file),
            blobs,
            journal: Mutex::new(journal),
            slots,
            over: RwLock::new(over),
            carrying: Mutex::default(),
            dirty: AtomicBool::new(false),
        })
    }

    /// Kept when the rest is closed, so that its flush errors are seen.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(known) = self.over.read().overlay.get(tree, key) {
            return Ok(known);
        }
        let value = self.tree(tree)?.get(key).map_err(engine_failure)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(super) fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let below = self.tree(tree)?;
        let pair = |(k, v): (sled::IVec, sled::IVec)| (Bytes::copy_from_slice(&k), Bytes::copy_from_slice(&v));
        let over = self.over.read();
        let base = below.range(from..to).map(|item| item.map(pair));
        over.overlay.range(tree, from, to, limit, base).map_err(engine_failure)
    }

    /// Whether a tree is written through the journal: its keys must then never be written past it.
    pub(super) fn is_journaled(&self, tree: &str) -> bool {
        tree == MARK_TREE || self.over.read().overlay.knows(tree)
    }

    /// Past the journal: for trees that nobody commits to.
    pub(super) fn apply_directly(&self, tree: &str, writes: &[Write]) -> Result<(), StoreError> {
        self.tree(tree)?.apply_batch(sled_batch(writes)).map_err(engine_failure)?;
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Past the journal, as [`Self::apply_directly`].
    pub(super) fn swap(
        &self,
        tree: &str,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, StoreError> {
        let swapped = self.tree(tree)?.compare_and_swap(key, expected, new).map_err(engine_failure)?.is_ok();
        self.dirty.fetch_or(swapped, Ordering::AcqRel);
        Ok(swapped)
    }

    /// Journals the writes of all items with one flush, then shows them: octets now held over the database. On an
    /// error the items are as they were.
    pub(super) fn commit(&self, items: &mut [Item]) -> Result<usize, StoreError> {
        if items.iter().all(|item| item.writes.is_empty()) {
            return Ok(0);
        }
        let sequence = self.append(items)?;
        let mut over = self.over.write();
        for item in items {
            over.overlay.write(item.tree, std::mem::take(&mut item.writes));
        }
        over.last = sequence;
        let held = over.overlay.octets();
        drop(over);
        // What came and went is held by the journal alone. An eighth: the carrier's limits are meant for memory.
        Ok(held.max(usize::try_from(self.slots.backlog() / 8).unwrap_or(usize::MAX)))
    }

    fn append(&self, items: &[Item]) -> Result<u64, StoreError> {
        let append = || self.journal.lock().append(|out| encode(items, out));
        let done = match append() {
            Err(AppendError::NoSlot(error)) => {
                // On a full disk the slots at hand have to do: all that is in them is brought down, and then the one
                // that is full can be written over. Nobody else appends: this is the one thread that commits.
                tracing::debug!(%error, "no space for another journal slot");
                self.carry()?;
                self.journal.lock().start_over().map_err(|e| failure(&e))?;
                append()
            }
            done => done,
        };
        done.map_err(|(AppendError::NoSlot(error) | AppendError::Failed(error))| failure(&error))
    }

    /// Brings what is committed so far into the database; the journal may then be written over up to there.
    pub(super) fn carry(&self) -> Result<(), StoreError> {
        let _one = self.carrying.lock();
        let (last, carried, clean) = {
            let mut over = self.over.write();
            let clean = over.overlay.is_clean();
            over.overlay.freeze();
            (over.last, over.carried, clean)
        };
        let dirty = self.dirty.swap(false, Ordering::AcqRel);
        if last == carried && clean && !dirty {
            return Ok(());
        }
        let frozen = self.over.read().overlay.frozen();
        for (tree, writes) in &frozen {
            for part in writes.chunks(BATCH) {
                self.tree(tree)?.apply_batch(sled_batch(part)).map_err(engine_failure)?;
            }
        }
        let newest = self.blobs.flush().map_err(|e| failure(&e))?;
        self.flush()?;
        if last != carried {
            let mut marks = sled::Batch::default();
            marks.insert(MARK, &last.to_be_bytes());
            marks.insert(SETTLED, &self.blobs.settled().to_be_bytes());
            self.tree(MARK_TREE)?.apply_batch(marks).map_err(engine_failure)?;
            self.flush()?;
            // Those that sled made meanwhile: with one of them missing, its log may end before the mark.
            self.blobs.flush().map_err(|e| failure(&e))?;
            self.blobs.settle(newest);
        }
        let mut over = self.over.write();
        over.overlay.thaw();
        over.carried = last;
        drop(over);
        self.slots.release(last).map_err(|e| failure(&e))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(engine_failure)?;
        self.file.sync_data().map_err(|e| failure(&e))
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        if let Some(tree) = self.trees.read().get(name) {
            return Ok(tree.clone());
        }
        let tree = self.db.open_tree(name).map_err(engine_failure)?;
        self.trees.write().insert(name.into(), tree.clone());
        Ok(tree)
    }
}

impl Drop for Engine {
    /// sled writes the rest of its log as it is dropped, after this: reading may have divided pages since the last flush.
    fn drop(&mut self) {
        if let Err(error) = self.blobs.flush() {
            tracing::error!(%error, "pages of the database may not be on the disk");
        }
    }
}

/// Removes what a crash while the database was being opened left half done: sled writes the state that it recovered
/// under such a name first, and would take it for the newest one, and refuse a part of it.
fn clear_half_done(path: &Path) -> io::Result<()> {
    let Ok(db) = File::open(path.join("db")) else { return Ok(()) };
    // Another has the database open: it is at work on these files, and sled says so next.
    if rustix::fs::flock(&db, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            std::fs::remove_file(path.join(name))?;
        }
    }
    Ok(())
}

fn sled_batch(writes: &[Write]) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for write in writes {
        match write {
            Write::Insert { key, value } | Write::Put { key, value } => batch.insert(&**key, &**value),
            Write::Delete { key } => batch.remove(&**key),
        }
    }
    batch
}

/// Journal form of a write: 1 puts, 0 deletes; lengths little-endian. That a key was new is not kept: after a crash
/// the database may have it already.
fn encode(items: &[Item], out: &mut Vec<u8>) {
    for item in items.iter().filter(|item| !item.writes.is_empty()) {
        put_octets(out, item.tree.as_bytes());
        out.put_u32_le(u32::try_from(item.writes.len()).unwrap_or(u32::MAX));
        for write in &item.writes {
            match write {
                Write::Insert { key, value } | Write::Put { key, value } => {
                    out.put_u8(1);
                    put_octets(out, key);
                    put_octets(out, value);
                }
                Write::Delete { key } => {
                    out.put_u8(0);
                    put_octets(out, key);
                }
            }
        }
    }
}

fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    out.put_u32_le(u32::try_from(octets.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(octets);
}

/// None where it is not of the form above: a checksum held, so a program wrote it that is not this one.
fn decode(mut octets: Bytes) -> Option<Vec<(String, Vec<Write>)>> {
    let mut items = Vec::new();
    while octets.has_remaining() {
        let tree = String::from_utf8(take_octets(&mut octets)?.to_vec()).ok()?;
        let count = octets.try_get_u32_le().ok()?;
        let mut writes = Vec::new();
        for _ in 0..count {
            writes.push(match octets.try_get_u8().ok()? {
                0 => Write::Delete { key: take_octets(&mut octets)? },
                1 => Write::Put { key: take_octets(&mut octets)?, value: take_octets(&mut octets)? },
                _ => return None,
            });
        }
        items.push((tree, writes));
    }
    Some(items)
}

fn take_octets(octets: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(octets.try_get_u32_le().ok()?).ok()?;
    (length <= octets.remaining()).then(|| octets.split_to(length))
}

pub(super) fn engine_failure(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => failure(&error),
        other => StoreError::Broken(other.to_string().into()),
    }
}
