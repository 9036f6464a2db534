//! Pages that sled keeps in files of their own, flushed here: it writes them, and never flushes them.
//!
//! A file is named after the place in sled's log that first named it. One that the log names and the disk does not hold is passed
//! over at the next start, with the page that was in it; one that is there in part ends the log. So nothing counts as carried before
//! these files and their folder are flushed. Must never take one for flushed that may not be. Blocks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// A folder changes its time with each file that is made in it, but no more often than clocks of file systems tick: up to two
/// seconds in the coarsest form.
const TICK: Duration = Duration::from_secs(2);

/// The folder of such files.
pub(super) struct Blobs {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// All up to this place are flushed, and none that belongs there comes any more.
    settled: i64,
    /// Flushed, behind it.
    flushed: BTreeSet<i64>,
    /// When the folder had changed last, as it was looked through. None: more may have come within that tick.
    looked: Option<SystemTime>,
}

impl Blobs {
    /// Those of a database of which all up to `settled` were flushed before.
    pub(super) fn new(database: &Path, settled: i64) -> Self {
        let state = State { settled, flushed: BTreeSet::new(), looked: None };
        Self { folder: database.join("blobs"), state: Mutex::new(state) }
    }

    /// Flushes those that are new, and the folder. Looks through the folder only where it changed. Gives the place of the newest.
    ///
    /// # Errors
    /// When one may not be on the disk.
    pub(super) fn flush(&self) -> io::Result<i64> {
        let mut state = self.state.lock();
        let changed = std::fs::metadata(&self.folder)?.modified()?;
        if state.looked != Some(changed) {
            // Asked before the names are read: what is made after that shows.
            let settled = changed.elapsed().is_ok_and(|age| age > TICK);
            self.flush_new(&mut state)?;
            state.looked = settled.then_some(changed);
        }
        Ok(state.flushed.last().copied().unwrap_or(state.settled))
    }

    fn flush_new(&self, state: &mut State) -> io::Result<()> {
        let mut new = Vec::new();
        for place in places(&self.folder)? {
            let place = place?;
            if place > state.settled && !state.flushed.contains(&place) {
                new.push(place);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        for place in &new {
            match File::open(self.folder.join(place.to_string())) {
                Ok(file) => file.sync_data()?,
                // Removed meanwhile: its page was written anew.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(&self.folder)?.sync_all()?;
        state.flushed.extend(new);
        Ok(())
    }

    /// All up to this place are flushed.
    pub(super) fn settled(&self) -> i64 {
        self.state.lock().settled
    }

    /// To be called where [`Self::flush`] gave this place, sled's log was flushed after that, and the folder once more after that:
    /// who wrote a file up to there was done before the log could be flushed.
    pub(super) fn settle(&self, place: i64) {
        let mut state = self.state.lock();
        let settled = state.settled.max(place);
        state.settled = settled;
        state.flushed.retain(|place| *place > settled);
    }

    /// Throws their clean pages out of the page cache: after a flush that failed, what is read must come from the disk.
    pub(super) fn forget_pages(database: &Path) -> io::Result<()> {
        let folder = database.join("blobs");
        for place in places(&folder)? {
            let file = File::open(folder.join(place?.to_string()))?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }
}

/// Places of all files of a folder; what has another name is not sled's.
fn places(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<i64>>> {
    let place = |entry: io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
        Err(error) => Some(Err(error)),
    };
    Ok(std::fs::read_dir(folder)?.filter_map(place))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::engine::Engine;
    use super::*;
    use crate::store::Write;
    use crate::store::committer::Item;

    const KEYS: usize = 24;

    fn large(round: usize) -> Vec<Write> {
        let value = Bytes::from(vec![round as u8; 20 * 1024]);
        let key = |n: usize| Bytes::from(format!("{n:02}-{round}"));
        (0..KEYS).map(|n| Write::Put { key: key(n), value: value.clone() }).collect()
    }

    fn is_flushed(blobs: &Blobs, name: &str) -> bool {
        let (place, state) = (name.parse().unwrap(), blobs.state.lock());
        place <= state.settled || state.flushed.contains(&place)
    }

    /// What a power failure leaves at the worst: of these files only those that were flushed.
    fn image(from: &Path, to: &Path, blobs: &Blobs) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (name, target) = (entry.file_name().into_string().unwrap(), to.join(entry.file_name()));
            if entry.path().is_dir() {
                image(&entry.path(), &target, blobs);
            } else if !from.ends_with("blobs") || is_flushed(blobs, &name) {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[test]
    fn large_pages_are_on_the_disk_before_the_journal_lets_go_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(folder.path(), 8 << 20).unwrap();
        let names = |folder: &Path| places(&folder.join("blobs")).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        for round in 0..4 {
            let item = Item { tree: "queue", writes: large(round), bodies: Vec::new(), waiter: None };
            engine.commit(&mut [item]).unwrap();
            engine.carry().unwrap();
            let left = tempfile::tempdir().unwrap();
            image(folder.path(), left.path(), &engine.blobs);
            let again = Engine::open(left.path(), 8 << 20).unwrap();
            // Before anything is read: that may divide pages.
            let blobs = Arc::clone(&again.blobs);
            let all_flushed = || names(left.path()).iter().all(|place| is_flushed(&blobs, &place.to_string()));
            assert!(all_flushed());
            let pairs = again.range("queue", b"0", b"9", 1000).unwrap();
            assert_eq!(pairs.len(), KEYS * (round + 1), "after round {round}");
            assert!(pairs.iter().all(|(_, value)| value.len() == 20 * 1024));
            drop(again);
            assert!(all_flushed(), "before sled writes the last of its log");
        }
        assert!(!names(folder.path()).is_empty(), "else nothing was shown");
        assert!(engine.blobs.settled() > 0);
        drop(engine);
        let again = Engine::open_patiently(folder.path(), 8 << 20).unwrap();
        assert!(again.blobs.settled() > 0, "what was flushed need not be flushed again at each start");
    }

    #[test]
    fn a_folder_that_did_not_change_is_not_looked_through_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs");
        std::fs::create_dir(&path).unwrap();
        let make = |name: &str| drop(File::create(path.join(name)).unwrap());
        ["10", "20", "no place"].into_iter().for_each(make);
        let blobs = Blobs::new(folder.path(), -1);
        assert_eq!(blobs.flush().unwrap(), 20);
        assert!(blobs.state.lock().looked.is_none(), "another may come within the tick");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_473_060 / 2);
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(blobs.flush().unwrap(), 20);
        assert_eq!(blobs.state.lock().looked, Some(long_ago));
        make("30");
        assert_eq!(blobs.flush().unwrap(), 30);
        blobs.settle(20);
        assert_eq!((blobs.settled(), blobs.state.lock().flushed.len()), (20, 1));
        Blobs::forget_pages(folder.path()).unwrap();
    }
}
