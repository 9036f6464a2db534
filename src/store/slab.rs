//! Slabs: bodies of middling size side by side in the slots of a few files, so that one flush covers all that came at once.
//!
//! A slot is taken and given back in memory; its octets are written by the committer, with the commit that names them. When a slot
//! may be written over is the spool's matter (see there). Must never give a slot to two, nor be used again after a flush failed:
//! what it then holds is not what it says.
//!
//! Blocks where it says so.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Ticket;

/// Octets of the slots of each slab: a body goes to the first that it fits into.
const SIZES: [u64; 3] = [64 << 10, 128 << 10, 256 << 10];

/// Free slots that keep their blocks: some more than messages that are on their way at a time.
const KEPT: usize = 256;

/// What names of slots begin with; no folder of the spool is called so.
const PREFIX: &str = "slab/";

/// One file of slots of one size.
pub(super) struct Slab {
    size: u64,
    file: File,
    slots: Mutex<Slots>,
    broken: AtomicBool,
}

#[derive(Default)]
struct Slots {
    /// Free, with their blocks, used last at the end.
    free: Vec<u64>,
    /// Free, their blocks given back.
    bare: Vec<u64>,
    /// Free once their ticket is flushed, oldest first.
    retired: VecDeque<(Ticket, u64)>,
    /// The first that was never used.
    next: u64,
    /// What `next` was when the slab was opened.
    old: u64,
    /// Those free, bare or retired, a bit for each: none of them is given back once more.
    idle: Bits,
}

