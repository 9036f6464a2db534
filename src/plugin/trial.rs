//! A candidate on trial: asked beside the version that serves, off the reply path, or instead of it for some sessions.
//!
//! What a shadow says is compared and counted, never done; whoever waits for the reply never waits for it. A question
//! that there is no room for is counted as skipped: what was not compared is always seen.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::breaker::{BreakerInfo, Pass};
use super::calls::Plugin;
use super::difference::{Answered, Difference, Kind};
use super::load::hex;
use super::questions::Ask;
use super::{Event, Promotion, TrialMode};
use crate::hooks::{CallError, FailurePolicy, Hook, Journal, Subject};
use crate::store::Content;

/// Questions that may wait for one candidate: far more than a burst of mail asks while a shadow is a little behind.
const WAITING_MAX: u64 = 4096;

/// Octets of messages they may hold on to.
const HELD_MAX: u64 = 64 << 20;

/// What a message in the spool counts for: a descriptor, and a file that is not removed meanwhile.
const SPOOLED: u64 = 64 << 10;

/// Questions put to one shadow at a time: some, because it may wait for the network; few, because mail comes first.
const RUNNERS: usize = 4;

/// As for a whole chain.
const WALL: Duration = Duration::from_secs(30);

/// Differences kept.
const KEPT: usize = 200;

/// A candidate beside the version that serves.
pub(crate) struct Trial {
    pub candidate: Arc<Plugin>,
    pub mode: TrialMode,
    promote: Option<Promotion>,
    tallies: [Tally; Hook::ALL.len()],
    differences: Mutex<VecDeque<Difference>>,
    streak: Mutex<Streak>,
    waiting: AtomicU64,
    held: AtomicU64,
    runners: Semaphore,
}

/// What the comparisons at one hook came to.
#[derive(Default)]
struct Tally {
    same: AtomicU64,
    verdict: AtomicU64,
    edits: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

/// Calls since the last failure.
#[derive(Default)]
struct Streak {
    calls: u64,
    different: u64,
    told: bool,
}

/// A candidate as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateInfo {
    /// From its manifest, else the start of its digest.
    pub version: String,
    /// Digest of the component, in hex.
    pub sha256: Option<String>,
    /// `shadow` or `canary`.
    pub mode: &'static str,
    /// With `canary`: of a hundred sessions.
    pub share: Option<u8>,
    /// `on-trial`; `tripped` if it is left out because it kept failing; `failed` if it could not be loaded.
    pub state: &'static str,
    /// Why it could not be loaded.
    pub reason: Option<String>,
    /// Calls in this generation.
    pub calls: u64,
    /// Calls that failed, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// Answers of a shadow that were those of the version that serves.
    pub same: u64,
    /// Answers of a shadow that were others.
    pub different: u64,
    /// Questions that a shadow was not asked, for want of room or because it kept failing.
    pub skipped: u64,
    /// How its breaker stands; none: it has none.
    pub breaker: Option<BreakerInfo>,
}

/// What a trial came to at one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookTally {
    /// `on-rcpt` and so on.
    pub hook: &'static str,
    /// Same verdict, same edits.
    pub same: u64,
    /// Another verdict.
    pub verdict: u64,
    /// The same verdict with other edits.
    pub edits: u64,
    /// The candidate failed.
    pub failed: u64,
    /// The candidate was not asked.
    pub skipped: u64,
}

/// A trial in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialReport {
    /// `[plugins.NAME]`.
    pub plugin: String,
    /// Version of the one that serves.
    pub version: String,
    /// Which set they belong to.
    pub generation: u64,
    /// The candidate.
    pub candidate: CandidateInfo,
    /// Questions that are not compared yet.
    pub waiting: u64,
    /// By hook; those where nothing was compared are left out.
    pub hooks: Vec<HookTally>,
    /// The last ones, oldest first.
    pub differences: Vec<Difference>,
}

