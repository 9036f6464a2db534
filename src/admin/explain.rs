//! Questions of those who look for a reason, as they come over the socket: why mail goes the way it goes, what a domain wants of
//! those who send to it, what plugins decided. Plain data.

use serde::{Deserialize, Serialize};

/// What `waypost explain` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainForm {
    /// The recipients' domain.
    pub domain: String,
    /// A sender; empty: the null reverse-path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What `waypost sts` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StsForm {
    /// Whose policy.
    pub domain: String,
    /// It is fetched now, whatever is known.
    #[serde(default)]
    pub refresh: bool,
}

/// Which decisions of plugins; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhyForm {
    /// A queue id, or the id of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A sender, a recipient, a domain of one, or a client's IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `[plugins.NAME]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// `on-rcpt`, or `rcpt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Those of plugins that failed only.
    pub failed: bool,
    /// Not older than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_secs: Option<u64>,
    /// At least so many seconds old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_secs: Option<u64>,
    /// The first ones that fit, not the last ones.
    pub oldest: bool,
    /// At most so many; zero stands for a hundred.
    pub limit: usize,
}
