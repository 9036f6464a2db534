//! `[plugins.attachments.config]`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use waypost_plugin::reply::parse;
use waypost_plugin::{Checked, Reply};

use crate::contents::Kind;
use crate::finding::{Action, Class};

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// In lower case, without a dot.
    pub(crate) extensions: BTreeSet<String>,
    /// In lower case; those that end with `*` are beginnings.
    types: Vec<String>,
    pub(crate) contents: BTreeSet<Kind>,
    pub(crate) archives: bool,
    pub(crate) entries_max: usize,
    pub(crate) max_size: u32,
    pub(crate) parts_max: usize,
    pub(crate) depth_max: usize,
    pub(crate) reject_reply: Reply,
    pub(crate) note: String,
    pub(crate) skip_authenticated: bool,
    pub(crate) skip_relay_clients: bool,
    actions: BTreeMap<Class, Action>,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    extensions: Option<Vec<String>>,
    also_extensions: Vec<String>,
    types: Option<Vec<String>>,
    contents: Option<Vec<Kind>>,
    archives: bool,
    entries_max: usize,
    max_size: u32,
    parts_max: usize,
    depth_max: usize,
    reject_reply: String,
    note: String,
    skip_authenticated: bool,
    skip_relay_clients: bool,
    actions: BTreeMap<Class, Action>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            extensions: None,
            also_extensions: Vec::new(),
            types: None,
            contents: None,
            archives: true,
            // A list of files that somebody sends; software packages have more, and go another way.
            entries_max: 2000,
            // What most servers take at all.
            max_size: 25 << 20,
            parts_max: 500,
            depth_max: 10,
            reject_reply: "554 5.7.1 an attachment of this message is not accepted here".to_owned(),
            note: "An attachment was removed from this message.".to_owned(),
            skip_authenticated: false,
            skip_relay_clients: false,
            actions: BTreeMap::new(),
        }
    }
}

/// What runs when it is opened, on one desktop or another.
const EXTENSIONS: [&str; 61] = [
    "ade",
    "adp",
    "app",
    "appx",
    "appxbundle",
    "bat",
    "cab",
    "chm",
    "cmd",
    "com",
    "cpl",
    "diagcab",
    "dll",
    "dmg",
    "exe",
    "hlp",
    "hta",
    "img",
    "inf",
    "ins",
    "iso",
    "isp",
    "jar",
    "jnlp",
    "js",
    "jse",
    "lib",
    "lnk",
    "mde",
    "mjs",
    "msc",
    "msi",
    "msix",
    "msp",
    "mst",
    "one",
    "pif",
    "ps1",
    "ps1xml",
    "ps2",
    "psc1",
    "psd1",
    "psm1",
    "reg",
    "scf",
    "scr",
    "sct",
    "shb",
    "sys",
    "vb",
    "vbe",
    "vbs",
    "vhd",
    "vhdx",
    "vxd",
    "wim",
    "ws",
    "wsc",
    "wsf",
    "wsh",
    "xll",
];

const TYPES: [&str; 7] = [
    "application/hta",
    "application/java-archive",
    "application/vnd.microsoft.portable-executable",
    "application/x-dosexec",
    "application/x-ms-shortcut",
    "application/x-msdos-program",
    "application/x-msdownload",
];

/// The largest message: decoded beside it, there has to be room in the plugin's memory.
const SIZE_MAX: u32 = 40 << 20;

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    for (key, value, most) in [
        ("entries-max", table.entries_max, 100_000),
        ("parts-max", table.parts_max, 10_000),
        ("depth-max", table.depth_max, 50),
    ] {
        if value == 0 || value > most {
            errors.push(format!("{key}: {value} is not from 1 to {most}"));
        }
    }
    if !(1024..=SIZE_MAX).contains(&table.max_size) {
        errors.push(format!("max-size: {} octets are not from 1024 to {SIZE_MAX}", table.max_size));
    }
    if table.note.is_empty() || table.note.chars().any(|c| c.is_control() && c != '\n') {
        errors.push("note: it is empty or has control characters".to_owned());
    }
    if table.actions.get(&Class::Limits) == Some(&Action::Strip) {
        errors.push("actions.limits: a message that was not looked through can't be cleaned; write another".to_owned());
    }
    if table.actions.values().all(|action| *action == Action::Ignore) && table.actions.len() == Class::ALL.len() {
        warnings.push("actions: everything is ignored; remove the plugin instead".to_owned());
    }
    Settings {
        extensions: extensions(table.extensions, table.also_extensions, errors),
        types: types(table.types, errors),
        contents: table.contents.unwrap_or_else(|| Kind::PROGRAMS.to_vec()).into_iter().collect(),
        archives: table.archives,
        entries_max: table.entries_max,
        max_size: table.max_size,
        parts_max: table.parts_max,
        depth_max: table.depth_max,
        reject_reply: reply(&table.reject_reply, errors),
        note: table.note,
        skip_authenticated: table.skip_authenticated,
        skip_relay_clients: table.skip_relay_clients,
        actions: table.actions,
    }
}

