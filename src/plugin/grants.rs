//! What an operator granted a plugin, and what of the contract is linked for it because of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[plugins.NAME.grants]`. What is not granted is linked to something that answers `denied`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// A bucket of its own.
    pub kv: Option<KvQuota>,
    /// Buckets shared with other plugins, by name.
    pub kv_shared: BTreeMap<Arc<str>, Access>,
    /// Secrets it may read, by name: each the first line of a file.
    pub secrets: BTreeMap<Arc<str>, PathBuf>,
    /// Look-ups in the DNS.
    pub dns: Option<DnsGrant>,
    /// Requests over HTTP.
    pub http: Option<HttpGrant>,
    /// The secrets that clients offer at on-auth.
    pub auth_secrets: bool,
    /// Its `accept` at on-rcpt lets a client relay whom the relay's own rule would refuse.
    pub relay: bool,
    /// Plugins whose notes and annotations it may read.
    pub notes_of: BTreeSet<Arc<str>>,
}

/// A quota of kv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvQuota {
    /// Octets, keys and values together.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

/// What may be done with a shared bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Looked at.
    Read,
    /// Written as well.
    Write,
}

/// `grants.dns`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsGrant {
    /// In one call of a hook.
    pub lookups: u32,
    /// Names that are, or lie below, one of these; empty: all names.
    pub zones: Vec<Arc<str>>,
}

/// `grants.http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGrant {
    /// `https://api.example.com`, `http://127.0.0.1:11333`: scheme, host and port that it may talk to.
    pub allow: Vec<Arc<str>>,
    /// Requests in one call of a hook.
    pub calls: u32,
    /// Octets of one response's body, and of one request's.
    pub bytes: u64,
    /// From the connection to the last octet of the response.
    pub timeout: Duration,
    /// Networks that no public name leads to, and that it may talk to all the same.
    pub private_networks: Vec<IpNet>,
}

/// Which interfaces are linked to what they say, and which to a refusal. One linker for each combination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Linking {
    /// `kv`.
    pub kv: bool,
    /// `dns`.
    pub dns: bool,
    /// `wasi:http`.
    pub http: bool,
    /// The other interfaces of WASI, without anything behind them: for those who import them.
    pub wasi: bool,
}

impl Grants {
    /// True where an instance may hold what no other message should see.
    pub fn has_secrets(&self) -> bool {
        self.auth_secrets || !self.secrets.is_empty()
    }

    pub(crate) fn linking(&self, imports: &[String]) -> Linking {
        Linking {
            kv: self.kv.is_some() || !self.kv_shared.is_empty(),
            dns: self.dns.is_some(),
            http: self.http.is_some(),
            wasi: imports.iter().any(|name| name.starts_with("wasi:")),
        }
    }
}
