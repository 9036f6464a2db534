//! `[plugins.webhooks.config]`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use waypost_plugin::http::Url;
use waypost_plugin::{Checked, DomainTable};

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    events: BTreeSet<Kind>,
    pub(crate) timeout_millis: u32,
    pub(crate) send_token: bool,
    pub(crate) sign: bool,
    /// Zero: what could not be told is lost.
    pub(crate) spool_keys: u32,
    pub(crate) spool_seconds: u32,
    pub(crate) retry_seconds: u32,
    sender_domains: DomainTable<()>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The relay is about to take a message.
    Accepted,
    /// The next hop has it.
    Delivered,
    /// It will be tried again.
    Deferred,
    /// The next hop will never take it.
    Rejected,
    /// It was tried for too long.
    Expired,
    /// A report goes to the sender.
    Bounced,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Accepted, Self::Delivered, Self::Deferred, Self::Rejected, Self::Expired, Self::Bounced];
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    url: String,
    events: Vec<Kind>,
    timeout_millis: u32,
    send_token: bool,
    sign: bool,
    spool_keys: u32,
    spool_seconds: u32,
    retry_seconds: u32,
    sender_domains: Vec<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            url: String::new(),
            events: Kind::ALL.to_vec(),
            // The call that tells has two of these at most.
            timeout_millis: 2000,
            send_token: false,
            sign: false,
            spool_keys: 0,
            // As long as most mail is tried.
            spool_seconds: 5 * 86_400,
            // A service that is down is not asked at every delivery.
            retry_seconds: 30,
            sender_domains: Vec::new(),
        }
    }
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.url.is_empty() {
        errors
            .push("url: it is missing; write where the service is, such as https://events.example.com/mail".to_owned());
    } else {
        match table.url.parse::<Url>() {
            Ok(url) if !url.is_secure() && !url.is_local() => {
                warnings.push(format!("url: addresses of people go to {} without TLS", url.origin()));
            }
            Ok(_) => {}
            Err(why) => errors.push(format!("url: {why}")),
        }
    }
    if table.events.is_empty() {
        errors.push("events: without one nothing is ever told; remove the plugin instead".to_owned());
    }
    for (key, value, least, most) in [
        ("timeout-millis", table.timeout_millis, 100, 10_000),
        ("spool-keys", table.spool_keys, 0, 100_000),
        ("spool-seconds", table.spool_seconds, 60, 604_800),
        ("retry-seconds", table.retry_seconds, 1, 3600),
    ] {
        if !(least..=most).contains(&value) {
            errors.push(format!("{key}: {value} is not from {least} to {most}"));
        }
    }
    let mut sender_domains = DomainTable::default();
    for pattern in &table.sender_domains {
        if let Err(error) = sender_domains.insert(pattern, ()) {
            errors.push(format!("sender-domains: {error}"));
        }
    }
    Settings {
        url: table.url,
        events: table.events.into_iter().collect(),
        timeout_millis: table.timeout_millis,
        send_token: table.send_token,
        sign: table.sign,
        spool_keys: table.spool_keys,
        spool_seconds: table.spool_seconds,
        retry_seconds: table.retry_seconds,
        sender_domains,
    }
}

impl Settings {
    /// True if such an event is told.
    pub(crate) fn tells(&self, kind: Kind) -> bool {
        self.events.contains(&kind)
    }

    /// True if mail of this sender's domain is told of.
    pub(crate) fn covers(&self, sender_domain: &str) -> bool {
        self.sender_domains.is_empty() || self.sender_domains.find(sender_domain).is_some()
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn a_url_is_enough() {
        let checked = Settings::read(r#"{"url": "http://127.0.0.1:8000/events"}"#).unwrap();
        assert!(checked.warnings.is_empty());
        assert!(checked.settings.tells(Kind::Accepted) && checked.settings.covers("example.org"));
    }

    #[test]
    fn every_mistake_is_named() {
        let errors = Settings::read(
            r#"{"url": "x", "events": [], "timeout-millis": 1, "spool-keys": 100001, "spool-seconds": 1,
                "retry-seconds": 0, "sender-domains": ["a..b"]}"#,
        )
        .unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            ["url", "events", "timeout-millis", "spool-keys", "spool-seconds", "retry-seconds", "sender-domains"]
        );
        for document in ["{}", r#"{"url": "https://a/", "events": ["opened"]}"#] {
            assert_eq!(Settings::read(document).unwrap_err().len(), 1, "{document}");
        }
    }

    #[test]
    fn what_is_told_can_be_narrowed() {
        let document = r#"{"url": "http://a/", "events": ["bounced"], "sender-domains": ["example.org"]}"#;
        let checked = Settings::read(document).unwrap();
        assert_eq!(checked.warnings.len(), 1);
        assert!(checked.settings.tells(Kind::Bounced) && !checked.settings.tells(Kind::Delivered));
        assert!(checked.settings.covers("example.org") && !checked.settings.covers(""));
    }
}