/// Room for one question, given back when it is done with.
struct Room {
    trial: Arc<Trial>,
    weight: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.trial.waiting.fetch_sub(1, Ordering::Relaxed);
        self.trial.held.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

/// One question put to both.
struct Asked<A: Ask> {
    question: A,
    policy: FailurePolicy,
    subject: Subject,
    live: Result<(A::Verdict, Journal), CallError>,
}

impl Trial {
    pub(crate) fn new(candidate: Plugin, mode: TrialMode, promote: Option<Promotion>) -> Self {
        Self {
            candidate: Arc::new(candidate),
            mode,
            promote,
            tallies: Default::default(),
            differences: Mutex::default(),
            streak: Mutex::default(),
            waiting: AtomicU64::new(0),
            held: AtomicU64::new(0),
            runners: Semaphore::new(RUNNERS),
        }
    }

    /// Leave for one call in place of the version that serves, where the lot falls on the candidate and it is not left
    /// out for its failures.
    pub(crate) fn takes(&self, lot: u8) -> Option<Pass<'_>> {
        match self.mode {
            TrialMode::Canary { share } if lot < share => self.candidate.admit().ok(),
            TrialMode::Canary { .. } | TrialMode::Shadow => None,
        }
    }

    /// An answer of a canary, which was not compared with anything.
    pub(crate) fn enforced(&self, good: bool) {
        self.count(if good { None } else { Some(Kind::Failed) });
    }

    /// Puts a question that was just answered to the shadow as well, later.
    pub(crate) fn follow<A: Ask>(
        self: &Arc<Self>,
        question: A,
        policy: FailurePolicy,
        subject: Subject,
        live: &Result<(A::Verdict, Journal), CallError>,
    ) {
        let Some(room) = self.room(weight(&subject)) else { return self.skip(A::HOOK) };
        let asked = Asked { question, policy, subject, live: live.clone() };
        tokio::spawn(async move { room.trial.compare(asked).await }.in_current_span());
    }

    fn room(self: &Arc<Self>, weight: u64) -> Option<Room> {
        // Given back when it is dropped, also at once if that was one too many.
        let room = Room { trial: self.clone(), weight };
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let held = self.held.fetch_add(weight, Ordering::Relaxed);
        // A message larger than all the room there is may come alone.
        (waiting < WAITING_MAX && (held == 0 || held + weight <= HELD_MAX)).then_some(room)
    }

    async fn compare<A: Ask>(&self, asked: Asked<A>) {
        let Asked { question, policy, subject, live } = asked;
        // Never closed; without a permit there would be nothing to compare.
        let Ok(_runner) = self.runners.acquire().await else { return self.skip(A::HOOK) };
        let Ok(pass) = self.candidate.admit() else { return self.skip(A::HOOK) };
        let called = self.candidate.call(pass, question, subject.clone(), Instant::now() + WALL).await;
        let live = Answered::of(A::HOOK, policy, live).await;
        let candidate = Answered::of(A::HOOK, policy, called.outcome).await;
        let (Ok(live), Ok(candidate)) = (live, candidate) else { return self.skip(A::HOOK) };
        let kind = live.differs(&candidate);
        let counter = self.tallies.get(A::HOOK as usize).map(|tally| match kind {
            None => &tally.same,
            Some(Kind::Verdict) => &tally.verdict,
            Some(Kind::Edits) => &tally.edits,
            Some(Kind::Failed) => &tally.failed,
        });
        if let Some(kind) = kind {
            let now = self.candidate.shared.services.clock.now();
            let secrets = &self.candidate.shared.secrets;
            self.keep(Difference::new(now, A::HOOK, kind, &subject, secrets, (live, candidate)));
        }
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.count(kind);
    }

