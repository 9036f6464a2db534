//! The question why mail goes the way it goes, as it comes over the socket.

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
