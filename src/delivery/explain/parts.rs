//! What is told of a way and of a site. Plain data, and how times are written.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::delivery::site::{Site, SiteState};

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    pub(super) domain: String,
    /// Of a running relay, with its state.
    pub(super) live: bool,
    pub(super) route: RoutePart,
    pub(super) hops: Vec<HopPart>,
    pub(super) site: SitePart,
    pub(super) limits: Vec<Setting>,
    pub(super) backoff: Vec<BackoffPart>,
    /// One for each source that mail may leave from.
    pub(super) states: Vec<SiteLine>,
    pub(super) retry: RetryPart,
    /// What else may have a say.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RoutePart {
    pub(super) hops: Vec<String>,
    pub(super) because: String,
    pub(super) lane: Option<String>,
    pub(super) source: Option<String>,
    pub(super) source_because: Option<String>,
    pub(super) credential: Option<String>,
}

/// One hop, named destinations followed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HopPart {
    pub(super) hop: String,
    pub(super) exchangers: Vec<ExchangerPart>,
    pub(super) tls: Option<String>,
    pub(super) tls_because: Option<String>,
    pub(super) sources: Vec<String>,
    /// Whom mail is sent to, in this order; what DNSSEC and DANE say of them; who is passed over.
    pub(super) targets: Vec<String>,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ExchangerPart {
    pub(super) preference: Option<u16>,
    pub(super) host: String,
    pub(super) addresses: Vec<String>,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SitePart {
    pub(super) name: String,
    pub(super) because: String,
    pub(super) source: Option<String>,
    pub(super) lane: Option<String>,
    pub(super) tenant: Option<String>,
    /// Rules about the domain set it apart from others at the same exchangers.
    pub(super) apart: bool,
}

/// A setting in force.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Setting {
    pub(super) setting: String,
    pub(super) value: String,
    pub(super) because: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct BackoffPart {
    pub(super) name: String,
    pub(super) after: String,
    pub(super) then: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RetryPart {
    pub(super) because: String,
    pub(super) waits: Vec<String>,
    pub(super) longest: String,
    pub(super) warn_after: Option<String>,
    pub(super) give_up_after: String,
}

/// How a site stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SiteLine {
    pub(super) site: String,
    pub(super) source: Option<String>,
    pub(super) lane: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) hosts: Vec<String>,
    /// `ready`, `new`, `slow`, `resting` or `suspended`.
    pub(super) state: String,
    /// Connections: open, earned, and the limit.
    pub(super) open: usize,
    pub(super) earned: usize,
    pub(super) limit: usize,
    pub(super) workers: usize,
    /// Jobs in memory, over all lanes.
    pub(super) ready: usize,
    /// Lanes: how many, how many of them wait for a slot, and the first ones by name.
    pub(super) lanes: usize,
    pub(super) waiting: usize,
    pub(super) names: Vec<String>,
    /// Nothing is tried for so many seconds.
    pub(super) rest_secs: Option<u64>,
    /// Worked less hard for so many seconds.
    pub(super) slow_secs: Option<u64>,
    /// The back-off that wants either.
    pub(super) backoff: Option<String>,
    /// What went wrong the last time.
    pub(super) trouble: Option<String>,
}

impl SiteLine {
    pub(super) fn of(site: &Site, now: Instant) -> Self {
        let SiteState { open, workers, allowed, waiting, proven, rest, backoff, trouble, limits, hosts } =
            site.now(now);
        let text = |name: &Option<Arc<str>>| name.as_ref().map(ToString::to_string);
        let state = match (&rest, &backoff, proven) {
            (Some((_, Some(_))), ..) => "suspended",
            (Some((_, None)), ..) => "resting",
            (None, Some(_), _) => "slow",
            (None, None, true) => "ready",
            (None, None, false) => "new",
        };
        let why = rest.as_ref().and_then(|(_, why)| why.clone()).or(backoff.as_ref().map(|(_, why)| Arc::clone(why)));
        // What went wrong once is of no interest when all is well again.
        let trouble = trouble.filter(|_| !matches!(state, "ready" | "new"));
        Self {
            site: site.key.name.to_string(),
            source: text(&site.key.source),
            lane: text(&site.key.lane),
            tenant: text(&site.key.tenant),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            state: state.to_owned(),
            open,
            earned: allowed,
            limit: limits.connections,
            workers,
            ready: 0,
            lanes: 0,
            waiting,
            names: Vec::new(),
            rest_secs: rest.map(|(left, _)| left.as_secs()),
            slow_secs: backoff.map(|(left, _)| left.as_secs()),
            backoff: text(&why),
            trouble: text(&trouble),
        }
    }
}

/// `90s`, `5m`, `1h 30m`, `2d`.
pub(super) fn show(time: Duration) -> String {
    let secs = time.as_secs();
    if secs < 60 {
        return if time.subsec_millis() == 0 { format!("{secs}s") } else { format!("{}ms", time.as_millis()) };
    }
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut left = secs;
    let parts = units.iter().filter_map(|(unit, size)| {
        let count = left / size;
        left %= size;
        (count > 0).then(|| format!("{count}{unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}
