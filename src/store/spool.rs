//! Spool files: bodies too large for a tree, one to a file, in files that are used again.
//!
//! A file overwritten flushes about twice as fast as a new one: its blocks and its name are on the disk already.
//!
//! Why a crash never leaves a record that names a file with other content: a file is overwritten only after it was
//! taken from the free list. It comes there (a) from a draft that no record ever named, or (b) by [`Spool::release`]
//! with the ticket of the write that deletes the only record naming it, and only once that ticket is flushed and the
//! last reader has closed it. Flushed means: in the engine's journal. The database may hold the record still, but a
//! crash replays the journal over it before anybody reads, and nothing of the journal is written over before the
//! database has it, flushed. So, when the first octet is overwritten, no state of the store that a crash can bring
//! back holds a record that names the file. Files found at start without a record are free under the same condition:
//! the engine flushes the database file and the journal's slots, and only then reads them, so what it recovers is on
//! the disk; what it replays into memory stays in the journal until it is carried down. And before a record that names
//! a file is committed, the file, and its folder where the name was never flushed, are flushed ([`Spool::keep`]); so were the folders
//! above, before the first file of this run was made there or when the spool was opened.
//!
//! Bodies of middling size that are in memory when they are taken have no file but a slot of a [`Slab`]: the committer writes all
//! that came at once, and flushes them together, before it appends the batch that names them ([`Spool::place`]). All that is said
//! above of files goes for slots.
//!
//! Does blocking I/O: everything but the bookkeeping runs on blocking threads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::room::Room;
use super::slab::Slab;
use super::sled::failure;
use super::{Content, Draft, Spooled, Store, StoreError, Ticket};

pub(crate) use file::Sealed;
pub use file::{Body, SpoolFile};
use file::{Fate, Home};

mod file;

/// Files kept for another use: some more than concurrent transactions with large bodies.
const POOL_FILES: usize = 256;

/// A larger file is removed rather than kept: the pool must not hold the disk.
const POOLED_SIZE: u64 = 1024 * 1024;

/// Files out of use, of any size, that may wait for the next draft to find them.
const TIDY_AT: usize = 8;

/// Folders on each of two levels; keeps a folder small with a million files.
const FOLDERS: u32 = 64;

/// The spool folder. Cheap to clone.
#[derive(Clone)]
pub struct Spool(pub(super) Arc<Inner>);

pub(super) struct Inner {
    folder: PathBuf,
    store: Arc<dyn Store>,
    pub(super) room: Room,
    files: Mutex<Files>,
    slabs: Vec<Arc<Slab>>,
    tidying: AtomicBool,
    /// Folders of files whose names are on the disk, by their two numbers.
    folders: Mutex<HashSet<(u32, u32)>>,
}

#[derive(Default)]
struct Files {
    free: Vec<Idle>,
    /// Free once their ticket is flushed, oldest first.
    retired: VecDeque<(Ticket, Idle)>,
    /// Those that are open somewhere, by name.
    open: HashMap<Arc<str>, Weak<SpoolFile>>,
    /// Until the sweep: those made or released in this run, of which the count of names may have missed the record.
    handled: Option<HashSet<Arc<str>>>,
}

impl Files {
    fn handle(&mut self, name: &Arc<str>) {
        if let Some(handled) = &mut self.handled {
            handled.insert(Arc::clone(name));
        }
    }
}

/// A file that nobody reads.
struct Idle {
    name: Arc<str>,
    /// Still open where it was when it became idle.
    file: Option<File>,
    /// Its name may not be on the disk: nobody had it flushed.
    fresh: bool,
}

