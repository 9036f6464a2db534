//! Questions of those who look for a reason, as they come in a query: why mail goes the way it goes, what a domain wants of
//! those who send to it, what plugins decided, what became of messages, what happens. Plain data.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::IntoParams;

/// As the API's document has it: what does not fit into 63 bits is no number of seconds.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let secs = u64::deserialize(from)?;
    i64::try_from(secs).map_err(|_| D::Error::custom("so many seconds are none"))?;
    Ok(Some(secs))
}

/// What `waypost explain` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
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
    #[param(required = false)]
    pub failed: bool,
    /// Not older than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub since_secs: Option<u64>,
    /// At least so many seconds old.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub until_secs: Option<u64>,
    /// The first ones that fit, not the last ones.
    #[param(required = false)]
    pub oldest: bool,
    /// At most so many; zero stands for a hundred.
    #[param(required = false)]
    pub limit: usize,
}

/// Which messages that left the queue; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryForm {
    /// A queue id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The sender contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A recipient contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// With a recipient that was not delivered to.
    #[param(required = false)]
    pub failed: bool,
    /// Left the queue not longer than so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub since_secs: Option<u64>,
    /// At least so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub until_secs: Option<u64>,
    /// The first ones that fit, not the last ones.
    #[param(required = false)]
    pub oldest: bool,
    /// At most so many; zero stands for a hundred.
    #[param(required = false)]
    pub limit: usize,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EventsForm {
    /// Which kinds, with commas between them: `session`, `reception`, `delivery`, `plugin`, `audit`; none: all.
    pub kinds: Option<String>,
    /// Those about this client only: an IP address.
    pub client: Option<String>,
    /// Those about an address that contains this only.
    pub address: Option<String>,
}
