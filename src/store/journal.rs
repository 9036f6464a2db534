//! The journal: every batch of the committer, appended to files whose blocks already exist, and flushed.
//!
//! A flush of overwritten blocks moves no metadata, so it costs a fraction of a flush of the database file, and a
//! message that leaves within a second never reaches the database at all. Slots are filled one after another; once
//! the database has what a slot holds, the slot is written over. Each life of a slot begins with a random number, and
//! each record's checksum takes in the one before: what earlier lives left, or a body made to look like a record, never
//! verifies. Blocking; only store threads call it. Must never report an append before it is flushed, read past the
//! first record that does not verify, nor step over batches that are missing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// A slot: large enough that changing slots is rare, small enough that a fresh queue costs little disk.
const SLOT: u64 = 8 << 20;

/// What a slot is first written in: the page cache of newer kernels keeps what was written together as one, and handles all of
/// that at each append.
const PIECE: u64 = 16 << 10;

/// Unused slots kept for later; more are removed after a burst.
const SPARE: usize = 4;

/// Slot header: magic, first sequence number, the life's random number, CRC.
const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"WPJRNL1\n";

/// Record header: sequence number, length, CRC over the CRC before, both and the payload.
const RECORD: usize = 16;

/// One batch, as found when the journal was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) sequence: u64,
    pub(super) payload: Vec<u8>,
}

/// The writing end. One thread has it.
pub(super) struct Journal {
    current: Slot,
    at: u64,
    /// Checksum of the last record, or the life's random number.
    chain: u32,
    next: u64,
    slots: Arc<Slots>,
    buffer: Vec<u8>,
}

/// Slots not being written: shared with the thread that empties them.
pub(super) struct Slots {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Full ones with the last sequence number in each.
    full: Vec<(u64, Slot)>,
    spare: Vec<Slot>,
    /// Number of the next file to be made.
    number: u64,
}

struct Slot {
    file: File,
    path: PathBuf,
}

/// Why a batch was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// There is no slot for it, and none could be made; nothing was written.
    NoSlot(io::Error),
    /// It could not be written or flushed: nothing more may be appended.
    Failed(io::Error),
}

/// What a slot's present life holds.
#[derive(Default)]
struct Scanned {
    records: Vec<Replayed>,
    /// Where the next record goes.
    end: u64,
    chain: u32,
}

