//! `[plugins.sender-rewriting.config]`.

use std::net::IpAddr;

use serde::Deserialize;
use waypost_plugin::lists::{MailboxSet, domains, networks};
use waypost_plugin::{Checked, DomainTable, Mailbox, Network};

use crate::mac::LENGTH_MIN;

/// Where forwarded mail gets its return path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// Once, for all recipients.
    #[default]
    Message,
    /// At each attempt to recipients outside; others see the sender as it was.
    Attempt,
}

/// What is done with senders that do not fit into a rewritten address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Long {
    /// They stay as they are.
    #[default]
    Keep,
    /// They are kept in kv, and the address leads there.
    Kv,
}

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Names of secrets; the first makes tags.
    pub(crate) secrets: Vec<String>,
    pub(crate) tag_length: usize,
    pub(crate) srs: Option<Srs>,
    pub(crate) verp: Option<Verp>,
}

/// Forwarding.
#[derive(Debug)]
pub(crate) struct Srs {
    pub(crate) domain: String,
    ours: DomainTable<()>,
    pub(crate) when: When,
    pub(crate) max_age_days: u32,
    pub(crate) separator: char,
    pub(crate) bounces_only: bool,
    pub(crate) long: Long,
    exempt_networks: Vec<Network>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

/// Lists.
#[derive(Debug)]
pub(crate) struct Verp {
    pub(crate) senders: MailboxSet,
    pub(crate) separator: char,
    pub(crate) sign: bool,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    secret: String,
    old_secrets: Vec<String>,
    hash_length: usize,
    srs: Option<RawSrs>,
    verp: Option<RawVerp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSrs {
    domain: String,
    domains: Vec<String>,
    #[serde(default)]
    when: When,
    #[serde(default = "three_weeks")]
    max_age_days: u32,
    #[serde(default = "equals")]
    separator: char,
    #[serde(default)]
    bounces_only: bool,
    #[serde(default)]
    long: Long,
    #[serde(default)]
    exempt_networks: Vec<String>,
    #[serde(default = "yes")]
    exempt_authenticated: bool,
    #[serde(default = "yes")]
    exempt_relay_clients: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawVerp {
    senders: Vec<String>,
    #[serde(default = "plus")]
    separator: char,
    #[serde(default = "yes")]
    sign: bool,
}

/// RFC 5321 section 4.5.4.1 has senders give up after four to five days; some wait longer, and so do their bounces.
fn three_weeks() -> u32 {
    21
}

fn equals() -> char {
    '='
}

fn plus() -> char {
    '+'
}

fn yes() -> bool {
    true
}

impl Default for Table {
    fn default() -> Self {
        Self { secret: "srs".to_owned(), old_secrets: Vec::new(), hash_length: LENGTH_MIN, srs: None, verp: None }
    }
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.srs.is_none() && table.verp.is_none() {
        errors.push("there is neither srs nor verp, so the plugin would do nothing".to_owned());
    }
    if !(LENGTH_MIN..=20).contains(&table.hash_length) {
        errors.push(format!("hash-length: {} is not from {LENGTH_MIN} to 20", table.hash_length));
    }
    let secrets: Vec<String> = std::iter::once(table.secret).chain(table.old_secrets).collect();
    if secrets.iter().any(String::is_empty) {
        errors.push("secret, old-secrets: write names of grants.secrets".to_owned());
    }
    let srs = table.srs.map(|raw| srs(raw, errors, warnings));
    let verp = table.verp.map(|raw| verp(raw, errors));
    Settings { secrets, tag_length: table.hash_length, srs, verp }
}

fn srs(raw: RawSrs, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Srs {
    let domain = raw.domain.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !domain.contains('.') || !domain.split('.').all(label) || domain.len() > 200 {
        errors.push(format!("srs.domain: `{}` is no domain", raw.domain));
    }
    if raw.domains.is_empty() {
        errors.push("srs.domains: write the domains whose senders are not rewritten: your own".to_owned());
    }
    if !(1..=500).contains(&raw.max_age_days) {
        // The time stamp begins anew after 1024 days: what is far beyond half of that can't be told from the future.
        errors.push(format!("srs.max-age-days: {} is not from 1 to 500", raw.max_age_days));
    } else if raw.max_age_days < 6 {
        warnings.push("srs.max-age-days: bounces come for as long as servers try, which is five days".to_owned());
    }
    if !['=', '+', '-'].contains(&raw.separator) {
        errors.push("srs.separator: it is one of =, + and -".to_owned());
    }
    Srs {
        domain,
        ours: domains("srs.domains", &raw.domains, errors),
        when: raw.when,
        max_age_days: raw.max_age_days,
        separator: raw.separator,
        bounces_only: raw.bounces_only,
        long: raw.long,
        exempt_networks: networks("srs.exempt-networks", &raw.exempt_networks, errors),
        exempt_authenticated: raw.exempt_authenticated,
        exempt_relay_clients: raw.exempt_relay_clients,
    }
}

fn verp(raw: RawVerp, errors: &mut Vec<String>) -> Verp {
    let senders = MailboxSet::read("verp.senders", &raw.senders, errors);
    if raw.senders.is_empty() {
        errors.push("verp.senders: there are none".to_owned());
    }
    if !"+-_.=".contains(raw.separator) || raw.separator == '=' {
        errors.push("verp.separator: it is one of +, -, _ and .".to_owned());
    }
    Verp { senders, separator: raw.separator, sign: raw.sign }
}

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// None for a local socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) authenticated: bool,
    pub(crate) may_relay: bool,
}

impl Srs {
    /// True for a domain whose senders we may write from.
    pub(crate) fn is_ours(&self, domain: &str) -> bool {
        domain.is_empty() || domain == self.domain || self.ours.find(domain).is_some()
    }

    /// True if mail of this sender to these recipients is being forwarded, so that its return path has to be ours.
    pub(crate) fn forwards<'a>(&self, sender: &Mailbox, recipients: impl IntoIterator<Item = &'a Mailbox>) -> bool {
        !self.is_ours(&sender.domain) && recipients.into_iter().any(|to| !self.is_ours(&to.domain))
    }

    /// True if this client's mail is sent on as it is.
    pub(crate) fn exempts(&self, client: &Client) -> bool {
        self.exempt_authenticated && client.authenticated
            || self.exempt_relay_clients && client.may_relay
            || client.address.is_some_and(|address| self.exempt_networks.iter().any(|n| n.contains(address)))
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"hash-length": 3, "secret": "",
            "srs": {"domain": "localhost", "domains": [], "max-age-days": 501, "separator": "x", "exempt-networks": ["x"]},
            "verp": {"senders": [], "separator": "="}}"#;
        let errors = Settings::read(document).unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(": ").next()).collect();
        assert_eq!(
            named,
            [
                "hash-length",
                "secret, old-secrets",
                "srs.domain",
                "srs.domains",
                "srs.max-age-days",
                "srs.separator",
                "srs.exempt-networks",
                "verp.senders",
                "verp.separator"
            ]
        );
        assert_eq!(Settings::read("{}").unwrap_err().len(), 1);
    }

    #[test]
    fn only_forwarded_mail_is_rewritten() {
        let document = r#"{"srs": {"domain": "srs.example.com", "domains": ["example.com", ".example.com"]}}"#;
        let srs = Settings::read(document).unwrap().settings.srs.unwrap();
        let mailbox = |domain: &str| Mailbox { local_part: "a".to_owned(), domain: domain.to_owned() };
        for (sender, recipients, expected) in [
            ("elsewhere.example", &["other.example"][..], true),
            ("elsewhere.example", &["example.com"], false),
            ("elsewhere.example", &["example.com", "other.example"], true),
            ("example.com", &["other.example"], false),
            ("mail.example.com", &["other.example"], false),
            ("srs.example.com", &["other.example"], false),
            ("elsewhere.example", &[""], false),
        ] {
            let to: Vec<Mailbox> = recipients.iter().map(|domain| mailbox(domain)).collect();
            assert_eq!(srs.forwards(&mailbox(sender), &to), expected, "{sender} to {recipients:?}");
        }
    }
}
