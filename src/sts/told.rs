//! What is known of a domain's policy, for people and their tools. Pure.

use serde::Serialize;

use super::{Found, TroubleKind};

/// What is known of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// Whose policy.
    pub domain: String,
    /// It, if one is at hand that is still valid; of any mode.
    pub policy: Option<PolicyTold>,
    /// Why there is none, or no newer one.
    pub trouble: Option<TroubleTold>,
    /// It is being looked for, and takes longer than anybody waits.
    pub pending: bool,
}

/// A policy that is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyTold {
    /// As the record announced it.
    pub id: String,
    /// `enforce`, `testing` or `none`.
    pub mode: String,
    /// The hosts that it names.
    pub mx: Vec<String>,
    /// Seconds that it holds, from the time it was fetched.
    pub max_age: u64,
    /// When it was fetched: RFC 3339.
    pub fetched: String,
    /// When it expires: RFC 3339.
    pub expires: String,
}

/// Why the last look brought none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TroubleTold {
    /// In one word: `record`, `fetch`, `certificate` or `invalid`.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

impl Told {
    /// What was found out about `domain`.
    pub fn of(domain: &str, found: &Found) -> Self {
        let policy = found.held.as_ref().map(|held| PolicyTold {
            id: held.id.to_string(),
            mode: held.policy.mode.to_string(),
            mx: held.policy.mx.iter().map(ToString::to_string).collect(),
            max_age: held.policy.max_age.as_secs(),
            fetched: held.fetched.rfc3339_seconds(),
            expires: held.expires().rfc3339_seconds(),
        });
        let trouble = found.trouble.as_ref().map(|trouble| TroubleTold {
            kind: match trouble.kind {
                TroubleKind::Record => "record",
                TroubleKind::Fetch => "fetch",
                TroubleKind::Certificate => "certificate",
                TroubleKind::Invalid => "invalid",
            },
            text: trouble.text.to_string(),
        });
        Self { domain: domain.to_owned(), policy, trouble, pending: found.pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Held, Policy, Trouble};
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_known_is_told() {
        let text = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmx: *.example.net\nmax_age: 86400\n";
        let policy = Policy::parse(text).unwrap();
        let fetched = Timestamp::from_secs(1_795_473_060);
        let held = Some(Arc::new(Held { id: "20261124".into(), policy, fetched }));
        let trouble = Some(Trouble { kind: TroubleKind::Certificate, text: "no".into() });
        let told = Told::of("example.org", &Found { held, trouble, pending: false });
        let shown = serde_json::to_value(&told).unwrap();
        let expected = serde_json::json!({
            "domain": "example.org", "pending": false, "trouble": { "kind": "certificate", "text": "no" },
            "policy": {
                "id": "20261124", "mode": "enforce", "mx": ["mx.example.org", "*.example.net"], "max-age": 86400,
                "fetched": "2026-11-23T22:31:00Z", "expires": "2026-11-24T22:31:00Z",
            },
        });
        assert_eq!(shown, expected);
        let none = serde_json::to_value(Told::of("example.org", &Found::default())).unwrap();
        assert!(none["policy"].is_null() && none["trouble"].is_null(), "{none}");
    }
}
