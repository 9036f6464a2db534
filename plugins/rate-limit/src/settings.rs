//! `[plugins.rate-limit.config]`.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use waypost_plugin::lists::{MailboxSet, networks, seconds};
use waypost_plugin::{Checked, Network, Reply, reply};

use crate::policy::Facts;

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Count {
    #[default]
    Messages,
    Recipients,
    Connections,
}

/// What a limit tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    Client,
    Network,
    Sender,
    SenderDomain,
    Account,
    Recipient,
    RecipientDomain,
    Listener,
    Everybody,
}

impl By {
    pub(crate) fn needs_recipient(self) -> bool {
        matches!(self, Self::Recipient | Self::RecipientDomain)
    }

    fn known_at_connect(self) -> bool {
        matches!(self, Self::Client | Self::Network | Self::Listener | Self::Everybody)
    }
}

/// Where a limit is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Store {
    /// A token bucket that a restart fills.
    #[default]
    Memory,
    /// A counter for each period, kept over restarts.
    Kv,
}

/// What happens past a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    #[default]
    Soft,
    Hard,
    /// A line in the log, and nothing else.
    Warn,
}

/// Whom a limit is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    #[default]
    Anyone,
    Authenticated,
    Unauthenticated,
}

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Vec<Limit>,
    pub(crate) network_v4: u8,
    pub(crate) network_v6: u8,
    exempt_networks: Vec<Network>,
    exempt_accounts: HashSet<String>,
    exempt_senders: MailboxSet,
    exempt_recipients: MailboxSet,
    exempt_relay_clients: bool,
}

/// One limit.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) by: Vec<By>,
    pub(crate) count: Count,
    pub(crate) max: u32,
    pub(crate) period_seconds: u32,
    pub(crate) burst: u32,
    pub(crate) store: Store,
    pub(crate) action: Action,
    /// Per cent of the burst (of the maximum, in kv) from which the log says so.
    pub(crate) warn_at: Option<u32>,
    pub(crate) who: Who,
    /// May hold `{key}` and `{wait}`.
    pub(crate) reply: Reply,
    overrides: BTreeMap<String, Option<u32>>,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    limits: Vec<RawLimit>,
    network_v4: u8,
    network_v6: u8,
    exempt_networks: Vec<String>,
    exempt_accounts: Vec<String>,
    exempt_senders: Vec<String>,
    exempt_recipients: Vec<String>,
    exempt_relay_clients: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawLimit {
    name: String,
    by: Vec<By>,
    #[serde(default)]
    count: Count,
    max: u32,
    per: String,
    burst: Option<u32>,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    action: Action,
    warn_at: Option<u32>,
    #[serde(default, rename = "for")]
    who: Who,
    text: Option<String>,
    #[serde(default)]
    overrides: BTreeMap<String, Override>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Override {
    Max(u32),
    Word(String),
    // Untagged reading says nothing of what is wrong; this takes the rest, so that the message can.
    Other(serde::de::IgnoredAny),
}

impl Default for Table {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            network_v4: 24,
            network_v6: 64,
            exempt_networks: Vec::new(),
            exempt_accounts: Vec::new(),
            exempt_senders: Vec::new(),
            exempt_recipients: Vec::new(),
            exempt_relay_clients: false,
        }
    }
}

/// The contract counts a period in milliseconds, in 32 bits; 40 days are below that, and above any month.
const PERIOD_MAX_SECONDS: u32 = 40 * 86_400;

/// Numbers that the contract can hand back.
const MAX: u32 = i32::MAX.unsigned_abs();

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.limits.is_empty() {
        errors.push("limits: there are none, so the plugin would do nothing".to_owned());
    }
    for (name, prefix, most) in [("network-v4", table.network_v4, 32), ("network-v6", table.network_v6, 128)] {
        if prefix == 0 || prefix > most {
            errors.push(format!("{name}: {prefix} is not from 1 to {most}"));
        }
    }
    let mut names = HashSet::new();
    let mut limits = Vec::new();
    for raw in table.limits {
        if !names.insert(raw.name.clone()) {
            errors.push(format!("limits: {}: the name is there twice", raw.name));
        }
        limits.push(limit(raw, errors, warnings));
    }
    Settings {
        limits,
        network_v4: table.network_v4,
        network_v6: table.network_v6,
        exempt_networks: networks("exempt-networks", &table.exempt_networks, errors),
        exempt_accounts: table.exempt_accounts.iter().map(|name| name.to_lowercase()).collect(),
        exempt_senders: MailboxSet::read("exempt-senders", &table.exempt_senders, errors),
        exempt_recipients: MailboxSet::read("exempt-recipients", &table.exempt_recipients, errors),
        exempt_relay_clients: table.exempt_relay_clients,
    }
}

