//! An open file or slot of the spool, and bodies that are still to be written to theirs.
//!
//! What becomes of a file is decided when the last reader drops it. Must never be given back while a record may name it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Idle, Inner};
use crate::store::committer::Item;
use crate::store::slab::Slab;
use crate::store::sled::failure;
use crate::store::{StoreError, Ticket};

/// Where a body's octets are.
pub(super) enum Home {
    /// In a file of its own.
    File(File),
    /// In a slot.
    Slot(Arc<Slab>, u64),
}

/// A body that is still to be written to its place.
pub struct Body {
    pub(super) file: Arc<SpoolFile>,
    pub(super) octets: Bytes,
}

/// An open spool file. What becomes of it is decided when the last reader drops it.
pub struct SpoolFile {
    name: Arc<str>,
    /// None only while it is dropped.
    place: Option<Home>,
    home: Arc<Inner>,
    pub(super) fate: Mutex<Fate>,
    pub(super) sealed: OnceLock<Sealed>,
    synced: AtomicBool,
    /// Nobody has flushed its name yet: that must be done with it.
    pub(super) fresh: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// No record names it.
    Draft,
    /// A record names it, or may.
    Named,
    /// The write that deletes its record has this ticket.
    Released(Ticket),
}

/// What a complete file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) len: u64,
    pub(crate) crc: u32,
}

impl SpoolFile {
    pub(super) fn new(home: &Arc<Inner>, name: Arc<str>, place: Home, fate: Fate, fresh: bool) -> Arc<Self> {
        let (sealed, synced) = (OnceLock::new(), AtomicBool::new(false));
        let (place, home, fate) = (Some(place), Arc::clone(home), Mutex::new(fate));
        Arc::new(Self { name, place, home, fate, sealed, synced, fresh })
    }

    pub(super) fn open(home: &Arc<Inner>, name: Arc<str>, place: Home, fate: Fate, fresh: bool) -> Arc<Self> {
        let this = Self::new(home, name, place, fate, fresh);
        home.files.lock().open.insert(Arc::clone(&this.name), Arc::downgrade(&this));
        this
    }

    /// Name below the spool folder.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the whole file holds, once it is complete.
    pub(crate) fn sealed(&self) -> Option<Sealed> {
        self.sealed.get().copied()
    }

    pub(in crate::store) fn seal(&self, sealed: Sealed) {
        // Sealed twice only where two readers verified the same file at once, with the same result.
        let _already = self.sealed.set(sealed);
    }

    pub(in crate::store) fn write_at(&self, octets: &[u8], at: u64) -> Result<(), StoreError> {
        self.home.room.wrote(octets.len() as u64);
        let written = self.place().and_then(|place| match place {
            Home::File(file) => file.write_all_at(octets, at),
            Home::Slot(slab, slot) => slab.write_at(*slot, octets, at),
        });
        written.map_err(|e| failure(&e))
    }

    pub(in crate::store) fn read_exact_at(&self, octets: &mut [u8], at: u64) -> io::Result<()> {
        match self.place()? {
            Home::File(file) => file.read_exact_at(octets, at),
            Home::Slot(slab, slot) => slab.read_exact_at(*slot, octets, at),
        }
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        if self.synced.load(Ordering::Acquire) {
            return Ok(());
        }
        let folder = self.home.path(&self.name).parent().map(Path::to_owned).filter(|_| self.fresh);
        let flushed = self.place().and_then(|place| match place {
            Home::File(file) => file.sync_data(),
            Home::Slot(slab, _) => slab.flush(),
        });
        let synced = flushed.and_then(|()| match folder {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        });
        synced.map_err(|e| failure(&e))?;
        self.synced.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn verify(&self, sealed: Sealed) -> Result<(), StoreError> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut at = 0;
        while at < sealed.len {
            let take = usize::try_from(sealed.len - at).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..take).unwrap_or_default();
            self.read_exact_at(part, at).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => StoreError::Damaged(format!("{} is too short", self.name).into()),
                _ => failure(&error),
            })?;
            hasher.update(part);
            at += take as u64;
        }
        if hasher.finalize() != sealed.crc {
            return Err(StoreError::Damaged(format!("{} has another checksum", self.name).into()));
        }
        Ok(())
    }

    fn place(&self) -> io::Result<&Home> {
        self.place.as_ref().ok_or_else(|| io::Error::other("the spool file is being closed"))
    }
}

impl Body {
    /// Blocks.
    ///
    /// # Errors
    /// When it can't be written.
    pub(in crate::store) fn write(&self) -> Result<(), StoreError> {
        self.file.write_at(&self.octets, 0)
    }

    /// Blocks.
    ///
    /// # Errors
    /// When it is not on the disk.
    pub(in crate::store) fn flush(&self) -> Result<(), StoreError> {
        self.file.sync()
    }

    /// Writes the bodies of all items, and flushes them together. Items with one that can't be written or flushed are refused.
    /// Blocks.
    pub(in crate::store) fn write_all(items: &mut [Item]) {
        let mut flushed: Vec<(Arc<Slab>, Result<(), StoreError>)> = Vec::new();
        for item in items.iter_mut() {
            if let Err(error) = item.bodies.iter().try_for_each(Self::write) {
                item.refuse(&error);
            }
            for body in &item.bodies {
                if let Ok(Home::Slot(slab, _)) = body.file.place()
                    && !flushed.iter().any(|(known, _)| Arc::ptr_eq(known, slab))
                {
                    flushed.push((Arc::clone(slab), Ok(())));
                }
            }
        }
        for (slab, result) in &mut flushed {
            *result = slab.flush().map_err(|e| failure(&e));
        }
        for item in items.iter_mut().filter(|item| !item.bodies.is_empty()) {
            let failed = item.bodies.iter().find_map(|body| body.covered(&flushed).err());
            match failed {
                Some(error) => item.refuse(&error),
                None => item.bodies.clear(),
            }
        }
    }

    /// What became of the flush that was to cover it.
    fn covered(&self, flushed: &[(Arc<Slab>, Result<(), StoreError>)]) -> Result<(), StoreError> {
        match self.file.place() {
            Ok(Home::Slot(slab, _)) => {
                let found = flushed.iter().find(|(known, _)| Arc::ptr_eq(known, slab));
                found.map_or(Err(StoreError::Closed), |(_, result)| result.clone())
            }
            _ => self.flush(),
        }
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        let ticket = match *self.fate.get_mut() {
            Fate::Draft => Some(Ticket::default()),
            Fate::Released(ticket) => Some(ticket),
            Fate::Named => None,
        };
        let name = Arc::clone(&self.name);
        let mut files = self.home.files.lock();
        // Unless another handle was opened meanwhile, which only a named file may see.
        if files.open.get(&name).is_some_and(|handle| handle.strong_count() == 0) {
            files.open.remove(&name);
        }
        let Some(ticket) = ticket else { return };
        let fresh = self.fresh && !*self.synced.get_mut();
        match self.place.take() {
            Some(Home::File(file)) => files.retired.push_back((ticket, Idle { name, file: Some(file), fresh })),
            Some(Home::Slot(slab, slot)) => slab.retire(slot, ticket),
            None => {}
        }
    }
}

impl std::fmt::Debug for SpoolFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolFile").field("name", &self.name).field("sealed", &self.sealed).finish_non_exhaustive()
    }
}
