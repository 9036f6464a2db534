//! Finding out what a domain says now: the record in DNS, then, if it announces something new, the policy over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Config, Policy, policy_id};
use crate::https::{Client, Fault};
use crate::routing::{RecordData, RecordKind, ResolveError, Resolver};

/// A resolver that takes longer has failed.
const LOOK_UP: Duration = Duration::from_secs(20);

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// No policy is announced.
    Unannounced,
    /// The one that is known already.
    Same,
    /// This one.
    Fresh {
        /// As the record announces it.
        id: Arc<str>,
        /// What it says.
        policy: Policy,
    },
    /// It could not be had.
    Failed(Trouble),
}

/// Why a policy could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// In words.
    pub text: Arc<str>,
}

/// Kinds of trouble, as reports tell them apart (RFC 8460 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TroubleKind {
    /// DNS did not say whether there is a policy.
    Record,
    /// The policy host can't be reached, or has none.
    Fetch,
    /// The policy host can't prove its name.
    Certificate,
    /// What it serves is no policy.
    Invalid,
}

/// Asks for `domain`. `known`: the id of the policy at hand, which needs not be fetched again.
pub(super) async fn check(
    resolver: &dyn Resolver,
    client: &Client,
    domain: &str,
    known: Option<&str>,
    config: &Config,
) -> Checked {
    let name = format!("_mta-sts.{domain}");
    let id = match timeout(LOOK_UP, resolver.records(&name, RecordKind::Txt)).await {
        Err(_) => return Checked::failed(TroubleKind::Record, format!("{name}: timed out")),
        Ok(Err(ResolveError::NoSuchName | ResolveError::NoData)) => return Checked::Unannounced,
        Ok(Err(error @ ResolveError::Temporary(_))) => {
            return Checked::failed(TroubleKind::Record, format!("{name}: {error}"));
        }
        Ok(Ok(answer)) => policy_id(answer.records.iter().filter_map(|record| match record {
            RecordData::Text(text) => Some(&**text),
            _ => None,
        })),
    };
    let Some(id) = id else { return Checked::Unannounced };
    if known == Some(&*id) {
        return Checked::Same;
    }
    match fetch(client, domain, config).await {
        Ok(policy) => Checked::Fresh { id, policy },
        Err(trouble) => Checked::Failed(trouble),
    }
}

async fn fetch(client: &Client, domain: &str, config: &Config) -> Result<Policy, Trouble> {
    let host = format!("mta-sts.{domain}");
    let failed = |kind, text: String| Trouble { kind, text: text.into() };
    let answer = client.get(&host, "/.well-known/mta-sts.txt", &config.terms()).await;
    let answer = answer.map_err(|fault| {
        let kind = if matches!(fault, Fault::Tls(_)) { TroubleKind::Certificate } else { TroubleKind::Fetch };
        failed(kind, format!("https://{host}: {fault}"))
    })?;
    // RFC 8461 section 3.3: redirects are not followed, and only 200 comes with a policy.
    if answer.status != 200 {
        return Err(failed(TroubleKind::Fetch, format!("https://{host}: status {}", answer.status)));
    }
    // Section 3.2: so that nobody's uploads can pass for a policy.
    if answer.media.as_deref() != Some("text/plain") {
        let media = answer.media.as_deref().unwrap_or("nothing");
        return Err(failed(TroubleKind::Invalid, format!("https://{host}: the policy comes as {media:.40}")));
    }
    Policy::parse(&answer.body).map_err(|error| failed(TroubleKind::Invalid, format!("https://{host}: {error}")))
}

impl Checked {
    fn failed(kind: TroubleKind, text: String) -> Self {
        Self::Failed(Trouble { kind, text: text.into() })
    }
}