fn extensions(own: Option<Vec<String>>, also: Vec<String>, errors: &mut Vec<String>) -> BTreeSet<String> {
    let usual = || EXTENSIONS.iter().map(|text| (*text).to_owned()).collect();
    let written = own.unwrap_or_else(usual).into_iter().chain(also);
    let mut found = BTreeSet::new();
    for text in written {
        let bare = text.trim_start_matches(['*', '.']).to_lowercase();
        if bare.is_empty() || bare.contains(['.', '/', ' ']) {
            errors.push(format!("extensions: `{text}` is none; write exe or .exe"));
        }
        found.insert(bare);
    }
    found
}

fn types(own: Option<Vec<String>>, errors: &mut Vec<String>) -> Vec<String> {
    let types = own.unwrap_or_else(|| TYPES.iter().map(|text| (*text).to_owned()).collect());
    for text in &types {
        let stem = text.strip_suffix('*').unwrap_or(text);
        if !stem.contains('/') || stem.contains(['*', ' ', ';']) {
            errors.push(format!("types: `{text}` is no content type such as application/hta or application/x-ms*"));
        }
    }
    types.into_iter().map(|text| text.to_ascii_lowercase()).collect()
}

fn reply(text: &str, errors: &mut Vec<String>) -> Reply {
    match parse(text, (554, (5, 7, 1))) {
        Ok(reply) if reply.code / 100 == 5 => return reply,
        Ok(reply) => errors.push(format!("reject-reply: {} is no 5yz code", reply.code)),
        Err(error) => errors.push(format!("reject-reply: {error}")),
    }
    waypost_plugin::reply::reply(554, (5, 7, 1), "refused")
}

impl Settings {
    /// What becomes of a message with such a finding.
    pub(crate) fn action(&self, class: Class) -> Action {
        self.actions.get(&class).copied().unwrap_or(match class {
            Class::Extension | Class::Type | Class::Contents | Class::Deceptive => Action::Reject,
            Class::Encrypted | Class::Nested | Class::Unreadable => Action::Header,
            Class::Limits => Action::Quarantine,
        })
    }

    /// True if that content type is unwanted.
    pub(crate) fn lists_type(&self, kind: &str) -> bool {
        let kind = kind.to_ascii_lowercase();
        self.types.iter().any(|listed| match listed.strip_suffix('*') {
            Some(beginning) => kind.starts_with(beginning),
            None => kind == *listed,
        })
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn an_empty_table_is_good() {
        let checked = Settings::read("").unwrap();
        assert!(checked.warnings.is_empty());
        assert!(checked.settings.extensions.contains("exe"));
        assert_eq!(checked.settings.action(Class::Extension), Action::Reject);
        assert_eq!(checked.settings.action(Class::Limits), Action::Quarantine);
    }

    #[test]
    fn every_mistake_is_named() {
        let errors = Settings::read(
            r#"{"entries-max": 0, "parts-max": 0, "depth-max": 51, "max-size": 1, "note": "", "extensions": ["tar.gz"],
                "also-extensions": [""], "types": ["exe"], "reject-reply": "450 no", "actions": {"limits": "strip"}}"#,
        )
        .unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "entries-max",
                "parts-max",
                "depth-max",
                "max-size",
                "note",
                "actions.limits",
                "extensions",
                "extensions",
                "types",
                "reject-reply"
            ]
        );
    }

    #[test]
    fn unknown_words_are_mistakes() {
        for document in
            [r#"{"contents": ["virus"]}"#, r#"{"actions": {"size": "reject"}}"#, r#"{"actions": {"type": "drop"}}"#]
        {
            assert_eq!(Settings::read(document).unwrap_err().len(), 1, "{document}");
        }
    }

    #[test]
    fn lists_can_be_replaced_and_added_to() {
        let settings = Settings::read(r#"{"also-extensions": ["*.DOCM", "zip"]}"#).unwrap().settings;
        assert!(["exe", "docm", "zip"].iter().all(|text| settings.extensions.contains(*text)));
        let settings = Settings::read(r#"{"extensions": [".exe"], "types": ["Application/X-MS*"]}"#).unwrap().settings;
        assert_eq!(settings.extensions.len(), 1);
        assert!(settings.lists_type("application/x-msdownload") && !settings.lists_type("application/hta"));
    }
}