impl Spool {
    /// Opens or makes the spool in `folder`. Below `floor` octets of free space nothing more comes in. Blocks.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(folder: &Path, floor: u64, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| failure(&e))?;
        let room = Room::new(folder.to_owned(), floor);
        let files = Mutex::new(Files { handled: Some(HashSet::new()), ..Files::default() });
        let slabs = Slab::open_all(folder).map_err(|e| failure(&e))?;
        let folders = flushed_folders(folder).map(Mutex::new)?;
        let tidying = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { folder: folder.to_owned(), store, room, files, slabs, tidying, folders })))
    }

    /// A place for content that comes in.
    pub fn draft(&self) -> Draft {
        Draft::new(Arc::clone(&self.0))
    }

    /// The watch on free space.
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// Makes a body durable in a file of its own and names it: from here on it stays until [`Spool::release`].
    /// Gives the file and its checksum. Does not ask for the floor of free space, which is for what comes in: a report refused by it
    /// would have its recipients delivered to again and again.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) async fn keep(&self, body: &Content) -> Result<(Arc<SpoolFile>, u32), StoreError> {
        let whole = match body {
            Content::Spooled(spooled) if spooled.is_whole() => Arc::clone(&spooled.file),
            Content::Memory(bytes) => return self.keep_octets(bytes.clone()).await,
            Content::Spooled(spooled) => {
                let mut draft = self.draft().on_disk().past_floor();
                draft.copy(body, 0, spooled.len, |_| ()).await?;
                match draft.finish().await? {
                    Content::Spooled(spooled) => spooled.file,
                    Content::Memory(bytes) => return self.keep_octets(bytes).await,
                }
            }
        };
        let file = Arc::clone(&whole);
        blocking(move || file.sync()).await?;
        let crc = whole.sealed.get().map_or(0, |sealed| sealed.crc);
        *whole.fate.lock() = Fate::Named;
        Ok((whole, crc))
    }

    /// A place for a body in memory, which is written and flushed with the commit that names it: gives the file, named from here on
    /// until [`Spool::release`], the checksum, and what that commit has to take with it. None: it is for [`Spool::keep`]. Does no
    /// I/O.
    ///
    /// # Errors
    /// [`StoreError::Full`] below the floor of free space.
    pub(crate) fn place(&self, octets: &Bytes) -> Result<Option<(Arc<SpoolFile>, u32, Body)>, StoreError> {
        self.0.room.check()?;
        let Some(slab) = Slab::for_body(&self.0.slabs, octets.len() as u64) else { return Ok(None) };
        let Some(slot) = slab.take(self.0.store.flushed()) else { return Ok(None) };
        let name = slab.name(slot);
        self.0.files.lock().handle(&name);
        let file = SpoolFile::open(&self.0, name, Home::Slot(Arc::clone(slab), slot), Fate::Named, false);
        let crc = crc32fast::hash(octets);
        file.seal(Sealed { len: octets.len() as u64, crc });
        let body = Body { file: Arc::clone(&file), octets: octets.clone() };
        Ok(Some((file, crc, body)))
    }

    async fn keep_octets(&self, octets: Bytes) -> Result<(Arc<SpoolFile>, u32), StoreError> {
        let home = Arc::clone(&self.0);
        blocking(move || {
            let file = Inner::take(&home)?;
            file.write_at(&octets, 0)?;
            let crc = crc32fast::hash(&octets);
            file.seal(Sealed { len: octets.len() as u64, crc });
            file.sync()?;
            *file.fate.lock() = Fate::Named;
            Ok((file, crc))
        })
        .await
    }

    /// Opens a file that a record names, and verifies it the first time. Blocks. Until it is open it can be released, and used for
    /// another body: who calls this then sees to it that the record is still there. From here on it stays what it is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not there, too short, or other than it was.
    pub(crate) fn read(&self, name: &str, sealed: Sealed) -> Result<Content, StoreError> {
        let file = self.0.reopen(name)?;
        match file.sealed() {
            Some(known) if known == sealed => {}
            Some(_) => return Err(StoreError::Damaged(format!("spool file {name} is another's").into())),
            None => {
                file.verify(sealed)?;
                file.seal(sealed);
            }
        }
        Ok(Content::Spooled(Spooled { file, offset: 0, len: sealed.len }))
    }

    /// The record that named the file is deleted by the write with this ticket.
    pub(crate) fn release(&self, name: &Arc<str>, ticket: Ticket) {
        let mut files = self.0.files.lock();
        files.handle(name);
        match files.open.get(name).and_then(Weak::upgrade) {
            Some(file) => {
                *file.fate.lock() = Fate::Released(ticket);
                // The lock is given back first: this may be the last reader, and dropping it takes the lock again.
                drop(files);
                drop(file);
            }
            None => match Slab::of_name(&self.0.slabs, name) {
                Some((slab, slot)) => slab.retire(slot, ticket),
                None if Slab::is_name(name) => {}
                None => files.retired.push_back((ticket, Idle { name: Arc::clone(name), file: None, fresh: false })),
            },
        }
    }

    /// Moves a damaged file out of the way, for a human. Blocks.
    pub(crate) fn set_aside(&self, name: &str) {
        let folder = self.0.folder.join("damaged");
        let to = folder.join(name.replace('/', "-"));
        let moved = std::fs::create_dir_all(&folder).and_then(|()| match Slab::of_name(&self.0.slabs, name) {
            // The slot itself stays as it is: while something is damaged, nothing that a record may name is used again.
            Some((slab, slot)) => slab.read_slot(slot).and_then(|octets| std::fs::write(to, octets)),
            None => std::fs::rename(self.0.path(name), to),
        });
        if let Err(error) = moved {
            tracing::error!(name, %error, "a damaged spool file can't be moved");
        }
    }

    /// Frees files that no record names; none: any may be named, and nothing is freed. To be called once, with what records named
    /// that were there when the spool was opened; those that this run has had to do with meanwhile are left alone. Blocks.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn sweep(&self, named: Option<&HashSet<Arc<str>>>) -> Result<u64, StoreError> {
        let found = named.map_or(Ok(0), |named| self.sweep_but(named));
        self.0.files.lock().handled = None;
        found
    }

    fn sweep_but(&self, named: &HashSet<Arc<str>>) -> Result<u64, StoreError> {
        let mut found = 0;
        for outer in subfolders(&self.0.folder)? {
            for inner in subfolders(&self.0.folder.join(&outer))? {
                let path = self.0.folder.join(&outer).join(&inner);
                for entry in std::fs::read_dir(&path).map_err(|e| failure(&e))? {
                    let entry = entry.map_err(|e| failure(&e))?;
                    let name: Arc<str> = format!("{outer}/{inner}/{}", entry.file_name().to_string_lossy()).into();
                    let mut files = self.0.files.lock();
                    if !named.contains(&name) && !files.handled.as_ref().is_some_and(|handled| handled.contains(&name))
                    {
                        found += 1;
                        // It may be of a draft of a run that was killed.
                        files.retired.push_front((Ticket::default(), Idle { name, file: None, fresh: true }));
                    }
                }
            }
        }
        for slab in &self.0.slabs {
            let handled = |name: &Arc<str>| self.0.files.lock().handled.as_ref().is_some_and(|all| all.contains(name));
            found += slab.sweep(|name| !named.contains(name) && !handled(name));
        }
        self.tidy();
        Ok(found)
    }

    /// True where [`Spool::tidy`] is worth a blocking thread: some files wait for it, or the disk needs every one.
    pub(crate) fn is_untidy(&self) -> bool {
        if self.0.tidying.load(Ordering::Relaxed) {
            return false;
        }
        let flushed = self.0.store.flushed();
        let needed = self.0.room.is_short();
        if self.0.slabs.iter().any(|slab| slab.has_surplus(flushed, needed)) {
            return true;
        }
        let files = self.0.files.lock();
        let ripe = files.retired.front().is_some_and(|(ticket, _)| *ticket <= flushed);
        ripe && files.retired.len() >= TIDY_AT || needed && (ripe || !files.free.is_empty())
    }

    /// Brings files whose time has come back to the pool, and removes what the pool does not want; all of it where
    /// space is short. Blocks.
    pub(crate) fn tidy(&self) {
        // One at a time is enough: many may ask at once while the disk is full.
        if self.0.tidying.swap(true, Ordering::Relaxed) {
            return;
        }
        self.0.collect();
        let (flushed, short) = (self.0.store.flushed(), self.0.room.is_short());
        self.0.slabs.iter().for_each(|slab| slab.trim(flushed, short));
        if short {
            let free = std::mem::take(&mut self.0.files.lock().free);
            free.iter().for_each(|idle| self.0.remove(idle));
        }
        self.0.tidying.store(false, Ordering::Relaxed);
    }
}

