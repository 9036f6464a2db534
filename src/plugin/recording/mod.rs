//! Recordings: calls of one plugin, each with all that it was asked about, what it asked of the relay and what came of
//! it, so that it can be run again elsewhere.
//!
//! Made by command, for so many calls. Each recorded call runs in a fresh instance: what a warm one holds is not known.
//! A recording holds mail; it never holds a password, and of secrets only where they were asked for. Trouble with the
//! file ends the recording and nothing else.

mod capture;
mod file;
mod replay;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use capture::PluginFacts;
pub use file::RecordingError;
pub use replay::{Difference, Part, Replay, ReplayError, replay};

use super::HostConfig;
use super::address::Address;
use super::calls::Plugin;
use super::host;
use super::questions::Ask;
use super::tape::{Setting, Tape};
use crate::hooks::{CallError, Called, Hook, Subject};
use crate::time::Timestamp;
use capture::{Call, Outcome};
use file::{Line, Sink};

/// Octets of a recording: beyond it ends by itself.
const OCTETS_MAX: u64 = 1 << 30;

/// The recordings that are being made. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recordings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// So that a call of a relay that records nothing takes no lock.
    active: AtomicUsize,
    by_plugin: Mutex<HashMap<Arc<str>, Arc<Recorder>>>,
}

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingInfo {
    /// Its file.
    pub path: PathBuf,
    /// Calls wanted.
    pub wanted: u32,
    /// Calls in it.
    pub recorded: u32,
    /// Calls that were left out: too large, or with a password.
    pub skipped: u32,
}

/// One recording.
#[derive(Debug)]
struct Recorder {
    plugin: Arc<str>,
    path: PathBuf,
    wanted: u32,
    address: Option<Address>,
    state: Mutex<State>,
    home: Weak<Inner>,
}

#[derive(Debug)]
struct State {
    /// None once it has ended.
    sink: Option<Sink>,
    /// Calls under way.
    promised: u32,
    recorded: u32,
    skipped: u32,
    said: Option<Arc<PluginFacts>>,
}

/// A place in a recording; given back when it is dropped unused.
pub(crate) struct Place {
    recorder: Arc<Recorder>,
    used: bool,
}

impl Recordings {
    /// Begins one. Blocking.
    ///
    /// # Errors
    /// When the plugin is being recorded already, or the file can't be made.
    pub fn start(
        &self,
        host: &HostConfig,
        plugin: &str,
        wanted: u32,
        address: Option<&str>,
        now: Timestamp,
    ) -> io::Result<RecordingInfo> {
        let is_there = || io::Error::new(io::ErrorKind::AlreadyExists, format!("{plugin} is being recorded already"));
        if self.0.by_plugin.lock().contains_key(plugin) {
            return Err(is_there());
        }
        let name = format!("{plugin}-{}.jsonl", now.rfc3339().replace(':', "-"));
        let path = host.path.join("recordings").join(name);
        let sink = Some(Sink::create(&path, plugin, now)?);
        let recorder = Arc::new(Recorder {
            plugin: plugin.into(),
            path,
            wanted,
            address: address.map(Address::of),
            state: Mutex::new(State { sink, promised: 0, recorded: 0, skipped: 0, said: None }),
            home: Arc::downgrade(&self.0),
        });
        let info = recorder.info();
        // Calls take this lock, so no file is made under it; whoever was faster meanwhile goes on.
        let mut by_plugin = self.0.by_plugin.lock();
        if by_plugin.contains_key(plugin) {
            return Err(is_there());
        }
        by_plugin.insert(recorder.plugin.clone(), recorder);
        self.0.active.store(by_plugin.len(), Ordering::Relaxed);
        Ok(info)
    }

    /// Ends one, with what it has. None if there is none. Blocking.
    ///
    /// # Errors
    /// When its end can't be written.
    pub fn stop(&self, plugin: &str) -> io::Result<Option<RecordingInfo>> {
        let Some(recorder) = self.0.forget(plugin) else { return Ok(None) };
        recorder.state.lock().finish()?;
        Ok(Some(recorder.info()))
    }

    /// Ends all of them. Blocking.
    pub fn close(&self) {
        let plugins: Vec<Arc<str>> = self.0.by_plugin.lock().keys().cloned().collect();
        for plugin in plugins {
            if let Err(error) = self.stop(&plugin) {
                tracing::warn!(target: "plugin", %plugin, %error, "a recording has no end");
            }
        }
    }

