//! What routes take in their query and in their body, where that is no request of its own.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::{CommandForm, FilterForm, PluginChange};
use crate::queue::RuleKind;

/// A page has so many where nothing is said.
const PAGE: usize = 100;

fn page() -> usize {
    PAGE
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueQuery {
    /// Which messages, in the filter language; none: all.
    pub(super) filter: Option<String>,
    /// `next` of the page before.
    pub(super) after: Option<String>,
    /// At most so many; a hundred where nothing is said, a thousand at most.
    #[serde(default = "page")]
    #[param(required = false)]
    pub(super) limit: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct CountQuery {
    /// Which messages, in the filter language; none: all.
    pub(super) filter: Option<String>,
    /// `next` of the step before.
    pub(super) after: Option<String>,
    /// `upto` of the step before.
    pub(super) upto: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryQuery {
    /// Which messages, in the filter language; none: all.
    pub(super) filter: Option<String>,
    /// `domain`, `sender-domain`, `next-hop`, `tenant`, `campaign` or `last-reply`.
    #[serde(default = "domain")]
    #[param(required = false)]
    pub(super) by: String,
    /// `next` of the step before.
    pub(super) after: Option<String>,
    /// `upto` of the step before.
    pub(super) upto: Option<String>,
}

fn domain() -> String {
    "domain".to_owned()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SuppressionQuery {
    /// Those that contain this.
    #[serde(default)]
    #[param(required = false)]
    pub(super) contains: String,
    /// Of this tenant only.
    pub(super) tenant: Option<String>,
    /// At most so many.
    #[serde(default = "page")]
    #[param(required = false)]
    pub(super) limit: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SuppressedQuery {
    /// An address or a domain, as it was added.
    pub(super) address: String,
    /// Whose mail.
    pub(super) tenant: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainQuery {
    /// Whose policy.
    pub(super) domain: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainBody {
    /// Whose policy.
    pub(super) domain: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkQuery {
    /// A network or an address, as it was banned.
    pub(super) network: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// At most so many.
    #[serde(default = "page")]
    #[param(required = false)]
    pub(super) limit: usize,
    /// Those of mail that was handed in, in place of changes.
    #[serde(default)]
    #[param(required = false)]
    pub(super) mail: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitQuery {
    /// At most so many.
    #[serde(default = "page")]
    #[param(required = false)]
    pub(super) limit: usize,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadBody {
    /// Also where mail would be checked less than before.
    #[serde(default)]
    pub(super) allow_weaken: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandBody {
    /// Which recipients.
    #[serde(default)]
    pub(super) filter: FilterForm,
    /// Without any condition, this has to be said.
    #[serde(default)]
    pub(super) all: bool,
    /// What is done to them.
    pub(super) command: CommandForm,
    /// `next` of the step before.
    #[serde(default)]
    pub(super) after: Option<String>,
    /// `upto` of the step before.
    #[serde(default)]
    pub(super) upto: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleBody {
    /// What it does: `suspend`, `hold` or `bounce`.
    #[schema(value_type = KindWord)]
    pub(super) kind: RuleKind,
    /// To whom.
    #[serde(default)]
    pub(super) filter: FilterForm,
    /// Without any condition, this has to be said.
    #[serde(default)]
    pub(super) all: bool,
    /// Shown with it, and in bounces.
    pub(super) reason: String,
    /// So many seconds; none: until it is lifted.
    #[serde(default)]
    pub(super) for_secs: Option<u64>,
}

/// As [`RuleKind`], for the document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used: the queue's own type knows nothing of documents")]
pub(super) enum KindWord {
    Suspend,
    Hold,
    Bounce,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SuppressionBody {
    /// An address or a domain.
    pub(super) address: String,
    /// Whose mail; none: everybody's.
    #[serde(default)]
    pub(super) tenant: Option<String>,
    /// Shown with it.
    pub(super) reason: String,
    /// For so many seconds; none: for good.
    #[serde(default)]
    pub(super) for_secs: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BanBody {
    /// A network with its prefix, or an address.
    pub(super) network: String,
    /// So many seconds.
    #[schema(minimum = 1)]
    pub(super) secs: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    /// How the plugins change.
    pub(super) change: PluginChange,
    /// Also where mail would be checked less than before.
    #[serde(default)]
    pub(super) allow_weaken: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingBody {
    /// So many calls.
    #[schema(minimum = 1)]
    pub(super) calls: u32,
    /// Only those about this sender, recipient, domain or client.
    #[serde(default)]
    pub(super) address: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogInBody {
    /// The token.
    pub(super) token: String,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionForm {
    /// The token's name, or `uid N`.
    pub(super) name: String,
    /// What it may.
    pub(super) role: crate::admin::Role,
    /// What a request that changes something shows in `X-Waypost-CSRF`; null where there is no session.
    pub(super) csrf: Option<String>,
}
