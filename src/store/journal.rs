//! The journal: every batch of the committer, appended to files whose blocks already exist, and flushed.
//!
//! A flush of overwritten blocks moves no metadata, so it costs a fraction of a flush of the database file, and a
//! message that leaves within a second never reaches the database at all. Slots are filled one after another; once
//! the database has what a slot holds, the slot is written over. Blocking; only store threads call it. Must never
//! report an append before it is flushed, nor read past the first record that does not verify.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// A slot: large enough that changing slots is rare, small enough that a fresh queue costs little disk.
const SLOT: u64 = 8 << 20;

/// Unused slots kept for later; more are removed after a burst.
const SPARE: usize = 4;

/// Slot header: magic, first sequence number, CRC.
const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"WPJRNL1\n";

/// Record header: sequence number, length, CRC over both and the payload.
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

impl Journal {
    /// Opens or makes the journal in `folder`; returns every batch after `applied`, in order.
    ///
    /// # Errors
    /// When a file can't be read or made.
    pub(super) fn open(folder: &Path, applied: u64) -> io::Result<(Self, Vec<Replayed>)> {
        std::fs::create_dir_all(folder)?;
        let mut found = Vec::new();
        let mut number = 0;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(n) = slot_number(&path) else { continue };
            number = number.max(n + 1);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let records = scan(&file)?;
            found.push((Slot { file, path }, records));
        }
        found.sort_by_key(|(_, records)| records.first().map_or(0, |r| r.sequence));
        let mut replay = Vec::new();
        let mut next = applied + 1;
        let mut kept = Kept { number, ..Kept::default() };
        for (slot, records) in found {
            let mut used = false;
            // Older than what is applied, or not joined to it: left over from a life before.
            for record in records.into_iter().skip_while(|r| r.sequence <= applied) {
                if record.sequence != next {
                    break;
                }
                next += 1;
                used = true;
                replay.push(record);
            }
            if used { kept.full.push((next - 1, slot)) } else { kept.spare.push(slot) }
        }
        let slots = Arc::new(Slots { folder: folder.to_owned(), kept: Mutex::new(kept) });
        let current = slots.take()?;
        let mut journal = Self { current, at: 0, next, slots, buffer: Vec::new() };
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
    /// When it can't be written or flushed. After a failed flush nothing more may be appended.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<u64> {
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

    fn append_record(&mut self, record: &mut [u8]) -> io::Result<u64> {
        let sequence = self.next;
        let (header, payload) = record.split_first_chunk_mut::<RECORD>().ok_or(io::ErrorKind::InvalidInput)?;
        let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let fixed = fixed_part(sequence, length);
        header[..12].copy_from_slice(&fixed);
        header[12..].copy_from_slice(&checksum(&fixed, payload).to_le_bytes());
        if self.at + record.len() as u64 > SLOT && self.at > HEADER as u64 {
            self.change_slot()?;
        }
        self.current.file.write_all_at(record, self.at)?;
        rustix::fs::fdatasync(&self.current.file)?;
        self.at += record.len() as u64;
        self.next += 1;
        Ok(sequence)
    }

    fn change_slot(&mut self) -> io::Result<()> {
        let next = self.slots.take()?;
        let full = std::mem::replace(&mut self.current, next);
        self.slots.kept.lock().full.push((self.next - 1, full));
        self.begin_slot()
    }

