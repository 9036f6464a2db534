//! The log's writer: one thread, one buffer that workers append to.
//!
//! A line costs its worker a short lock and a copy. The thread is woken by the first line after a pause, gathers for
//! `GATHER`, then writes all of it in one call: at thousands of lines a second that is a hundred system calls.
//! When the disk or the reader of standard output can't keep up, `FULL` octets are held; lines beyond are dropped and
//! counted, and a line in their place says how many. A relay must not stop because its log does.
//! May touch the log file and standard output only.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::{Output, TelemetryError};

/// How long lines gather before they are written: below what a person notices, and long enough to share calls.
const GATHER: Duration = Duration::from_millis(10);
/// Written at once when this much has gathered.
const PLENTY: usize = 256 << 10;
/// How long the end of the process, or a flush, waits for a reader of standard output that does not read.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is held: about a minute of a busy relay's lines.
const FULL: usize = 8 << 20;

/// The thread, and what it shares with those who log.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The thread waits here.
    work: Condvar,
    /// Who flushes waits here.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    gathered: Vec<u8>,
    dropped: u64,
    /// The thread waits for a first line, not merely for more.
    idle: bool,
    reopen: bool,
    stop: bool,
    /// The thread has written all that it will.
    stopped: bool,
    /// Flushes asked for, and those done.
    flushes: u64,
    flushed: u64,
}

impl Writer {
    pub(super) fn start(output: &Output) -> Result<Self, TelemetryError> {
        let sink = match output {
            Output::Stdout => Sink::Stdout,
            Output::File(path) => {
                let file = open(path).map_err(|error| TelemetryError::File(path.clone(), error))?;
                Sink::File(path.clone(), file)
            }
        };
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(sink)
            })
            .map_err(TelemetryError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn lines(&self) -> Lines {
        Lines(Arc::clone(&self.shared))
    }

    pub(super) fn flush(&self) {
        let mut state = self.shared.state.lock();
        state.flushes += 1;
        let wanted = state.flushes;
        self.shared.work.notify_one();
        self.shared.done.wait_while_for(&mut state, |state| state.flushed < wanted, PATIENCE);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stop = true;
        self.shared.work.notify_one();
        // One that is stuck in a write ends with the process.
        let over = !self.shared.done.wait_while_for(&mut state, |state| !state.stopped, PATIENCE).timed_out();
        drop(state);
        if let Some(thread) = self.thread.take().filter(|thread| over || thread.is_finished()) {
            // A writer that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn append(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.gathered.len() + line.len() > FULL {
            state.dropped += 1;
            return;
        }
        state.gathered.extend_from_slice(line);
        if state.idle || state.gathered.len() >= PLENTY {
            state.idle = false;
            self.work.notify_one();
        }
    }

    /// The thread: wait for a line, gather, write, until told to stop.
    fn run(&self, mut sink: Sink) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state.lock();
            state.idle = true;
            self.work.wait_while(&mut state, |state| !state.has_work());
            state.idle = false;
            let urgent = |state: &State| state.is_urgent() || state.gathered.len() >= PLENTY;
            self.work.wait_while_for(&mut state, |state| !urgent(state), GATHER);
            std::mem::swap(&mut batch, &mut state.gathered);
            let dropped = std::mem::take(&mut state.dropped);
            let reopen = std::mem::take(&mut state.reopen);
            let (stop, flushes) = (state.stop, state.flushes);
            drop(state);
            if dropped > 0 {
                // Infallible for a Vec.
                let _ = writeln!(batch, "{dropped} log lines dropped: the log's reader or disk did not keep up");
            }
            sink.write(&batch);
            batch.clear();
            batch.shrink_to(PLENTY);
            if reopen {
                sink.reopen();
            }
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
}

impl State {
    fn has_work(&self) -> bool {
        !self.gathered.is_empty() || self.dropped > 0 || self.is_urgent()
    }

    fn is_urgent(&self) -> bool {
        self.reopen || self.stop || self.flushes > self.flushed
    }
}

/// What tracing writes lines to: one call of `write_all` each.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

impl Lines {
    pub(super) fn reopen(&self) {
        self.0.state.lock().reopen = true;
        self.0.work.notify_one();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Sink {
    Stdout,
    File(PathBuf, File),
}

impl Sink {
    /// A log that can't be written has nowhere to say so but standard error, and mail goes on.
    fn write(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        let written = match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(octets).and_then(|()| out.flush())
            }
            Self::File(_, file) => file.write_all(octets),
        };
        if let Err(error) = written {
            let _ = writeln!(io::stderr(), "waypost: log: {error}");
        }
    }

    fn reopen(&mut self) {
        let Self::File(path, file) = self else { return };
        match open(path) {
            Ok(new) => *file = new,
            Err(error) => {
                let _ = writeln!(io::stderr(), "waypost: log file {}: {error}", path.display());
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/log");
        let writer = Writer::start(&Output::File(path.clone())).unwrap();
        let mut lines = writer.lines();
        for number in 0..10_000 {
            writeln!(lines, "line {number}").unwrap();
        }
        drop(writer);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().enumerate().all(|(at, line)| line == format!("line {at}")));
        assert_eq!(text.lines().count(), 10_000);
    }

    #[test]
    fn a_renamed_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let writer = Writer::start(&Output::File(path.clone())).unwrap();
        writer.lines().write_all(b"before\n").unwrap();
        writer.flush();
        std::fs::rename(&path, &old).unwrap();
        writer.lines().reopen();
        writer.flush();
        writer.lines().write_all(b"after\n").unwrap();
        writer.flush();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "after\n");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        // Nobody writes here: the buffer fills.
        let shared = Shared::default();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            shared.append(&line);
        }
        let state = shared.state.lock();
        assert_eq!((state.gathered.len(), state.dropped), (8 << 20, 2));
    }
}
