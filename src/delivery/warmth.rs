//! What sources in warm-up sent today: counted with each message, and kept in the store, so that a plan's day goes on when the relay
//! starts again.
//!
//! Written every few seconds, and when the relay stops; after a crash what left in the last of them is not counted. No delivery ever
//! waits for it, and none fails because of it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Dispatcher;
use super::attempt::Attempt;
use super::pools::{self, Count, Sent, Sources};
use crate::store::{Store, StoreError, Write};

const TREE: &str = "warm-up";

/// Entries read, or removed, at a time.
const PAGE: usize = 1000;

/// Written at a time: larger batches hold up others.
const BATCH: usize = 256;

/// Where it is kept, and the write under way: one at a time, or an earlier one might come to the store after a later one.
pub(super) struct Warmth {
    store: Arc<dyn Store>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

/// What was counted for a message. Dropped before the message was tried, in whatever way, it is given back.
#[derive(Debug)]
pub(super) struct Counted {
    sources: Arc<Mutex<Sources>>,
    /// None: it was tried, and counts.
    count: Option<Count>,
}

impl Counted {
    pub(super) fn new(sources: &Arc<Mutex<Sources>>, count: Count) -> Box<Self> {
        Box::new(Self { sources: Arc::clone(sources), count: Some(count) })
    }

    /// The message was tried. What is tried again is not counted again, so that this holds whatever came of it.
    pub(super) fn keep(mut self) {
        self.count = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            self.sources.lock().returned(count);
        }
    }
}

impl Attempt<'_> {
    /// False if the source has used up its day for the site that this leads to, which was not known when the source was picked.
    pub(super) fn may_leave(&mut self) -> bool {
        let Some(Counted { sources, count: Some(count) }) = self.counted.as_deref_mut() else { return true };
        let site = self.dispatcher.site_name(&self.config, &self.route);
        sources.lock().recount(&self.config, count, &site, self.dispatcher.clock().now())
    }
}

impl Dispatcher {
    /// Counts on from what the store knows of today, and has it know what comes. Before it runs.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn warm_up_from(&self, store: Arc<dyn Store>) -> Result<(), StoreError> {
        let day = pools::day_of(self.clock().now());
        let shared = Arc::clone(&store);
        let known = tokio::task::spawn_blocking(move || read(&*shared, day)).await;
        self.sources().lock().resume(day, known.unwrap_or(Err(StoreError::Closed))?);
        // Said once, by whoever puts the relay together.
        let _ = self.warmth.set(Warmth { store, writing: Mutex::default() });
        Ok(())
    }

    /// Writes what was counted since it was last asked to, off the workers. While the disk is slow with the last of it, what is
    /// counted waits for the next time.
    pub(super) fn keep_warmth(&self) {
        let Some(Warmth { store, writing }) = self.warmth.get() else { return };
        let mut writing = writing.lock();
        if writing.as_ref().is_some_and(|write| !write.is_finished()) {
            return;
        }
        let Some((day, sent)) = self.sources().lock().changed() else { return };
        let store = Arc::clone(store);
        *writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&*store, day, &sent) {
                tracing::warn!(%error, "what sources in warm-up sent today is not written down");
            }
        }));
    }

    /// Writes all of it. When nothing is sent any more.
    pub(super) async fn finish_warmth(&self) {
        self.warmth_written().await;
        // What came meanwhile.
        self.keep_warmth();
        self.warmth_written().await;
    }

    async fn warmth_written(&self) {
        let write = self.warmth.get().and_then(|warmth| warmth.writing.lock().take());
        if let Some(write) = write {
            // It has said what went wrong.
            let _ = write.await;
        }
    }
}

fn read(store: &dyn Store, day: i64) -> Result<Vec<Sent>, StoreError> {
    let (mut from, end) = (first(day), first(day.saturating_add(1)));
    let mut all = Vec::new();
    loop {
        let page = store.range(TREE, &from, &end, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        from = [&last[..], &[0]].concat();
        all.extend(page.iter().filter_map(|(key, value)| entry(key, value)));
    }
}

/// Days before this one are nobody's business any more.
fn write(store: &dyn Store, day: i64, sent: &[Sent]) -> Result<(), StoreError> {
    let old = store.range(TREE, &[], &first(day), PAGE)?;
    let gone = old.into_iter().map(|(key, _)| Write::Delete { key });
    let put = |sent: &Sent| Write::Put { key: key(day, sent), value: sent.count.to_be_bytes().to_vec().into() };
    let writes: Vec<Write> = gone.chain(sent.iter().map(put)).collect();
    writes.chunks(BATCH).try_for_each(|part| store.apply(TREE, part.to_vec()))
}

/// Before all keys of a day.
fn first(day: i64) -> Vec<u8> {
    u64::try_from(day).unwrap_or_default().to_be_bytes().to_vec()
}

/// The day, the source, a NUL and the site: no name has one.
fn key(day: i64, sent: &Sent) -> Bytes {
    [&first(day)[..], sent.source.as_bytes(), &[0], sent.site.as_bytes()].concat().into()
}

fn entry(key: &[u8], value: &[u8]) -> Option<Sent> {
    let (source, site) = std::str::from_utf8(key.get(8..)?).ok()?.split_once('\0')?;
    let count = u32::from_be_bytes(value.try_into().ok()?);
    Some(Sent { source: source.into(), site: site.into(), count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Sled;

    fn sent(source: &str, site: &str, count: u32) -> Sent {
        Sent { source: source.into(), site: site.into(), count }
    }

    #[test]
    fn what_was_written_of_a_day_is_read_on_that_day_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sled::open(&folder.path().join("db"), 1 << 20).unwrap();
        assert_eq!(read(&store, 20_000).unwrap(), []);
        write(&store, 20_000, &[sent("new", "mx.test", 3), sent("other", "mx.test", 1)]).unwrap();
        write(&store, 20_000, &[sent("new", "mx.test", 4), sent("new", "", 9)]).unwrap();
        let expected = [sent("new", "", 9), sent("new", "mx.test", 4), sent("other", "mx.test", 1)];
        assert_eq!(read(&store, 20_000).unwrap(), expected);
        assert_eq!(read(&store, 20_001).unwrap(), []);
        write(&store, 20_001, &[sent("new", "mx.test", 1)]).unwrap();
        assert_eq!(read(&store, 20_000).unwrap(), [], "yesterday");
        assert_eq!(read(&store, 20_001).unwrap(), [sent("new", "mx.test", 1)]);
    }

    #[test]
    fn more_than_a_page_is_read_and_what_is_no_entry_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sled::open(&folder.path().join("db"), 1 << 20).unwrap();
        let many: Vec<_> = (0..2500).map(|n| sent("new", &format!("{n:04}.test"), n)).collect();
        write(&store, 7, &many).unwrap();
        let odd = |name: &[u8], value: &'static [u8]| {
            let key = [&first(7)[..], name].concat().into();
            Write::Put { key, value: value.into() }
        };
        store.apply(TREE, vec![odd(b"no end", &[0; 4]), odd(b"a\0b", &[0; 3]), odd(b"\xff\0b", &[0; 4])]).unwrap();
        assert_eq!(read(&store, 7).unwrap(), many);
    }
}
