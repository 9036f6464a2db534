//! What a guest writes to stdout and stderr, as lines of the plugin's log: a panic says there why.
//!
//! Bounded as all lines of plugins are: in length, in rate, and with nothing in them that a terminal obeys. Must never
//! make a guest wait.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::super::calls::Shared;
use super::super::host::{self, Level};
use crate::hooks::{Hook, Subject};

/// Octets of a line that are kept; the rest up to its end is dropped.
const LINE_MAX: usize = 1024;

/// Octets taken in one write.
const WRITE_MAX: usize = 64 << 10;

/// Where in the relay's work an instance is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    hook: Option<Hook>,
    session: Option<Arc<str>>,
}

impl Place {
    pub(crate) fn of(hook: Option<Hook>, subject: &Subject) -> Self {
        Self { hook, session: subject.session.as_ref().map(|session| session.id.clone()) }
    }
}

/// What an instance says without the contract's `log`.
pub(crate) struct Voice {
    shared: Arc<Shared>,
    place: Mutex<Place>,
    /// Lines under way: stdout's and stderr's.
    lines: [Mutex<Vec<u8>>; 2],
}

impl Voice {
    pub(crate) fn new(shared: Arc<Shared>, place: Place) -> Self {
        Self { shared, place: Mutex::new(place), lines: Default::default() }
    }

    /// One that turns lines into log lines of a level: debug is stdout's, all others are stderr's.
    pub(super) fn stream(self: &Arc<Self>, level: Level) -> Stream {
        Stream { voice: self.clone(), level }
    }

    pub(super) fn begin(&self, place: Place) {
        *self.place.lock() = place;
    }

    /// Says what has no end of line yet.
    pub(super) fn end(&self) {
        for level in [Level::Debug, Level::Warn] {
            let line = std::mem::take(&mut *self.line(level).lock());
            self.say_octets(level, &line);
        }
    }

    /// One line of the log.
    pub(crate) fn say(&self, level: Level, text: &str) {
        let place = self.place.lock().clone();
        let hook = place.hook.map_or("load", Hook::interface);
        host::write_line(&self.shared, hook, place.session.as_deref().unwrap_or("-"), level, text, &[]);
    }

    fn say_octets(&self, level: Level, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            self.say(level, &String::from_utf8_lossy(line));
        }
    }

    fn line(&self, level: Level) -> &Mutex<Vec<u8>> {
        let [out, err] = &self.lines;
        if matches!(level, Level::Debug) { out } else { err }
    }

    fn write(&self, level: Level, octets: &[u8]) {
        let mut line = self.line(level).lock();
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_MAX.saturating_sub(line.len());
            line.extend(text.iter().take(room));
            if text.len() < piece.len() {
                self.say_octets(level, &line);
                line.clear();
            }
        }
    }
}

impl Drop for Voice {
    /// The last words of an instance that failed.
    fn drop(&mut self) {
        self.end();
    }
}

/// Stdout or stderr. There may be several handles to one.
#[derive(Clone)]
pub(super) struct Stream {
    voice: Arc<Voice>,
    level: Level,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    /// For WASI 0.3, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, octets: Bytes) -> StreamResult<()> {
        self.voice.write(self.level, &octets);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}
