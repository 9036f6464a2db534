//! Replay: the calls of a recording, run against a component without a relay, a network or a queue.
//!
//! Each call runs in a fresh instance, as it did when it was recorded; what it asks of the relay is answered from the
//! tape. Verdict, edits and questions are compared, lines of log only shown.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::calls::Plugin;
use super::super::granted::Granted;
use super::super::load::{self, Compiled, Linked, SIZE_MAX};
use super::super::questions::{self, Ask};
use super::super::role::{Place, Role};
use super::super::tape::{Replayed, Tape};
use super::super::{Engine, Grants, HostConfig, Instances, PluginConfig, Problem, Services};
use super::capture::{self, Call, Outcome, PluginFacts};
use super::file::{self, RecordingError};
use crate::hooks::Hook;

/// A chain's patience does not count here: the call's own budget does.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// Calls replayed.
    pub calls: usize,
    /// Those that went otherwise than they did.
    pub differences: Vec<Difference>,
}

/// A call that went otherwise than it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its place in the recording, from one.
    pub call: usize,
    /// `on-rcpt` and so on.
    pub hook: &'static str,
    /// In what.
    pub parts: Vec<Part>,
    /// Lines of log that are other than they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Part>,
}

/// One thing that is other than it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `verdict`, `edits`, `failure` or `questions`.
    pub what: &'static str,
    /// As recorded.
    pub expected: Value,
    /// As it is now.
    pub got: Value,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording.
    #[error("the recording: {0}")]
    Recording(#[from] RecordingError),
    /// The component.
    #[error("the component: {0}")]
    Component(Problem),
    /// A call of the recording.
    #[error("call {call} of the recording makes no sense: {why}")]
    Call {
        /// From one.
        call: usize,
        /// What is wrong.
        why: String,
    },
}

/// Replays a recording against a component; `settings` in place of the recorded ones, if given. `services` are asked for
/// nothing but room for bodies.
///
/// # Errors
/// [`ReplayError`], where the recording or the component can't be used.
pub async fn replay(
    engine: &Engine,
    services: &Services,
    recording: &Path,
    component: &Path,
    settings: Option<Value>,
) -> Result<Replay, ReplayError> {
    let recording = file::read(recording)?;
    let compiled = compiled(engine, component).map_err(ReplayError::Component)?;
    let mut replay = Replay { calls: 0, differences: Vec::new() };
    let mut ready: Option<(Arc<PluginFacts>, Plugin)> = None;
    for (facts, call) in &recording.calls {
        let at = replay.calls + 1;
        if ready.as_ref().is_none_or(|(of, _)| of != facts) {
            let plugin = plugin(engine, services, &compiled, facts, settings.as_ref());
            ready = Some((facts.clone(), plugin.map_err(ReplayError::Component)?));
        }
        let Some((_, plugin)) = &ready else { break };
        let played = play(plugin, call).await.map_err(|why| ReplayError::Call { call: at, why })?;
        replay.calls = at;
        replay.differences.extend(difference(at, call, played));
    }
    Ok(replay)
}

fn compiled(engine: &Engine, path: &Path) -> Result<Arc<Compiled>, Problem> {
    let file = |error: std::io::Error| Problem::File(format!("{} can't be read: {error}", path.display()));
    if std::fs::metadata(path).map_err(file)?.len() > SIZE_MAX {
        return Err(Problem::File(format!("{} is larger than 64 MiB", path.display())));
    }
    let octets = std::fs::read(path).map_err(file)?;
    load::compile(engine, &octets, load::digest_of(&octets), &HostConfig::default().compile)
}