impl Inner {
    /// A file to write to: a used one, or a new one. Blocks.
    pub(super) fn take(home: &Arc<Self>) -> Result<Arc<SpoolFile>, StoreError> {
        home.collect();
        let idle = home.files.lock().free.pop();
        let (name, file, fresh) = match idle {
            Some(Idle { name, file: Some(file), fresh }) => (name, file, fresh),
            Some(Idle { name, file: None, fresh }) => {
                let file = open_existing(&home.path(&name)).map_err(|e| failure(&e))?;
                (name, file, fresh)
            }
            None => {
                let (name, file) = home.create().map_err(|e| failure(&e))?;
                (name, file, true)
            }
        };
        Ok(SpoolFile::open(home, name, Home::File(file), Fate::Draft, fresh))
    }

    fn create(&self) -> io::Result<(Arc<str>, File)> {
        loop {
            let (outer, inner, own) = (fastrand::u32(..FOLDERS), fastrand::u32(..FOLDERS), fastrand::u64(..));
            let name: Arc<str> = format!("{outer}/{inner}/{own:016x}").into();
            // Before it is there for the sweep to be found.
            self.files.lock().handle(&name);
            let path = self.path(&name);
            // Another may have made it a moment ago, and not flushed it yet.
            if !self.folders.lock().contains(&(outer, inner)) {
                std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
                File::open(self.folder.join(outer.to_string()))?.sync_all()?;
                File::open(&self.folder)?.sync_all()?;
                self.folders.lock().insert((outer, inner));
            }
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Somebody tidied up: an empty folder is no loss.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.forget_folder(outer, inner) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// True where it was known until now.
    fn forget_folder(&self, outer: u32, inner: u32) -> bool {
        self.folders.lock().remove(&(outer, inner))
    }

    /// The one handle of a file that a record names.
    fn reopen(self: &Arc<Self>, name: &str) -> Result<Arc<SpoolFile>, StoreError> {
        let mut files = self.files.lock();
        if let Some(file) = files.open.get(name).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let place = match Slab::of_name(&self.slabs, name) {
            Some((slab, slot)) => Home::Slot(Arc::clone(slab), slot),
            None => Home::File(open_existing(&self.path(name)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => StoreError::Damaged(format!("spool file {name} is missing").into()),
                _ => failure(&error),
            })?),
        };
        let file = SpoolFile::new(self, name.into(), place, Fate::Named, false);
        files.open.insert(Arc::clone(file.name()), Arc::downgrade(&file));
        Ok(file)
    }

    fn collect(&self) {
        let flushed = self.store.flushed();
        let mut ripe = Vec::new();
        let mut files = self.files.lock();
        while files.retired.front().is_some_and(|(ticket, _)| *ticket <= flushed) {
            ripe.extend(files.retired.pop_front().map(|(_, idle)| idle));
        }
        drop(files);
        if ripe.is_empty() {
            return;
        }
        let short = self.room.is_short();
        for idle in ripe {
            if short {
                self.remove(&idle);
                continue;
            }
            let meta = idle.file.as_ref().map_or_else(|| std::fs::metadata(self.path(&idle.name)), File::metadata);
            if meta.is_ok_and(|meta| meta.len() <= POOLED_SIZE) {
                let mut files = self.files.lock();
                if files.free.len() < POOL_FILES {
                    files.free.push(idle);
                    continue;
                }
            }
            self.remove(&idle);
        }
    }

    fn remove(&self, idle: &Idle) {
        if let Err(error) = std::fs::remove_file(self.path(&idle.name)) {
            tracing::warn!(name = &*idle.name, %error, "a spool file can't be removed");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spool").field(&self.0.folder).finish()
    }
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Flushes the names of the folders that a spool has: whoever made them may not have come to that. Gives them.
fn flushed_folders(spool: &Path) -> Result<HashSet<(u32, u32)>, StoreError> {
    let flush = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failure(&e));
    spool.parent().into_iter().chain([spool]).try_for_each(flush)?;
    let mut found = HashSet::new();
    for outer in subfolders(spool)? {
        let folder = spool.join(&outer);
        let inner = subfolders(&folder)?;
        flush(&folder)?;
        found.extend(inner.iter().filter_map(|inner| Some((outer.parse().ok()?, inner.parse().ok()?))));
    }
    Ok(found)
}

/// Names of the numbered folders in a folder.
fn subfolders(path: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| failure(&e))? {
        let name = entry.map_err(|e| failure(&e))?.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_ok() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Off the async workers.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(act).await.unwrap_or(Err(StoreError::Closed))
}

#[cfg(test)]
mod tests;