impl Journal {
    /// Opens or makes the journal in `folder`; returns every batch after `applied`, in order. Goes on in the slot that
    /// was written last, so that a full disk is no reason not to start.
    ///
    /// # Errors
    /// When a file can't be read or made, or batches are missing.
    pub(super) fn open(folder: &Path, applied: u64) -> io::Result<(Self, Vec<Replayed>)> {
        std::fs::create_dir_all(folder)?;
        let (mut found, number) = find(folder)?;
        found.sort_by_key(|(_, scanned)| scanned.records.first().map_or(0, |r| r.sequence));
        let mut replay = Vec::new();
        let mut next = applied + 1;
        let mut kept = Kept { number, ..Kept::default() };
        let mut last: Option<(Slot, u64, u32)> = None;
        for (slot, scanned) in found {
            let news = scanned.records.last().is_some_and(|r| r.sequence >= next);
            if !news {
                // Emptied, or never used.
                kept.spare.push(slot);
                continue;
            }
            // Of a life before, but for what is not applied.
            let wanted = next;
            for record in scanned.records.into_iter().skip_while(|r| r.sequence < wanted) {
                if record.sequence != next {
                    let text = format!("journal batch {next} is missing, though later ones are there");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                next += 1;
                replay.push(record);
            }
            if let Some((before, ..)) = last.replace((slot, scanned.end, scanned.chain)) {
                kept.full.push((replay.last().map_or(applied, |r| r.sequence), before));
            }
        }
        kept.spare.retain(Slot::is_reusable);
        let slots = Arc::new(Slots { folder: folder.to_owned(), kept: Mutex::new(kept) });
        let buffer = Vec::new();
        if let Some((current, at, chain)) = last {
            return Ok((Self { current, at, chain, next, slots, buffer }, replay));
        }
        let current = slots.take()?;
        let mut journal = Self { current, at: 0, chain: 0, next, slots, buffer };
        journal.begin_slot()?;
        Ok((journal, replay))
    }

    /// The other slots.
    pub(super) fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.slots)
    }

    /// The sequence number of the last batch appended.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Appends one batch, written by `write`, and flushes it: its sequence number.
    ///
    /// # Errors
    /// See there.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<u64, AppendError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(RECORD, 0);
        write(&mut buffer);
        let result = self.append_record(&mut buffer);
        // One large batch must not stay in memory for ever.
        buffer.shrink_to(1 << 20);
        self.buffer = buffer;
        result
    }

    fn append_record(&mut self, record: &mut [u8]) -> Result<u64, AppendError> {
        let sequence = self.next;
        let invalid = || AppendError::Failed(io::ErrorKind::InvalidInput.into());
        let length = u32::try_from(record.len() - RECORD).map_err(|_| invalid())?;
        if self.at + record.len() as u64 > SLOT && self.at > HEADER as u64 {
            self.change_slot()?;
        }
        let (header, payload) = record.split_first_chunk_mut::<RECORD>().ok_or_else(invalid)?;
        let fixed = fixed_part(sequence, length);
        let chain = checksum(self.chain, &fixed, payload);
        header[..12].copy_from_slice(&fixed);
        header[12..].copy_from_slice(&chain.to_le_bytes());
        let written = self.current.file.write_all_at(record, self.at);
        written.and_then(|()| Ok(rustix::fs::fdatasync(&self.current.file)?)).map_err(AppendError::Failed)?;
        self.at += record.len() as u64;
        self.chain = chain;
        self.next += 1;
        Ok(sequence)
    }

    fn change_slot(&mut self) -> Result<(), AppendError> {
        let next = self.slots.take().map_err(AppendError::NoSlot)?;
        let full = std::mem::replace(&mut self.current, next);
        self.slots.kept.lock().full.push((self.next - 1, full));
        self.begin_slot().map_err(AppendError::Failed)
    }

    /// Writes the slot at hand over from its beginning: the way out where no other can be had. Everything that was
    /// appended must be in the database.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.begin_slot()
    }

    /// The header is flushed with the first record after it. Without that record nothing verifies: the slot is empty.
    fn begin_slot(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&self.next.to_le_bytes());
        self.chain = fastrand::u32(..);
        header[16..20].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc32fast::hash(&header[..20]);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        self.current.file.write_all_at(&header, 0)?;
        self.at = HEADER as u64;
        Ok(())
    }
}