/// The component in place of the recorded plugin, with what that one was granted.
fn plugin(
    engine: &Engine,
    services: &Services,
    compiled: &Arc<Compiled>,
    facts: &PluginFacts,
    settings: Option<&Value>,
) -> Result<Plugin, Problem> {
    let mut linking = facts.linking;
    linking.wasi = compiled.imports.iter().any(|name| name.starts_with("wasi:"));
    let linked = Arc::new(Linked::of(engine, compiled.clone(), linking)?);
    let config = PluginConfig {
        instances: Some(Instances::Fresh),
        memory: Some(facts.memory),
        limits: facts.limits,
        budgets: facts.budgets.iter().copied().collect(),
        config: settings.unwrap_or(&facts.config).clone(),
        ..PluginConfig::default()
    };
    let services = Services { message_max: facts.message_max, ..services.clone() };
    // Everything it is answered comes from the tape.
    let host = HostConfig::default();
    let granted = Granted::open(&services, &host, &facts.name, &Grants::default(), Role::Shadow)?;
    let place = Place { generation: 0, role: Role::Shadow, candidate: false };
    Ok(Plugin::new(engine, &facts.name, &config, linked, &services, granted, place))
}

async fn play(plugin: &Plugin, call: &Call) -> Result<(Outcome, Replayed), String> {
    match call.hook {
        Hook::Connect => put::<questions::Connect>(plugin, call).await,
        Hook::Helo => put::<questions::Helo>(plugin, call).await,
        Hook::Auth => put::<questions::Auth>(plugin, call).await,
        Hook::Mail => put::<questions::Mail>(plugin, call).await,
        Hook::Rcpt => put::<questions::Rcpt>(plugin, call).await,
        Hook::Message => put::<questions::Message>(plugin, call).await,
        Hook::Route => put::<questions::Route>(plugin, call).await,
        Hook::DeliveryAttempt => put::<questions::DeliveryAttempt>(plugin, call).await,
        Hook::DeliveryResult => put::<questions::DeliveryResult>(plugin, call).await,
        Hook::Bounce => put::<questions::Bounce>(plugin, call).await,
    }
}

async fn put<A: Ask>(plugin: &Plugin, call: &Call) -> Result<(Outcome, Replayed), String> {
    let ask: A = serde_json::from_value(call.question.clone()).map_err(|e| format!("its question: {e}"))?;
    let subject = capture::subject_of(call.subject.clone()).map_err(|e| format!("its facts: {e}"))?;
    let tape = Tape::replaying(call.setting.clone(), call.tape.clone());
    let called = plugin.measured(ask, subject, Instant::now() + PATIENCE, Some(tape.clone())).await;
    let outcome = Outcome::of(&called.outcome).await.map_err(|e| format!("what it answered can't be read: {e}"))?;
    Ok((outcome, tape.replayed(called.outcome.is_ok())))
}

fn difference(at: usize, call: &Call, (got, replayed): (Outcome, Replayed)) -> Option<Difference> {
    let parts = match (replayed.strayed, &call.result, got) {
        // What it answered after that follows from it.
        (Some(strayed), _, _) => vec![part("questions", json!("as recorded"), json!(strayed))],
        (None, expected, got) if *expected == got => return None,
        (None, Outcome::Answered { verdict: expected, journal: edits }, Outcome::Answered { verdict, journal }) => {
            let verdict = (*expected != verdict).then(|| part("verdict", expected.clone(), verdict));
            let edits = (*edits != journal).then(|| part("edits", json!(edits), json!(journal)));
            verdict.into_iter().chain(edits).collect()
        }
        (None, Outcome::Answered { verdict: expected, .. }, got @ Outcome::Failed { .. }) => {
            vec![part("verdict", expected.clone(), json!(got))]
        }
        (None, expected @ Outcome::Failed { .. }, got) => vec![part("failure", json!(expected), json!(got))],
    };
    let log = (call.log != replayed.lines).then(|| part("log", json!(call.log), json!(replayed.lines)));
    Some(Difference { call: at, hook: call.hook.interface(), parts, log })
}

fn part(what: &'static str, expected: Value, got: Value) -> Part {
    Part { what, expected, got }
}
