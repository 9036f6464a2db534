//! A ledger's writer: one thread, one buffer that callers append to.
//!
//! A line costs whoever made it a short lock and a copy. The thread is woken by the first line after a pause, gathers
//! for `GATHER`, then writes all of it. Beyond `FULL` octets lines are dropped and counted; so are those that the disk
//! does not take. The trouble is logged once, and its end: mail never waits for this, and never fails because of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::segments::Segments;
use super::{Info, Keep};
use crate::time::Clock;

/// How long lines gather: what a crash of the process loses.
const GATHER: Duration = Duration::from_millis(500);

/// Written at once when this much has gathered.
const PLENTY: usize = 256 << 10;

/// The most that is held: some seconds of a busy relay.
const FULL: usize = 4 << 20;

/// How often age is looked at where nothing is written.
const IDLE: Duration = Duration::from_secs(60);

/// How long a flush waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread shares with those who have something to write.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What it writes, for the log.
    name: &'static str,
    state: Mutex<State>,
    /// The thread waits here.
    work: Condvar,
    /// Who flushes waits here.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    gathered: Vec<u8>,
    /// The thread waits for a first line, not merely for more.
    idle: bool,
    /// Where to write from now on.
    place: Option<Place>,
    stop: bool,
    /// The thread has written all that it will.
    stopped: bool,
    /// Flushes asked for, and those done.
    flushes: u64,
    flushed: u64,
    written: u64,
    dropped: u64,
    trouble: Option<String>,
}

/// Other settings, and how much had gathered when they came.
#[derive(Debug)]
struct Place {
    before: usize,
    /// None: nothing is to be written.
    at: Option<(PathBuf, Keep)>,
}

impl State {
    fn is_urgent(&self) -> bool {
        self.stop || self.place.is_some() || self.flushes > self.flushed || self.gathered.len() >= PLENTY
    }
}

impl Shared {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Takes a line, or counts it as dropped. Never waits for the disk.
    pub(crate) fn append(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.gathered.len().saturating_add(line.len()) > FULL {
            state.dropped += 1;
            return;
        }
        state.gathered.extend_from_slice(line);
        if state.idle || state.gathered.len() >= PLENTY {
            state.idle = false;
            self.work.notify_one();
        }
    }

    /// Other settings from here on; what was gathered before goes to the old place.
    pub(super) fn settle_in(&self, at: Option<(PathBuf, Keep)>) {
        let mut state = self.state.lock();
        state.place = Some(Place { before: state.gathered.len(), at });
        self.work.notify_one();
    }

    /// Waits until what was gathered before is written, or given up.
    pub(super) fn flush(&self) {
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        state.flushes += 1;
        let wanted = state.flushes;
        self.work.notify_one();
        self.done.wait_while_for(&mut state, |state| state.flushed < wanted && !state.stopped, PATIENCE);
    }

    /// Has the thread write what there is and end; true once it has.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.state.lock();
        state.stop = true;
        self.work.notify_one();
        !self.done.wait_while_for(&mut state, |state| !state.stopped, PATIENCE).timed_out()
    }

    pub(crate) fn info(&self) -> Info {
        let state = self.state.lock();
        Info { written: state.written, dropped: state.dropped, trouble: state.trouble.clone() }
    }

    /// The thread: wait for a line, gather, write, until told to stop.
    pub(super) fn run(&self, clock: &Arc<dyn Clock>) {
        let (mut batch, mut segments) = (Vec::new(), None);
        loop {
            let mut state = self.state.lock();
            state.idle = true;
            self.work.wait_while_for(&mut state, |s| s.gathered.is_empty() && !s.is_urgent(), IDLE);
            state.idle = false;
            if !state.gathered.is_empty() {
                self.work.wait_while_for(&mut state, |state| !state.is_urgent(), GATHER);
            }
            std::mem::swap(&mut batch, &mut state.gathered);
            let place = state.place.take();
            let (stop, flushes) = (state.stop, state.flushes);
            drop(state);
            if let Some(Place { before, at }) = place {
                let after = batch.split_off(before.min(batch.len()));
                self.put(&mut batch, segments.as_mut(), clock);
                segments = at.map(|(folder, keep)| Segments::new(folder, keep));
                batch = after;
            }
            self.put(&mut batch, segments.as_mut(), clock);
            let mut state = self.state.lock();
            state.flushed = flushes;
            state.stopped = stop;
            drop(state);
            self.done.notify_all();
            if stop {
                return;
            }
        }
    }

    fn put(&self, batch: &mut Vec<u8>, segments: Option<&mut Segments>, clock: &Arc<dyn Clock>) {
        let Some(segments) = segments else { return batch.clear() };
        let (lines, now) = (count(batch), clock.now());
        let tried = if batch.is_empty() { segments.prune(now) } else { segments.write(batch, now) };
        let lost = count(batch);
        batch.clear();
        batch.shrink_to(PLENTY);
        let mut state = self.state.lock();
        state.written += lines - lost;
        state.dropped += lost;
        match (tried, state.trouble.is_some()) {
            (Err(error), false) => {
                tracing::warn!(what = self.name, %error, "can't be recorded: what comes is dropped for now");
                state.trouble = Some(error.to_string());
            }
            (Ok(()), true) if lines > 0 => {
                tracing::info!(what = self.name, dropped = state.dropped, "is recorded again");
                state.trouble = None;
            }
            _ => {}
        }
    }
}

fn count(batch: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', batch).count() as u64
}