/// A set of slots: one is told apart from the others without a look at them all.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Slab {
    /// Opens or makes all slabs of a folder. Blocks.
    ///
    /// # Errors
    /// When one can't be opened.
    pub(super) fn open_all(folder: &Path) -> io::Result<Vec<Arc<Self>>> {
        let slabs = SIZES.iter().map(|size| Self::open(folder, *size).map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
        File::open(folder)?.sync_all()?;
        Ok(slabs)
    }

    fn open(folder: &Path, size: u64) -> io::Result<Self> {
        let path = folder.join(format!("slab-{}k", size >> 10));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let next = file.metadata()?.len().div_ceil(size);
        let slots = Mutex::new(Slots { next, old: next, ..Slots::default() });
        Ok(Self { size, file, slots, broken: AtomicBool::new(false) })
    }

    /// The slab for a body of so many octets, if it is one for a slab.
    pub(super) fn for_body(slabs: &[Arc<Self>], len: u64) -> Option<&Arc<Self>> {
        slabs.iter().find(|slab| len <= slab.size)
    }

    /// The slab and the slot that a name is of.
    pub(super) fn of_name<'a>(slabs: &'a [Arc<Self>], name: &str) -> Option<(&'a Arc<Self>, u64)> {
        let (size, slot) = name.strip_prefix(PREFIX)?.split_once('/')?;
        let (size, slot) = (size.parse::<u64>().ok()?, slot.parse().ok()?);
        let slab = slabs.iter().find(|slab| slab.size == size << 10)?;
        Some((slab, slot))
    }

    /// Whether a name is one of a slot, of whatever size.
    pub(super) fn is_name(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    pub(super) fn name(&self, slot: u64) -> Arc<str> {
        format!("{PREFIX}{}/{slot}", self.size >> 10).into()
    }

    /// A slot to write to; none: it can't be used any more. Does no I/O.
    pub(super) fn take(&self, flushed: Ticket) -> Option<u64> {
        if self.broken.load(Ordering::Acquire) {
            return None;
        }
        let mut slots = self.slots.lock();
        slots.collect(flushed);
        if let Some(used) = slots.free.pop().or_else(|| slots.bare.pop()) {
            slots.idle.remove(used);
            return Some(used);
        }
        slots.next += 1;
        Some(slots.next - 1)
    }

    /// The slot is free once this ticket is flushed. One that nobody has is left alone: given back twice, it would go to two.
    pub(super) fn retire(&self, slot: u64, ticket: Ticket) {
        let mut slots = self.slots.lock();
        if slot >= slots.next || !slots.idle.insert(slot) {
            drop(slots);
            tracing::error!(slot, size = self.size, "a slot of the spool that is not in use is given back");
            return;
        }
        // Nearly always the last one; where it is not, sooner ones wait a little longer.
        slots.retired.push_back((ticket, slot));
    }

    /// Slots of earlier runs that are free, as far as `is_free` says so of their names. How many.
    pub(super) fn sweep(&self, is_free: impl Fn(&Arc<str>) -> bool) -> u64 {
        let old = self.slots.lock().old;
        let mut found: Vec<u64> = (0..old).rev().filter(|slot| is_free(&self.name(*slot))).collect();
        let mut slots = self.slots.lock();
        found.retain(|slot| slots.idle.insert(*slot));
        let count = found.len() as u64;
        slots.free.splice(..0, found);
        count
    }

    /// Whether there is something to give back: more than is kept, or anything where the disk is short of space.
    pub(super) fn has_surplus(&self, flushed: Ticket, short: bool) -> bool {
        let mut slots = self.slots.lock();
        slots.collect(flushed);
        slots.free.len() > if short { 0 } else { KEPT + KEPT / 4 }
    }

    /// Gives back the blocks of surplus slots; all of them where the disk is short of space. Blocks.
    pub(super) fn trim(&self, flushed: Ticket, short: bool) {
        let surplus: Vec<u64> = {
            let mut slots = self.slots.lock();
            slots.collect(flushed);
            let many = slots.free.len().saturating_sub(if short { 0 } else { KEPT });
            slots.free.drain(..many).collect()
        };
        for slot in &surplus {
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            if let Err(error) = rustix::fs::fallocate(&self.file, flags, slot * self.size, self.size) {
                tracing::debug!(%error, "the file system gives no part of a file back");
                break;
            }
        }
        self.slots.lock().bare.extend(surplus);
    }

    /// Blocks.
    pub(super) fn write_at(&self, slot: u64, octets: &[u8], at: u64) -> io::Result<()> {
        if at.saturating_add(octets.len() as u64) > self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_all_at(octets, slot * self.size + at)
    }

    /// Blocks.
    pub(super) fn read_exact_at(&self, slot: u64, octets: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(octets, slot.saturating_mul(self.size).saturating_add(at))
    }

    /// All that a slot can hold, as far as the file goes. Blocks.
    pub(super) fn read_slot(&self, slot: u64) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; usize::try_from(self.size).unwrap_or_default()];
        let mut filled = 0;
        while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, slot.saturating_mul(self.size).saturating_add(filled as u64))? {
                0 => break,
                read => filled += read,
            }
        }
        octets.truncate(filled);
        Ok(octets)
    }

    /// Flushes what was written. Blocks.
    ///
    /// # Errors
    /// When it is not on the disk; nothing more is written here then.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|error| {
            tracing::error!(%error, "a slab of the spool can't be flushed: it is used no more");
            self.broken.store(true, Ordering::Release);
        })
    }
}

impl Slots {
    fn collect(&mut self, flushed: Ticket) {
        while let Some((ticket, slot)) = self.retired.front().copied()
            && ticket <= flushed
        {
            self.retired.pop_front();
            self.free.push(slot);
        }
    }
}

impl Bits {
    /// False: it is in already.
    fn insert(&mut self, slot: u64) -> bool {
        let Ok(word) = usize::try_from(slot / 64) else { return false };
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (slot % 64);
        let Some(bits) = self.0.get_mut(word) else { return false };
        let news = *bits & bit == 0;
        *bits |= bit;
        news
    }