    /// A place for a call of this plugin, if it is to be recorded.
    pub(crate) fn place(&self, plugin: &str, subject: &Subject) -> Option<Place> {
        if self.0.active.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let recorder = self.0.by_plugin.lock().get(plugin)?.clone();
        if !recorder.address.as_ref().is_none_or(|address| address.covers(subject)) {
            return None;
        }
        let mut state = recorder.state.lock();
        if state.sink.is_none() || state.recorded + state.promised >= recorder.wanted {
            return None;
        }
        state.promised += 1;
        drop(state);
        Some(Place { recorder, used: false })
    }
}

impl Inner {
    fn forget(&self, plugin: &str) -> Option<Arc<Recorder>> {
        let mut by_plugin = self.by_plugin.lock();
        let recorder = by_plugin.remove(plugin);
        self.active.store(by_plugin.len(), Ordering::Relaxed);
        recorder
    }
}

impl Recorder {
    fn info(&self) -> RecordingInfo {
        let state = self.state.lock();
        let (recorded, skipped) = (state.recorded, state.skipped);
        RecordingInfo { path: self.path.clone(), wanted: self.wanted, recorded, skipped }
    }

    /// Blocking.
    fn put(&self, plugin: &Arc<PluginFacts>, call: Call) {
        let mut state = self.state.lock();
        state.promised = state.promised.saturating_sub(1);
        let written = state.put(plugin, call);
        let full = state.sink.as_ref().is_some_and(|sink| sink.octets > OCTETS_MAX);
        let over = written.is_err() || full || state.recorded >= self.wanted;
        if !over || state.sink.is_none() {
            return;
        }
        let ended = written.and_then(|()| state.finish());
        state.sink = None;
        drop(state);
        if let Some(home) = self.home.upgrade() {
            home.forget(&self.plugin);
        }
        let (plugin, path) = (&self.plugin, self.path.display());
        match ended {
            Ok(()) => tracing::info!(target: "plugin", %plugin, %path, "the recording is complete"),
            Err(error) => tracing::warn!(target: "plugin", %plugin, %path, %error, "the recording broke off"),
        }
    }

    fn leave_out(&self) {
        let mut state = self.state.lock();
        state.promised = state.promised.saturating_sub(1);
        state.skipped += 1;
    }
}

impl State {
    fn put(&mut self, plugin: &Arc<PluginFacts>, call: Call) -> io::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if self.said.as_ref() != Some(plugin) {
            sink.write(&Line::Plugin(plugin.clone()))?;
            self.said = Some(plugin.clone());
        }
        sink.write(&Line::Call(Box::new(call)))?;
        self.recorded += 1;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.take().map_or(Ok(()), |sink| sink.finish(self.recorded, self.skipped))
    }
}

impl Place {
    async fn fill(mut self, plugin: Arc<PluginFacts>, call: Call) {
        self.used = true;
        let recorder = self.recorder.clone();
        // A panic in there costs the recording a call.
        let _ = tokio::task::spawn_blocking(move || recorder.put(&plugin, call)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.used {
            self.recorder.leave_out();
        }
    }
}

impl Plugin {
    /// One call, recorded. Whatever becomes of the recording, the call is made.
    pub(crate) async fn recorded<A: Ask>(
        &self,
        place: Place,
        ask: A,
        subject: Subject,
        end: Instant,
    ) -> Called<A::Verdict> {
        let has_password = A::HOOK == Hook::Auth && self.auth_secrets;
        let form = if has_password { None } else { capture::subject_form(&subject).await.ok().flatten() };
        let (Some(subject_form), Ok(question)) = (form, serde_json::to_value(&ask)) else {
            drop(place);
            return self.measured(ask, subject, end, None).await;
        };
        let at = self.shared.services.clock.now().micros();
        let setting = Setting { levels: host::levels(), seed: fastrand::u64(..), at };
        let tape = Tape::recording(setting.clone());
        let called = self.measured(ask, subject, end, Some(tape.clone())).await;
        // That no instance was free says nothing of the plugin.
        let ran = !matches!(called.outcome, Err(CallError::Busy(_) | CallError::NotLoaded(_)));
        let left = tape.recorded().filter(|_| ran);
        if let (Some(left), Ok(result)) = (left, Outcome::of(&called.outcome).await) {
            let (tape, log) = (left.notes, left.lines);
            let call = Call { hook: A::HOOK, question, subject: subject_form, setting, tape, log, result };
            place.fill(self.facts.clone(), call).await;
        }
        called
    }
}

#[cfg(test)]
mod tests;