fn limit(raw: RawLimit, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Limit {
    let key = format!("limits: {}", raw.name);
    check_keys(&raw, &key, errors);
    check_numbers(&raw, &key, errors);
    let mut wrong = |what: String| errors.push(format!("{key}: {what}"));
    let period_seconds = seconds(&raw.per).unwrap_or_else(|error| {
        wrong(format!("per: {error}"));
        1
    });
    if period_seconds > PERIOD_MAX_SECONDS {
        wrong("per: at most 40d".to_owned());
    }
    let (usual, words) = usual_reply(raw.action, raw.count);
    let reply = reply::parse(raw.text.as_deref().unwrap_or(words), usual).unwrap_or_else(|error| {
        wrong(format!("text: {error}"));
        reply::reply(usual.0, usual.1, words)
    });
    let class = if raw.action == Action::Hard { 5 } else { 4 };
    if reply.code / 100 != class {
        wrong(format!("text: {} is no code from {class}00 to {class}99", reply.code));
    }
    let overrides = overrides(raw.overrides, &key, errors);
    let made_up = |by: &By| matches!(by, By::Sender | By::SenderDomain | By::Recipient);
    if raw.store == Store::Kv && raw.who != Who::Authenticated && raw.by.iter().any(made_up) {
        // A full bucket refuses every write, and then the plugin fails for everybody.
        warnings.push(format!(
            "{key}: strangers make addresses up, and each has a key in kv; write for = \"authenticated\", or store = \"memory\""
        ));
    }
    if raw.store == Store::Memory && period_seconds >= 86_400 {
        warnings.push(format!("{key}: a restart forgets what was counted; write store = \"kv\" for long periods"));
    }
    Limit {
        name: raw.name,
        by: raw.by,
        count: raw.count,
        max: raw.max,
        period_seconds,
        burst: raw.burst.unwrap_or(raw.max),
        store: raw.store,
        action: raw.action,
        warn_at: raw.warn_at,
        who: raw.who,
        reply,
        overrides,
    }
}

/// Who is counted, and whether that is known where it is counted.
fn check_keys(raw: &RawLimit, key: &str, errors: &mut Vec<String>) {
    let mut wrong = |what: String| errors.push(format!("{key}: {what}"));
    // It stands in keys and metrics.
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if raw.name.is_empty() || raw.name.len() > 32 || !raw.name.bytes().all(good) {
        wrong("a name has 1 to 32 of a-z, 0-9 and -".to_owned());
    }
    if raw.by.is_empty() {
        wrong("by: write what is told apart, or \"everybody\"".to_owned());
    }
    if raw.by.len() > 1 && raw.by.contains(&By::Everybody) {
        wrong("by: everybody stands alone".to_owned());
    }
    if raw.count == Count::Connections && !raw.by.iter().all(|by| by.known_at_connect()) {
        wrong("by: of a connection, only client, network and listener are known".to_owned());
    }
    if raw.count == Count::Connections && raw.who == Who::Authenticated {
        wrong("for: nobody is authenticated at connect".to_owned());
    }
}

fn check_numbers(raw: &RawLimit, key: &str, errors: &mut Vec<String>) {
    let mut wrong = |what: String| errors.push(format!("{key}: {what}"));
    if raw.max == 0 || raw.max > MAX {
        wrong(format!("max: {} is not from 1 to {MAX}", raw.max));
    }
    if raw.burst.is_some_and(|burst| burst == 0 || burst > MAX) {
        wrong(format!("burst: is not from 1 to {MAX}"));
    }
    if raw.burst.is_some() && raw.store == Store::Kv {
        wrong("burst: a quota in kv has none: it counts from one period to the next".to_owned());
    }
    if raw.warn_at.is_some_and(|percent| percent == 0 || percent > 100) {
        wrong("warn-at: is not from 1 to 100 per cent".to_owned());
    }
}

fn overrides(raw: BTreeMap<String, Override>, key: &str, errors: &mut Vec<String>) -> BTreeMap<String, Option<u32>> {
    let mut overrides = BTreeMap::new();
    for (name, max) in raw {
        let max = match max {
            Override::Max(max) if (1..=MAX).contains(&max) => Some(max),
            Override::Word(word) if word == "unlimited" => None,
            Override::Max(_) | Override::Word(_) | Override::Other(_) => {
                errors.push(format!("{key}: overrides: {name}: write a number from 1 on, or \"unlimited\""));
                continue;
            }
        };
        overrides.insert(name.to_lowercase(), max);
    }
    overrides
}

/// What the client is told unless the operator has other words.
fn usual_reply(action: Action, count: Count) -> ((u16, reply::Status), &'static str) {
    match (action, count) {
        (Action::Hard, Count::Connections) => ((554, (5, 7, 1)), "too many connections"),
        (Action::Hard, Count::Messages) => ((550, (5, 7, 1)), "too many messages"),
        (Action::Hard, Count::Recipients) => ((550, (5, 7, 1)), "too many recipients"),
        (_, Count::Connections) => ((421, (4, 7, 0)), "too many connections, please try again in {wait} seconds"),
        (_, Count::Messages) => ((450, (4, 7, 1)), "too many messages, please try again in {wait} seconds"),
        // RFC 5321 section 4.5.3.1.10: 452 is about the number in one transaction, so it would be misunderstood here.
        (_, Count::Recipients) => ((450, (4, 7, 1)), "too many recipients, please try again in {wait} seconds"),
    }
}

impl Limit {
    /// The maximum for a key; none: no limit.
    pub(crate) fn max_for(&self, key: &str) -> Option<u32> {
        self.overrides.get(key).copied().unwrap_or(Some(self.max))
    }

    /// The burst for a key whose maximum is this.
    pub(crate) fn burst_for(&self, max: u32) -> u32 {
        if max == self.max { self.burst } else { self.burst.max(max) }
    }
}

impl Settings {
    /// True if nothing is counted for this client or sender.
    pub(crate) fn exempts(&self, facts: &Facts) -> bool {
        self.exempt_relay_clients && facts.may_relay
            || facts.address.is_some_and(|address| self.exempt_networks.iter().any(|n| n.contains(address)))
            || facts.account.as_ref().is_some_and(|account| self.exempt_accounts.contains(account))
            || facts.sender.as_ref().is_some_and(|sender| self.exempt_senders.contains(sender))
            || facts.recipient.as_ref().is_some_and(|recipient| self.exempt_recipients.contains(recipient))
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn one_limit_is_enough() {
        let document = r#"{"limits": [{"name": "clients", "by": ["client"], "max": 100, "per": "1h"}]}"#;
        let checked = Settings::read(document).unwrap();
        assert!(checked.warnings.is_empty());
        let limit = &checked.settings.limits[0];
        assert_eq!((limit.max, limit.burst, limit.period_seconds), (100, 100, 3600));
        assert_eq!(limit.reply.code, 450);
        assert!(Settings::read("{}").is_err());
    }

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"network-v4": 0, "exempt-networks": ["x"], "exempt-senders": ["a@"], "limits": [
            {"name": "A", "by": [], "max": 0, "per": "1w"},
            {"name": "b", "by": ["sender"], "count": "connections", "for": "authenticated", "max": 1, "per": "41d"},
            {"name": "b", "by": ["everybody", "client"], "max": 1, "per": "1d", "store": "kv", "burst": 2, "warn-at": 101},
            {"name": "c", "by": ["client"], "max": 1, "per": "1h", "action": "hard", "text": "450 later",
             "overrides": {"x": 0, "y": "none", "z": "unlimited", "v": []}}
        ]}"#;
        let errors = Settings::read(document).unwrap_err();
        let begin: Vec<_> = errors.iter().map(|error| error.splitn(4, ": ").take(3).collect::<Vec<_>>()).collect();
        let named: Vec<String> = begin.iter().map(|parts| parts.join(": ")).collect();
        for expected in [
            "network-v4: 0 is not from 1 to 32",
            "limits: A: a name has 1 to 32 of a-z, 0-9 and -",
            "limits: A: by",
            "limits: A: per",
            "limits: A: max",
            "limits: b: by",
            "limits: b: for",
            "limits: b: per",
            "limits: b: the name is there twice",
            "limits: b: burst",
            "limits: b: warn-at",
            "limits: c: text",
            "limits: c: overrides",
        ] {
            assert!(named.iter().any(|name| name == expected), "{expected} is not in {named:#?}");
        }
        assert_eq!(errors.len(), 18, "{errors:#?}");
    }

    #[test]
    fn long_periods_in_memory_are_warned_of() {
        let document = r#"{"limits": [{"name": "a", "by": ["account"], "max": 100, "per": "1d"}]}"#;
        assert_eq!(Settings::read(document).unwrap().warnings.len(), 1);
    }

    #[test]
    fn addresses_of_strangers_in_kv_are_warned_of() {
        for (more, warnings) in
            [(r#""by": ["sender"]"#, 1), (r#""by": ["sender"], "for": "authenticated""#, 0), (r#""by": ["client"]"#, 0)]
        {
            let document =
                format!(r#"{{"limits": [{{"name": "a", "max": 100, "per": "1d", "store": "kv", {more}}}]}}"#);
            assert_eq!(Settings::read(&document).unwrap().warnings.len(), warnings, "{more}");
        }
    }

    #[test]
    fn overrides_are_found_without_case() {
        let document = r#"{"limits": [{"name": "a", "by": ["account"], "max": 10, "burst": 20, "per": "1h",
            "overrides": {"Ann": 500, "root": "unlimited"}}]}"#;
        let settings = Settings::read(document).unwrap().settings;
        let limit = &settings.limits[0];
        assert_eq!([limit.max_for("ann"), limit.max_for("root"), limit.max_for("bob")], [Some(500), None, Some(10)]);
        assert_eq!([limit.burst_for(500), limit.burst_for(10)], [500, 20]);
    }
}
