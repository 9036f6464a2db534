//! `waypost sts`: what the relay knows of the policy that a domain publishes for those who send to it (MTA-STS, RFC 8461).

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::args::Common;
use super::render::{age, clean};
use super::{Failure, connect};
use crate::admin::StsForm;

/// Whose policy.
#[derive(Debug, Args)]
pub(super) struct Sts {
    /// The recipients' domain.
    #[arg(value_name = "DOMAIN")]
    domain: String,
    /// Fetch it now, whatever is known.
    #[arg(long)]
    refresh: bool,
}

/// Asks the relay.
pub(super) async fn sts(common: &Common, asked: Sts, out: &mut dyn Write) -> Result<(), Failure> {
    let Sts { domain, refresh } = asked;
    let told = connect(common).await?.sts(StsForm { domain, refresh }).await?;
    let text = if common.json { format!("{told}\n") } else { show(&told) };
    Ok(out.write_all(text.as_bytes())?)
}

/// For people.
fn show(told: &Value) -> String {
    let text = |value: &Value, key: &str| clean(value.get(key).and_then(Value::as_str).unwrap_or_default());
    let mut shown = String::new();
    let mut line = |name: &str, value: &str| {
        // Infallible for a String.
        let _ = writeln!(shown, "{:<9}{value}", format!("{name}:"));
    };
    line("domain", &text(told, "domain"));
    let pending = told.get("pending").and_then(Value::as_bool).unwrap_or_default();
    match told.get("policy").filter(|policy| policy.is_object()) {
        Some(policy) => {
            line("id", &text(policy, "id"));
            line("mode", &text(policy, "mode"));
            let hosts = policy.get("mx").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            hosts.iter().filter_map(Value::as_str).for_each(|host| line("mx", &clean(host)));
            line("max age", &age(policy.get("max-age").and_then(Value::as_u64).unwrap_or_default()));
            line("fetched", &text(policy, "fetched"));
            line("expires", &text(policy, "expires"));
        }
        None => line("policy", if pending { "unknown: it is being looked for" } else { "none" }),
    }
    if let Some(trouble) = told.get("trouble").filter(|trouble| trouble.is_object()) {
        line("trouble", &format!("{} (the last look failed)", text(trouble, "text")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_domain_without_a_policy_is_told_from_one_that_is_not_known_yet() {
        let none = show(&json!({ "domain": "there.test", "policy": null, "trouble": null, "pending": false }));
        assert_eq!(none, "domain:  there.test\npolicy:  none\n");
        let unknown = show(&json!({ "domain": "there.test", "policy": null, "trouble": null, "pending": true }));
        assert_eq!(unknown, "domain:  there.test\npolicy:  unknown: it is being looked for\n");
    }
}
