//! `[plugins.dns-lists.config]`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use serde::Deserialize;
use waypost_plugin::lists::networks;
use waypost_plugin::{Checked, Mailbox, Network, Reply, reply};

use crate::codes::{Codes, pattern};

/// Where listed clients are turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum At {
    Connect,
    Mail,
    #[default]
    Rcpt,
}

/// What a list is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum About {
    #[default]
    Client,
    ClientName,
    Helo,
    Sender,
}

impl About {
    pub(crate) const ALL: [Self; 4] = [Self::Client, Self::ClientName, Self::Helo, Self::Sender];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ClientName => "client-name",
            Self::Helo => "helo",
            Self::Sender => "sender",
        }
    }
}

/// Whether a listing speaks against or for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    #[default]
    Block,
    Allow,
}

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) at: At,
    pub(crate) reject_at: Option<i32>,
    pub(crate) tempfail_at: Option<i32>,
    pub(crate) mark_at: Option<i32>,
    /// A list that does not answer is waited for.
    pub(crate) wait_for_lists: bool,
    pub(crate) reject: Reply,
    pub(crate) tempfail: Reply,
    /// Name of the field that marked messages get.
    pub(crate) header: Option<String>,
    pub(crate) lists: Vec<List>,
    exempt_networks: Vec<Network>,
    /// In lower case: local parts, or whole addresses.
    exempt_recipients: HashSet<String>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

/// One list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) about: About,
    pub(crate) kind: Kind,
    pub(crate) codes: Codes,
    pub(crate) reject: Option<Reply>,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    at: At,
    reject_at: Option<i32>,
    tempfail_at: Option<i32>,
    mark_at: Option<i32>,
    on_error: OnError,
    reject_text: String,
    tempfail_text: String,
    header: Option<String>,
    lists: Vec<RawList>,
    exempt_networks: Vec<String>,
    exempt_recipients: Option<Vec<String>>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnError {
    #[default]
    Ignore,
    Tempfail,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawList {
    zone: String,
    name: Option<String>,
    #[serde(default)]
    about: About,
    #[serde(default)]
    kind: Kind,
    weight: Option<i32>,
    #[serde(default)]
    codes: BTreeMap<String, i32>,
    errors: Option<Vec<String>>,
    reject_text: Option<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            at: At::default(),
            reject_at: None,
            tempfail_at: None,
            mark_at: None,
            on_error: OnError::default(),
            reject_text: "{what} is listed by {list}".to_owned(),
            tempfail_text: "{what} is listed by {list}, please try again later".to_owned(),
            header: None,
            lists: Vec::new(),
            exempt_networks: Vec::new(),
            exempt_recipients: None,
            exempt_authenticated: true,
            exempt_relay_clients: true,
        }
    }
}

/// Look-ups in one call without a word of the operator: docs/config.md, `grants.dns.lookups`.
const LOOKUPS: usize = 16;

/// Answers of lists that do not serve who asks; 127.0.0.1 is in use for it too, and RFC 5782 section 5 has no address listed so.
const ERRORS: [&str; 2] = ["127.255.255.0/24", "127.0.0.1"];

/// Names that may stand in braces.
const PLACEHOLDERS: [&str; 5] = ["ip", "list", "what", "code", "txt"];

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.lists.is_empty() {
        errors.push("lists: there are none, so the plugin would do nothing".to_owned());
    }
    let thresholds = [table.reject_at, table.tempfail_at, table.mark_at];
    for (name, threshold) in ["reject-at", "tempfail-at", "mark-at"].into_iter().zip(thresholds) {
        if threshold.is_some_and(|threshold| threshold < 1) {
            errors.push(format!("{name}: a threshold is at least 1"));
        }
    }
    // With no threshold at all, a listing of the usual weight is refused.
    let reject_at = if thresholds == [None; 3] { Some(1) } else { table.reject_at };
    let lists = lists(table.lists, table.at, errors);
    if lists.len() + 1 > LOOKUPS {
        warnings.push(format!(
            "lists: {} of them; grants.dns.lookups has to be at least {}",
            lists.len(),
            lists.len() + 1
        ));
    }
    if table.at != At::Rcpt && table.exempt_recipients.is_some() {
        errors.push("exempt-recipients: no recipient is known there; write at = \"rcpt\"".to_owned());
    }
    let header = table.header.filter(|name| {
        let good = !name.is_empty() && name.len() <= 78 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !good {
            errors.push(format!("header: `{name}` is no field name"));
        }
        good
    });
    let (reject_code, tempfail_code) = if table.at == At::Connect { (554, 421) } else { (550, 450) };
    // RFC 5321 section 4.5.1: somebody has to be reached there by who was listed by mistake.
    let recipients = table.exempt_recipients.unwrap_or_else(|| vec!["postmaster".to_owned(), "abuse".to_owned()]);
    Settings {
        at: table.at,
        reject_at,
        tempfail_at: table.tempfail_at,
        mark_at: table.mark_at,
        wait_for_lists: table.on_error == OnError::Tempfail,
        reject: text("reject-text", &table.reject_text, reject_code, errors),
        tempfail: text("tempfail-text", &table.tempfail_text, tempfail_code, errors),
        header,
        lists,
        exempt_networks: networks("exempt-networks", &table.exempt_networks, errors),
        exempt_recipients: recipients.iter().map(|recipient| recipient.to_lowercase()).collect(),
        exempt_authenticated: table.exempt_authenticated,
        exempt_relay_clients: table.exempt_relay_clients,
    }
}