    fn skip(&self, hook: Hook) {
        if let Some(tally) = self.tallies.get(hook as usize) {
            tally.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn keep(&self, difference: Difference) {
        if difference.kind == "failed" {
            tracing::warn!(
                target: "plugin",
                plugin = %self.candidate.shared.name,
                version = %self.candidate.shared.version,
                candidate = true,
                hook = difference.hook,
                detail = difference.candidate.failure,
                "a candidate failed; what it was asked was answered without it"
            );
        }
        let mut kept = self.differences.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(difference);
    }

    /// Counts towards the promotion; says so, once, when it is earned.
    fn count(&self, kind: Option<Kind>) {
        let Some(rule) = self.promote else { return };
        let mut streak = self.streak.lock();
        if kind == Some(Kind::Failed) {
            (streak.calls, streak.different) = (0, 0);
            return;
        }
        streak.calls += 1;
        streak.different += u64::from(kind.is_some());
        let agrees = streak.different.saturating_mul(1000) <= streak.calls.saturating_mul(rule.divergence.into());
        if streak.told || streak.calls < rule.calls || !agrees {
            return;
        }
        streak.told = true;
        let shared = &self.candidate.shared;
        let (plugin, calls, different) = (shared.name.clone(), streak.calls, streak.different);
        drop(streak);
        tracing::info!(
            target: "plugin", %plugin, version = %shared.version, generation = shared.place.generation, calls, different,
            "the candidate has earned its promotion"
        );
        shared.services.events.tell(Event::Ripe { generation: shared.place.generation, plugin });
    }

    pub(crate) fn info(&self) -> CandidateInfo {
        let plugin = &*self.candidate;
        let sum = |read: fn(&Tally) -> &AtomicU64| self.tallies.iter().map(|t| read(t).load(Ordering::Relaxed)).sum();
        let (verdict, edits): (u64, u64) = (sum(|t| &t.verdict), sum(|t| &t.edits));
        CandidateInfo {
            version: plugin.shared.version.to_string(),
            sha256: Some(hex(&plugin.linked.compiled.digest)),
            state: if plugin.is_tripped() { "tripped" } else { "on-trial" },
            calls: plugin.counters.calls.load(Ordering::Relaxed),
            failures: plugin.counters.failures(),
            same: sum(|t| &t.same),
            different: verdict + edits,
            skipped: sum(|t| &t.skipped),
            breaker: plugin.breaker_info(),
            ..CandidateInfo::of(self.mode)
        }
    }

    pub(crate) fn report(&self, live: &Plugin) -> TrialReport {
        let tally = |(hook, tally): (Hook, &Tally)| HookTally {
            hook: hook.interface(),
            same: tally.same.load(Ordering::Relaxed),
            verdict: tally.verdict.load(Ordering::Relaxed),
            edits: tally.edits.load(Ordering::Relaxed),
            failed: tally.failed.load(Ordering::Relaxed),
            skipped: tally.skipped.load(Ordering::Relaxed),
        };
        let asked = |t: &HookTally| t.same + t.verdict + t.edits + t.failed + t.skipped > 0;
        TrialReport {
            plugin: live.shared.name.to_string(),
            version: live.shared.version.to_string(),
            generation: live.shared.place.generation,
            // Before the counters: what stops waiting between the two is counted by then.
            waiting: self.waiting.load(Ordering::Relaxed),
            candidate: self.info(),
            hooks: Hook::ALL.into_iter().zip(&self.tallies).map(tally).filter(asked).collect(),
            differences: self.differences.lock().iter().cloned().collect(),
        }
    }
}

impl CandidateInfo {
    /// Of one that has not been asked.
    fn of(mode: TrialMode) -> Self {
        let (mode, share) = match mode {
            TrialMode::Shadow => ("shadow", None),
            TrialMode::Canary { share } => ("canary", Some(share)),
        };
        Self {
            version: "-".to_owned(),
            sha256: None,
            mode,
            share,
            state: "on-trial",
            reason: None,
            calls: 0,
            failures: BTreeMap::new(),
            same: 0,
            different: 0,
            skipped: 0,
            breaker: None,
        }
    }

    /// Of one that could not be loaded.
    pub(crate) fn failed(mode: TrialMode, reason: &str) -> Self {
        Self { state: "failed", reason: Some(reason.to_owned()), ..Self::of(mode) }
    }
}

/// Of a hundred: the same for all hooks of a session, and for all of a message under delivery.
pub(crate) fn lot(subject: &Subject) -> u8 {
    let mut hasher = DefaultHasher::new();
    match &subject.session {
        Some(session) => session.id.hash(&mut hasher),
        None => subject.queue_id().map(|id| id.to_string()).hash(&mut hasher),
    }
    u8::try_from(hasher.finish() % 100).unwrap_or(0)
}

/// Octets that a waiting question holds on to.
fn weight(subject: &Subject) -> u64 {
    let Some(message) = &subject.message else { return 0 };
    let body = match &message.body {
        Content::Memory(octets) => octets.len() as u64,
        Content::Spooled(_) => SPOOLED,
    };
    message.header.block().len() as u64 + body
}