impl Slots {
    /// The database has everything up to `sequence`: what held no more may be written over. Sees to spare slots; where
    /// there is no space for one, the slots at hand have to do.
    ///
    /// # Errors
    /// When a spare slot can't be made for another reason, or a surplus one not be removed.
    pub(super) fn release(&self, sequence: u64) -> io::Result<()> {
        let (surplus, lacking) = {
            let mut kept = self.kept.lock();
            let (done, full): (Vec<_>, Vec<_>) =
                std::mem::take(&mut kept.full).into_iter().partition(|f| f.0 <= sequence);
            kept.full = full;
            kept.spare.extend(done.into_iter().map(|(_, slot)| slot).filter(Slot::is_reusable));
            let at = SPARE.min(kept.spare.len());
            (kept.spare.split_off(at), kept.spare.is_empty())
        };
        for slot in surplus {
            std::fs::remove_file(slot.path)?;
        }
        if lacking {
            match self.make() {
                Ok(slot) => self.kept.lock().spare.push(slot),
                Err(error) if is_full(&error) => tracing::debug!(%error, "no space for a spare journal slot"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Octets in full slots: what a restart would have to replay.
    pub(super) fn backlog(&self) -> u64 {
        self.kept.lock().full.len() as u64 * SLOT
    }

    fn take(&self) -> io::Result<Slot> {
        let spare = self.kept.lock().spare.pop();
        spare.map_or_else(|| self.make(), Ok)
    }

    /// Writes the blocks for real: blocks only reserved would each need metadata at their first write.
    fn make(&self) -> io::Result<Slot> {
        let number = {
            let mut kept = self.kept.lock();
            kept.number += 1;
            kept.number - 1
        };
        let path = self.folder.join(format!("{number:08}.journal"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let zeros = [0; PIECE as usize];
        let made = (0..SLOT / PIECE).try_for_each(|piece| file.write_all_at(&zeros, piece * PIECE)).and_then(|()| {
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()
        });
        if let Err(error) = made {
            // Half a slot is of no use, and on a full disk in the way.
            let _gone = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Slot { file, path })
    }
}

impl Slot {
    /// Of the usual size: a shorter one would grow as it is written, a longer one had to hold a very large batch. Such
    /// a file is removed.
    fn is_reusable(&self) -> bool {
        let usual = self.file.metadata().is_ok_and(|meta| meta.len() == SLOT);
        if !usual && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a journal slot can't be removed");
        }
        usual
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The slots of the folder with what is in them, and a number that none of them has.
fn find(folder: &Path) -> io::Result<(Vec<(Slot, Scanned)>, u64)> {
    let (mut found, mut number) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(n) = slot_number(&path) else { continue };
        number = number.max(n.saturating_add(1));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        // What is read has to be what the disk holds. A process just killed may have left a record in the page cache
        // only; after a failed flush the cache may hold one that the disk will never have.
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        let scanned = scan(&file)?;
        found.push((Slot { file, path }, scanned));
    }
    Ok((found, number))
}

fn slot_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".journal")?.parse().ok()
}

fn fixed_part(sequence: u64, length: u32) -> [u8; 12] {
    let mut fixed = [0; 12];
    fixed[..8].copy_from_slice(&sequence.to_le_bytes());
    fixed[8..].copy_from_slice(&length.to_le_bytes());
    fixed
}

fn checksum(chain: u32, fixed: &[u8; 12], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&chain.to_le_bytes());
    crc.update(fixed);
    crc.update(payload);
    crc.finalize()
}

/// The records of a slot's present life, up to the first that does not verify: a torn one, or one of a life before.
fn scan(file: &File) -> io::Result<Scanned> {
    let mut octets = Vec::new();
    io::Read::read_to_end(&mut &*file, &mut octets)?;
    let mut scanned = Scanned::default();
    let Some((mut next, chain)) = read_header(&octets) else { return Ok(scanned) };
    (scanned.end, scanned.chain) = (HEADER as u64, chain);
    let mut rest = octets.get(HEADER..).unwrap_or_default();
    while let Some((payload, chain, after)) = take_record(rest, next, scanned.chain) {
        scanned.records.push(Replayed { sequence: next, payload: payload.to_vec() });
        scanned.end += (RECORD + payload.len()) as u64;
        scanned.chain = chain;
        rest = after;
        next += 1;
    }
    Ok(scanned)
}

/// First sequence number and random number of a slot's life.
fn read_header(octets: &[u8]) -> Option<(u64, u32)> {
    let header = octets.first_chunk::<HEADER>()?;
    let (body, crc) = header.split_first_chunk::<20>()?;
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (sequence, chain) = rest.split_first_chunk::<8>()?;
    let good = magic == MAGIC && u32::from_le_bytes(*crc.first_chunk()?) == crc32fast::hash(body);
    good.then_some((u64::from_le_bytes(*sequence), u32::from_le_bytes(*chain.first_chunk()?)))
}

/// The payload of the record at the beginning, its checksum, and what follows it.
fn take_record(octets: &[u8], sequence: u64, chain: u32) -> Option<(&[u8], u32, &[u8])> {
    let (header, rest) = octets.split_first_chunk::<RECORD>()?;
    let (fixed, crc) = header.split_first_chunk::<12>()?;
    let length = usize::try_from(u32::from_le_bytes(*fixed[8..].first_chunk()?)).ok()?;
    let (payload, after) = rest.split_at_checked(length)?;
    let crc = u32::from_le_bytes(*crc.first_chunk()?);
    let good = u64::from_le_bytes(*fixed.first_chunk()?) == sequence && crc == checksum(chain, fixed, payload);
    good.then_some((payload, crc, after))
}

#[cfg(test)]
mod tests;