fn lists(raw: Vec<RawList>, at: At, errors: &mut Vec<String>) -> Vec<List> {
    let mut names = HashSet::new();
    let mut lists = Vec::new();
    for raw in raw {
        let list = list(raw, at, errors);
        if !names.insert(list.name.clone()) {
            errors.push(format!("lists: {}: the name is there twice; give one of them another name", list.name));
        }
        lists.push(list);
    }
    lists
}

fn list(raw: RawList, at: At, errors: &mut Vec<String>) -> List {
    let zone = raw.zone.trim_end_matches('.').to_ascii_lowercase();
    let name = raw.name.unwrap_or_else(|| zone.clone());
    let key = format!("lists: {name}");
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !zone.contains('.') || !zone.split('.').all(label) || zone.len() > 200 {
        errors.push(format!("{key}: zone: `{}` is no domain", raw.zone));
    }
    // It stands in replies, fields, notes and metrics.
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_graphic() && !b"\"{}".contains(&b)) {
        errors.push(format!("{key}: a name has 1 to 64 printable characters, and no quotes or braces"));
    }
    if at == At::Connect && matches!(raw.about, About::Helo | About::Sender) {
        errors.push(format!("{key}: about: {} is not known at connect", raw.about.name()));
    }
    let mut weights = Vec::new();
    for (code, weight) in &raw.codes {
        match pattern(code) {
            Ok(_) if *weight == 0 => errors.push(format!("{key}: codes: {code}: a weight of 0 does nothing")),
            Ok(pattern) => weights.push((pattern, *weight)),
            Err(error) => errors.push(format!("{key}: codes: {error}")),
        }
    }
    if raw.weight == Some(0) {
        errors.push(format!("{key}: weight: 0 does nothing"));
    }
    if raw.weight.is_some() && !raw.codes.is_empty() {
        errors.push(format!("{key}: has both weight and codes; the codes say what they weigh"));
    }
    let failures = raw.errors.unwrap_or_else(|| ERRORS.map(str::to_owned).to_vec());
    let mut patterns = Vec::new();
    for code in &failures {
        match pattern(code) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => errors.push(format!("{key}: errors: {error}")),
        }
    }
    let code = if at == At::Connect { 554 } else { 550 };
    let reject = raw.reject_text.map(|template| text(&format!("{key}: reject-text"), &template, code, errors));
    let codes = Codes { weights, weight: raw.weight.unwrap_or(1), errors: patterns };
    List { name, zone, about: raw.about, kind: raw.kind, codes, reject }
}

/// A reply whose text may hold names in braces.
fn text(key: &str, template: &str, code: u16, errors: &mut Vec<String>) -> Reply {
    let class = if code < 500 { 4 } else { 5 };
    let default = (code, (class, 7, 1));
    for part in template.split('{').skip(1) {
        if !part.split_once('}').is_some_and(|(name, _)| PLACEHOLDERS.contains(&name)) {
            let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
            errors.push(format!("{key}: a brace opens none of {known}"));
        }
    }
    match reply::parse(template, default) {
        Ok(reply) if u16::from(class) == reply.code / 100 => return reply,
        Ok(reply) => errors.push(format!("{key}: {} is no code from {class}00 to {class}99", reply.code)),
        Err(error) => errors.push(format!("{key}: {error}")),
    }
    reply::reply(code, default.1, "listed")
}

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// None for a local socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) authenticated: bool,
    pub(crate) may_relay: bool,
}

impl Settings {
    /// A list by its name.
    pub(crate) fn list(&self, name: &str) -> Option<&List> {
        self.lists.iter().find(|list| list.name == name)
    }

    /// True if the lists are not asked about this client.
    pub(crate) fn exempts(&self, client: &Client) -> bool {
        self.exempt_authenticated && client.authenticated
            || self.exempt_relay_clients && client.may_relay
            || client.address.is_some_and(|address| self.exempt_networks.iter().any(|n| n.contains(address)))
    }

    /// True if anybody may write to this recipient.
    pub(crate) fn spares(&self, recipient: &Mailbox) -> bool {
        self.exempt_recipients.contains(&recipient.local_part.to_lowercase())
            || self.exempt_recipients.contains(&recipient.to_string().to_lowercase())
    }
}

#[cfg(test)]
mod tests;
