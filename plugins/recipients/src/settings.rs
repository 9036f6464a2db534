//! `[plugins.recipients.config]`.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use waypost_plugin::{Checked, Mailbox, Reply, reply};

use crate::entry::{Entry, entry, is_domain, target};
use crate::expand::{Fate, Trouble, Walk};

/// What becomes of a recipient that no table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unknown {
    #[default]
    Reject,
    Tempfail,
    Proceed,
}

/// The tables, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    domains: HashMap<String, Domain>,
    /// To the domain that it stands for.
    domain_aliases: HashMap<String, String>,
    /// Bucket with more entries.
    pub(crate) kv: Option<String>,
    /// Entries in kv may lead out of the domains.
    pub(crate) kv_outside: bool,
    /// Aliases behind one another.
    pub(crate) depth: usize,
    /// Recipients that one may become.
    pub(crate) expansion: usize,
    pub(crate) unknown: Reply,
}

/// One domain.
#[derive(Debug)]
pub(crate) struct Domain {
    /// By local part in lower case.
    pub(crate) entries: HashMap<String, Entry>,
    /// What stands before the star and after it, with the longest first.
    pub(crate) wildcards: Vec<(String, String, Entry)>,
    pub(crate) catch_all: Option<Entry>,
    /// Characters that begin a detail.
    pub(crate) separators: String,
    pub(crate) keep_detail: bool,
    pub(crate) unknown: Unknown,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    domains: BTreeMap<String, RawDomain>,
    domain_aliases: BTreeMap<String, String>,
    kv: Option<String>,
    kv_outside: bool,
    outside: bool,
    depth: usize,
    expansion: usize,
    unknown_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct RawDomain {
    mailboxes: Vec<String>,
    aliases: BTreeMap<String, Targets>,
    catch_all: Option<Targets>,
    separators: String,
    keep_detail: bool,
    unknown: Unknown,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    One(String),
    Many(Vec<String>),
    // Untagged reading says nothing of what is wrong; this takes the rest, so that the message can.
    Other(serde::de::IgnoredAny),
}

impl Default for Table {
    fn default() -> Self {
        Self {
            domains: BTreeMap::new(),
            domain_aliases: BTreeMap::new(),
            kv: None,
            kv_outside: false,
            outside: true,
            depth: 10,
            // What RFC 5321 section 4.5.3.1.8 has every server take in one transaction.
            expansion: 100,
            unknown_text: "no such mailbox here".to_owned(),
        }
    }
}

impl Default for RawDomain {
    fn default() -> Self {
        Self {
            mailboxes: Vec::new(),
            aliases: BTreeMap::new(),
            catch_all: None,
            separators: "+".to_owned(),
            keep_detail: true,
            unknown: Unknown::default(),
        }
    }
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.domains.is_empty() {
        errors.push("domains: there are none, so the plugin would do nothing".to_owned());
    }
    for (name, number, most) in [("depth", table.depth, 50), ("expansion", table.expansion, 1000)] {
        if number == 0 || number > most {
            errors.push(format!("{name}: {number} is not from 1 to {most}"));
        }
    }
    if table.kv.as_ref().is_some_and(|name| name.is_empty()) {
        errors.push("kv: write \"own\", or the name of a shared bucket".to_owned());
    }
    if table.kv_outside && table.kv.is_none() {
        warnings.push("kv-outside: without kv it does nothing".to_owned());
    }
    let mut domains = HashMap::new();
    for (name, raw) in table.domains {
        let name = domain_name("domains", &name, errors);
        if raw.mailboxes.is_empty() && raw.aliases.is_empty() && raw.catch_all.is_none() && table.kv.is_none() {
            warnings.push(format!("domains.{name}: it has no recipients but postmaster"));
        }
        domains.insert(name.clone(), domain(&name, raw, errors));
    }
    let mut domain_aliases = HashMap::new();
    for (alias, to) in &table.domain_aliases {
        let (alias, to) = (domain_name("domain-aliases", alias, errors), to.to_ascii_lowercase());
        if domains.contains_key(&alias) {
            errors.push(format!("domain-aliases: {alias} is one of the domains as well"));
        }
        if !domains.contains_key(&to) {
            errors.push(format!("domain-aliases: {alias}: {to} is none of the domains"));
        }
        domain_aliases.insert(alias, to);
    }
    let unknown = reply::parse(&table.unknown_text, (550, (5, 1, 1))).unwrap_or_else(|error| {
        errors.push(format!("unknown-text: {error}"));
        reply::reply(550, (5, 1, 1), "unknown")
    });
    if unknown.code < 500 {
        errors.push("unknown-text: write a code from 500 to 599; unknown = \"tempfail\" has its own".to_owned());
    }
    let settings = Settings {
        domains,
        domain_aliases,
        kv: table.kv,
        kv_outside: table.kv_outside,
        depth: table.depth,
        expansion: table.expansion,
        unknown,
    };
    if errors.is_empty() {
        check_aliases(&settings, table.outside, errors);
    }
    settings
}

fn domain_name(key: &str, name: &str, errors: &mut Vec<String>) -> String {
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    if !is_domain(&lower) {
        errors.push(format!("{key}: `{name}` is no domain; write other scripts as xn-- labels"));
    }
    lower
}

fn domain(name: &str, raw: RawDomain, errors: &mut Vec<String>) -> Domain {
    let key = format!("domains.{name}");
    let mut domain = Domain {
        entries: HashMap::new(),
        wildcards: Vec::new(),
        catch_all: raw.catch_all.and_then(|targets| read(targets, &format!("{key}.catch-all"), errors)),
        separators: raw.separators,
        keep_detail: raw.keep_detail,
        unknown: raw.unknown,
    };
    if domain.separators.chars().any(|c| c.is_alphanumeric() || c == '@' || c == ' ') {
        errors.push(format!("{key}.separators: letters, digits, @ and spaces separate nothing"));
    }
    for mailbox in &raw.mailboxes {
        add(&mut domain, mailbox, Entry::Mailbox, &format!("{key}.mailboxes"), errors);
    }
    for (alias, targets) in raw.aliases {
        if let Some(entry) = read(targets, &format!("{key}.aliases.{alias}"), errors) {
            add(&mut domain, &alias, entry, &format!("{key}.aliases"), errors);
        }
    }
    // The one with most letters says most. The sort is stable, and the table came in order: the same one wins every time.
    domain.wildcards.sort_by_key(|(before, after, _)| std::cmp::Reverse(before.len() + after.len()));
    domain
}

fn add(domain: &mut Domain, name: &str, entry: Entry, key: &str, errors: &mut Vec<String>) {
    let lower = name.to_lowercase();
    if lower.is_empty() || lower.contains(['@', ' ']) || lower.matches('*').count() > 1 {
        errors.push(format!("{key}: `{name}` is no local part, with one * at most"));
        return;
    }
    let twice = match lower.split_once('*') {
        Some(("", "")) => {
            errors.push(format!("{key}: write `*` as catch-all"));
            return;
        }
        Some((before, after)) => {
            let twice = domain.wildcards.iter().any(|(b, a, _)| b == before && a == after);
            domain.wildcards.push((before.to_owned(), after.to_owned(), entry));
            twice
        }
        None => domain.entries.insert(lower, entry).is_some(),
    };
    if twice {
        errors.push(format!("{key}: `{name}` is there twice"));
    }
}

fn read(targets: Targets, key: &str, errors: &mut Vec<String>) -> Option<Entry> {
    let read = match targets {
        Targets::One(text) => entry(&text),
        Targets::Many(texts) if texts.is_empty() => Err("leads nowhere; write :discard if that is meant".to_owned()),
        Targets::Many(texts) => texts.iter().map(|text| target(text)).collect::<Result<_, _>>().map(Entry::Forward),
        Targets::Other(_) => Err("write a target, or a list of them".to_owned()),
    };
    read.map_err(|error| errors.push(format!("{key}: {error}"))).ok()
}

/// Follows every alias of the settings once: loops and dead ends are found when the plugin is loaded.
fn check_aliases(settings: &Settings, outside: bool, errors: &mut Vec<String>) {
    let mut names: Vec<(&String, &Domain)> = settings.domains.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    for (name, domain) in names {
        let mut aliases: Vec<(&String, &Entry)> = domain.entries.iter().collect();
        aliases.sort_by_key(|(local, _)| *local);
        for (local, entry) in aliases {
            let Entry::Forward(targets) = entry else { continue };
            let key = format!("domains.{name}.aliases.{local}");
            let start = Mailbox { local_part: local.clone(), domain: name.clone() };
            // kv is not asked: what is missing here may be there.
            let mut walk = Walk::new(settings, |_| Ok(None));
            match walk.fate(&start) {
                Err(Trouble::Plugin(why)) | Err(Trouble::Tables(why)) => errors.push(format!("{key}: {why}")),
                Ok(Fate::Deliver(found)) if !outside => {
                    let out = found.iter().filter(|mailbox| !settings.is_ours(&mailbox.domain));
                    errors.extend(out.map(|mailbox| format!("{key}: {mailbox} is outside, and outside is false")));
                }
                Ok(_) => {}
            }
            if settings.kv.is_none() && !walk.lost.is_empty() {
                errors.push(format!("{key}: nobody is at {}", walk.lost.join(", ")));
            }
            if targets.len() > settings.expansion {
                errors.push(format!("{key}: has {} targets, expansion allows {}", targets.len(), settings.expansion));
            }
        }
    }
}

impl Settings {
    /// A domain, and the name that counts for it; none for domains of others.
    pub(crate) fn find(&self, domain: &str) -> Option<(&str, &Domain)> {
        let name = self.domain_aliases.get(domain).map_or(domain, String::as_str);
        self.domains.get_key_value(name).map(|(name, domain)| (name.as_str(), domain))
    }