    /// The header is flushed with the first record after it. Without it the slot is one of an earlier life, whose
    /// first record does not fit its header: empty.
    fn begin_slot(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32fast::hash(&header[..16]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        self.current.file.write_all_at(&header, 0)?;
        self.at = HEADER as u64;
        Ok(())
    }
}

impl Slots {
    /// The database has everything up to `sequence`: what held no more may be written over. Sees to spare slots.
    ///
    /// # Errors
    /// When a spare slot can't be made.
    pub(super) fn release(&self, sequence: u64) -> io::Result<()> {
        let (surplus, lacking) = {
            let mut kept = self.kept.lock();
            let (done, full): (Vec<_>, Vec<_>) =
                std::mem::take(&mut kept.full).into_iter().partition(|f| f.0 <= sequence);
            kept.full = full;
            kept.spare.extend(done.into_iter().map(|(_, slot)| slot));
            let at = SPARE.min(kept.spare.len());
            (kept.spare.split_off(at), kept.spare.is_empty())
        };
        for slot in surplus {
            std::fs::remove_file(slot.path)?;
        }
        if lacking {
            let slot = self.make()?;
            self.kept.lock().spare.push(slot);
        }
        Ok(())
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
        let zeros = vec![0; 1 << 20];
        let made = (0..SLOT >> 20).try_for_each(|mib| file.write_all_at(&zeros, mib << 20)).and_then(|()| {
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

fn slot_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".journal")?.parse().ok()
}

fn fixed_part(sequence: u64, length: u32) -> [u8; 12] {
    let mut fixed = [0; 12];
    fixed[..8].copy_from_slice(&sequence.to_le_bytes());
    fixed[8..].copy_from_slice(&length.to_le_bytes());
    fixed
}

fn checksum(fixed: &[u8; 12], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fixed);
    crc.update(payload);
    crc.finalize()
}

/// The records of a slot's present life, up to the first that does not verify: a torn one, or one of a life before.
///
/// A batch whose flush a crash or an error cut off may be whole in the page cache and not on the disk. What comes after
/// it is numbered after it, so it has to be there for good, or not at all: flushed, and read from the disk.
fn scan(file: &File) -> io::Result<Vec<Replayed>> {
    file.sync_all()?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    let mut octets = Vec::new();
    io::Read::read_to_end(&mut &*file, &mut octets)?;
    let mut records = Vec::new();
    let Some(mut next) = first_sequence(&octets) else { return Ok(records) };
    let mut rest = octets.get(HEADER..).unwrap_or_default();
    while let Some((record, after)) = take_record(rest, next) {
        records.push(record);
        rest = after;
        next += 1;
    }
    Ok(records)
}

fn first_sequence(octets: &[u8]) -> Option<u64> {
    let header = octets.first_chunk::<HEADER>()?;
    let (magic, sequence) = header[..16].split_first_chunk::<8>()?;
    let crc = u32::from_le_bytes(*header[16..].first_chunk()?);
    (magic == MAGIC && crc == crc32fast::hash(&header[..16]))
        .then(|| sequence.first_chunk().copied().map(u64::from_le_bytes))?
}

fn take_record(octets: &[u8], sequence: u64) -> Option<(Replayed, &[u8])> {
    let (header, rest) = octets.split_first_chunk::<RECORD>()?;
    let (fixed, crc) = header.split_first_chunk::<12>()?;
    let length = u32::from_le_bytes(*fixed[8..].first_chunk()?);
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    let good = u64::from_le_bytes(*fixed.first_chunk()?) == sequence
        && u32::from_le_bytes(*crc.first_chunk()?) == checksum(fixed, payload);
    let after = rest.get(payload.len()..)?;
    good.then(|| (Replayed { sequence, payload: payload.to_vec() }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, applied: u64) -> (Journal, Vec<u64>) {
        let (journal, replay) = Journal::open(folder, applied).unwrap();
        for record in &replay {
            assert_eq!(record.payload, payload(record.sequence), "a batch came back changed");
        }
        (journal, replay.into_iter().map(|r| r.sequence).collect())
    }

    fn payload(sequence: u64) -> Vec<u8> {
        sequence.to_le_bytes().repeat(64 * 1024)
    }

    fn append(journal: &mut Journal) -> u64 {
        let next = journal.last() + 1;
        journal.append(|out| out.extend(payload(next))).unwrap()
    }

    #[test]
    fn what_was_appended_is_replayed_across_slots_and_lives() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, replay) = open(folder.path(), 0);
        assert!(replay.is_empty());
        // Half a MiB each: several slots.
        for n in 1..=40 {
            assert_eq!(append(&mut journal), n);
        }
        drop(journal);
        let (mut journal, replay) = open(folder.path(), 0);
        assert_eq!(replay, (1..=40).collect::<Vec<_>>());
        assert_eq!(append(&mut journal), 41);
        drop(journal);
        assert_eq!(open(folder.path(), 30).1, (31..=41).collect::<Vec<_>>());
    }

    #[test]
    fn released_slots_are_written_over_and_their_past_is_not_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path(), 0);
        for _ in 0..200 {
            let n = append(&mut journal);
            journal.slots().release(n).unwrap();
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().count() <= SPARE + 3, "slots are used again");
        drop(journal);
        assert!(open(folder.path(), 200).1.is_empty());
        let (_, replay) = open(folder.path(), 150);
        assert!(replay.is_empty() || replay.first() == Some(&151), "no gap is stepped over: {replay:?}");
    }

    #[test]
    fn a_torn_record_ends_the_replay() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path(), 0);
        for _ in 0..3 {
            append(&mut journal);
        }
        let at = journal.at - 1;
        journal.current.file.write_all_at(&[0xff], at).unwrap();
        drop(journal);
        let (mut journal, replay) = open(folder.path(), 0);
        assert_eq!(replay, [1, 2]);
        assert_eq!(append(&mut journal), 3, "the torn one's number is given again");
        drop(journal);
        assert_eq!(open(folder.path(), 0).1, [1, 2, 3]);
    }

    #[test]
    fn rubbish_in_the_folder_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("00000007.journal"), b"WPJRNL1\nshort").unwrap();
        std::fs::write(folder.path().join("notes.txt"), b"hello").unwrap();
        let (mut journal, replay) = open(folder.path(), 0);
        assert!(replay.is_empty());
        append(&mut journal);
        drop(journal);
        assert_eq!(open(folder.path(), 0).1, [1]);
    }
}