    fn remove(&mut self, slot: u64) {
        if let Some(bits) = usize::try_from(slot / 64).ok().and_then(|word| self.0.get_mut(word)) {
            *bits &= !(1 << (slot % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slab(folder: &Path) -> Arc<Slab> {
        let slabs = Slab::open_all(folder).unwrap();
        Arc::clone(Slab::for_body(&slabs, 100_000).unwrap())
    }

    #[test]
    fn a_body_goes_to_the_smallest_slot_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let slabs = Slab::open_all(folder.path()).unwrap();
        let size = |len| Slab::for_body(&slabs, len).map(|slab| slab.size >> 10);
        assert_eq!([1, 65_536, 65_537, 262_144, 262_145].map(size), [Some(64), Some(64), Some(128), Some(256), None]);
        for slab in &slabs {
            let name = slab.name(7);
            let (found, slot) = Slab::of_name(&slabs, &name).unwrap();
            assert!(Arc::ptr_eq(found, slab) && slot == 7 && Slab::is_name(&name));
        }
        for name in ["12/13/00000000000000ff", "slab/64", "slab/63/1", "slab/64/x", "slab/64/1/2", "slab/64/-1"] {
            assert!(Slab::of_name(&slabs, name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_slot_is_used_again_once_its_ticket_is_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let slab = slab(folder.path());
        assert_eq!([0; 3].map(|_| slab.take(Ticket(0))), [Some(0), Some(1), Some(2)]);
        slab.retire(1, Ticket(5));
        assert_eq!(slab.take(Ticket(4)), Some(3));
        assert_eq!(slab.take(Ticket(5)), Some(1));
    }

    #[test]
    fn a_slot_that_nobody_has_is_not_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let slab = slab(folder.path());
        assert_eq!([0; 2].map(|_| slab.take(Ticket(0))), [Some(0), Some(1)]);
        slab.retire(1, Ticket(1));
        slab.retire(1, Ticket(2));
        slab.retire(2, Ticket(1));
        slab.retire(u64::MAX, Ticket(1));
        assert_eq!([0; 2].map(|_| slab.take(Ticket(9))), [Some(1), Some(2)], "once each");
        slab.retire(1, Ticket(9));
        slab.trim(Ticket(9), true);
        slab.retire(1, Ticket(9));
        assert_eq!([0; 2].map(|_| slab.take(Ticket(9))), [Some(1), Some(3)], "nor one whose blocks are given back");
    }

    #[test]
    fn slots_of_an_earlier_run_are_used_once_they_are_known_to_be_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = slab(folder.path());
        for slot in 0..3 {
            first.write_at(slot, b"octets", 0).unwrap();
        }
        let slab = slab(folder.path());
        assert_eq!(slab.take(Ticket(0)), Some(3), "nobody has said yet what is free");
        let named = slab.name(1);
        assert_eq!(slab.sweep(|name| *name != named), 2);
        assert_eq!([0; 3].map(|_| slab.take(Ticket(0))), [Some(0), Some(2), Some(4)]);
        let mut octets = [0; 6];
        slab.read_exact_at(1, &mut octets, 0).unwrap();
        assert_eq!((&octets, slab.read_slot(2).unwrap().len()), (b"octets", 6));
    }

    #[test]
    fn surplus_slots_give_their_blocks_back_and_stay_free() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let slab = slab(folder.path());
        for slot in 0..400 {
            assert_eq!(slab.take(Ticket(0)), Some(slot));
            slab.write_at(slot, &[1; 4096], 0).unwrap();
        }
        slab.flush().unwrap();
        let blocks = || slab.file.metadata().unwrap().blocks();
        let before = blocks();
        (0..400).for_each(|slot| slab.retire(slot, Ticket(1)));
        assert!(!slab.has_surplus(Ticket(0), false) && slab.has_surplus(Ticket(1), false));
        slab.trim(Ticket(1), false);
        let (some, lock) = (blocks(), || slab.slots.lock().free.len());
        assert!(some < before && lock() == KEPT && !slab.has_surplus(Ticket(1), false));
        assert!(slab.has_surplus(Ticket(1), true));
        slab.trim(Ticket(1), true);
        assert!(blocks() < some && lock() == 0);
        let mut taken: Vec<u64> = (0..400).filter_map(|_| slab.take(Ticket(1))).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn after_a_flush_that_failed_it_is_used_no_more() {
        // Nothing can be flushed there.
        let file = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let slab = Slab { size: 64 << 10, file, slots: Mutex::default(), broken: AtomicBool::new(false) };
        assert_eq!(slab.take(Ticket(0)), Some(0));
        assert!(slab.flush().is_err());
        assert_eq!(slab.take(Ticket(0)), None);
    }

    #[test]
    fn no_slot_reaches_into_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let slab = slab(folder.path());
        let whole = vec![1; 128 << 10];
        slab.write_at(0, &whole, 0).unwrap();
        assert!(slab.write_at(0, &whole, 1).is_err() && slab.write_at(0, b"x", u64::MAX).is_err());
    }
}