    /// True for the domains and their aliases.
    pub(crate) fn is_ours(&self, domain: &str) -> bool {
        self.find(domain).is_some()
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"depth": 0, "expansion": 1001, "kv": "", "unknown-text": "450 later",
            "domain-aliases": {"a.example": "nowhere.example", "example.org": "example.org", "x y": "example.org"},
            "domains": {
                "example.org": {"mailboxes": ["ann", "Ann", "a@b", "*", "a*b*"], "separators": "x",
                    "aliases": {"sales": [], "odd": 7, "worse": "a b", "info-*": "ann", "INFO-*": "ann"},
                    "catch-all": ":drop"},
                "b..c": {"unknown": "proceed"}
            }}"#;
        let errors = Settings::read(document).unwrap_err();
        let text = errors.join("\n");
        for expected in [
            "depth: 0",
            "expansion: 1001",
            "kv: write",
            "unknown-text: write",
            "domain-aliases: a.example: nowhere.example is none of the domains",
            "domain-aliases: example.org is one of the domains as well",
            "domain-aliases: `x y` is no domain",
            "domains: `b..c` is no domain",
            "domains.example.org.catch-all: `:drop`",
            "domains.example.org.separators",
            "domains.example.org.mailboxes: `Ann` is there twice",
            "domains.example.org.mailboxes: `a@b` is no local part",
            "domains.example.org.mailboxes: write `*` as catch-all",
            "domains.example.org.mailboxes: `a*b*` is no local part",
            "domains.example.org.aliases.sales: leads nowhere",
            "domains.example.org.aliases.odd: write a target",
            "domains.example.org.aliases.worse: `a b` is no target",
            "is there twice",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert_eq!(errors.len(), 18, "{text}");
    }

    #[test]
    fn loops_dead_ends_and_ways_out_are_found_at_load() {
        let document = r#"{"outside": false, "domains": {"example.org": {"mailboxes": ["ann"], "aliases": {
            "one": "two", "two": "three", "three": "one", "dead": "nobody", "out": "x@example.net", "good": ["ann", "postmaster"],
            "ann2": ["ann2", "ann"]}}}}"#;
        let errors = Settings::read(document).unwrap_err();
        assert_eq!(
            errors,
            [
                "domains.example.org.aliases.dead: nobody is at nobody@example.org",
                "domains.example.org.aliases.one: it leads back to one@example.org",
                "domains.example.org.aliases.out: x@example.net is outside, and outside is false",
                "domains.example.org.aliases.three: it leads back to three@example.org",
                "domains.example.org.aliases.two: it leads back to two@example.org",
            ]
        );
    }

    #[test]
    fn what_is_odd_is_warned_of() {
        let checked = Settings::read(r#"{"kv-outside": true, "domains": {"example.org": {}}}"#).unwrap();
        assert_eq!(checked.warnings.len(), 2);
    }
}
