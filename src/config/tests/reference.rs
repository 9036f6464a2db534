//! The reference page says what the code does: every key, every default.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::{check, parse, raw};
use super::{repository, shown};
use crate::hooks::Hook;

/// A row of a table in the reference.
pub(super) struct Row {
    pub(super) section: String,
    pub(super) key: String,
    /// What may be written.
    pub(super) value: String,
    pub(super) default: String,
    pub(super) why: String,
}

pub(super) fn reference() -> Vec<Row> {
    let text = fs::read_to_string(repository("docs/config.md")).unwrap();
    let (mut section, mut rows) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            section = title.trim_matches(['`', '[', ']']).to_owned();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", key, value, default, why, ""] = cells.as_slice()
            && key.starts_with('`')
        {
            assert!(!why.is_empty(), "{section}.{key} has no reason");
            let [value, default, why] = [value, default, why].map(|text| (*text).to_owned());
            rows.push(Row { section: section.clone(), key: key.trim_matches('`').to_owned(), value, default, why });
        }
    }
    rows
}

/// The code's name for a section of the page.
pub(super) fn pattern(section: &str, key: &str) -> Vec<String> {
    match section {
        "The file itself" => vec![key.to_owned()],
        "A route as a table" => {
            let places = ["routing.default", "routing.domains.NAME", "destinations.NAME.route"];
            places.iter().map(|place| format!("{place}.{key}")).collect()
        }
        "plugins.NAME.budgets.HOOK" => Hook::ALL
            .iter()
            .map(|hook| format!("plugins.NAME.budgets.{}.{key}", hook.interface().trim_start_matches("on-")))
            .collect(),
        section => vec![format!("{section}.{key}")],
    }
}

#[test]
fn the_reference_lists_every_key_and_no_other() {
    let text = fs::read_to_string(repository("tests/configs/full.toml")).unwrap();
    // A route may be a table in three places; the example writes it so in two, which is enough to know its keys.
    let more = "\n[routing.domains.\"x.example\"]\nhops = ['mx']\n";
    let files = [raw::Written::new("full.toml", &(text + more))];
    let source = raw::Source::new(&files);
    let table = source.parse(&files).unwrap();
    check::settings(&raw::Table::root(&source, &table), &repository("tests/configs/full.toml")).unwrap();
    let sections = ["listeners", "tls", "limits", "smtp", "relay", "auth", "queue", "dns", "routing", "destinations"];
    let more = [
        "limits.ban",
        "queue.quotas",
        "limits.tarpit",
        "credentials",
        "sources",
        "pools",
        "delivery",
        "mta-sts",
        "tlsrpt",
        "lanes",
        "shaping",
        "history",
        "suppression",
        "retry",
        "notices",
        "notices.by-listener.NAME",
        "signing",
        "dkim",
        "arc",
        "plugins",
        "plugin-host",
        "process",
        "sendmail",
        "admin",
        "admin.http",
        "admin.tokens",
        "log",
        "telemetry",
        "telemetry.otlp",
    ];
    let is_section = |key: &String| sections.contains(&key.as_str()) || more.contains(&key.as_str());
    let by_hook = |key: &String| {
        key.starts_with("plugins.NAME.on-failure.")
            || key.strip_prefix("plugins.NAME.budgets.").is_some_and(|k| !k.contains('.'))
    };
    let asked: BTreeSet<_> = source.asked().into_iter().filter(|key| !is_section(key) && !by_hook(key)).collect();
    let listed: BTreeSet<_> = reference().iter().flat_map(|row| pattern(&row.section, &row.key)).collect();
    assert_eq!(asked.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "known but not in docs/config.md");
    assert_eq!(listed.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "in docs/config.md but not known");
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_code() {
    const KEY: &str = "domain = 'example.org'\nselector = 's'\nkey-file = 'k.pem'\n";
    let around = |section: &str| match section {
        "listeners.NAME" => "[listeners.x]\naddress = '127.0.0.1:1'\n".to_owned(),
        "tls" => "[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\n".to_owned(),
        "plugins.NAME" => "[plugins.x]\npath = 'x.wasm'\n".to_owned(),
        "plugins.NAME.grants" => "[plugins.x]\npath = 'x.wasm'\n[plugins.x.grants]\n".to_owned(),
        "plugins.NAME.grants.http" => {
            "[plugins.x]\npath = 'x.wasm'\n[plugins.x.grants.http]\nallow = ['http://a']\n".to_owned()
        }
        "plugins.NAME.candidate.promote" => {
            "[plugins.x]\npath = 'x.wasm'\n[plugins.x.candidate]\npath = 'x.wasm'\n[plugins.x.candidate.promote]\n"
                .to_owned()
        }
        "plugins.NAME.candidate" => "[plugins.x]\npath = 'x.wasm'\n[plugins.x.candidate]\npath = 'x.wasm'\n".to_owned(),
        section if section.starts_with("plugins.NAME.") => {
            format!("[plugins.x]\npath = 'x.wasm'\n[{}]\n", section.replace("NAME", "x"))
        }
        "shaping.backoff" => "[[shaping.backoff]]\ncode = '421'\ndivide = 2\n".to_owned(),
        "pools.NAME" => "[sources.w]\naddresses = ['192.0.2.1']\n[pools.x]\nmembers = { w = 1 }\n".to_owned(),
        "destinations.NAME" => "[destinations.x]\nmaildir = 'x'\n".to_owned(),
        "signing" => format!("[dkim.x]\n{KEY}[signing]\n"),
        "dkim.NAME" => format!("[dkim.x]\n{KEY}"),
        "arc" => format!("[arc]\n{KEY}"),
        "admin.http" => "[admin.http]\naddress = '127.0.0.1:0'\n".to_owned(),
        "telemetry.otlp" => "[telemetry.otlp]\nendpoint = 'http://127.0.0.1:4318/'\n".to_owned(),
        "The file itself" => String::new(),
        section => format!("[{}]\n", section.replace("NAME", "x")),
    };
    let load = |text: &str| parse(Path::new("f.toml"), &format!("hostname = 'relay.example.org'\n{text}"));
    let mut checked = 0;
    for Row { section, key, default, .. } in reference() {
        let Some(value) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        if section == "A route as a table" || value.contains('`') {
            continue;
        }
        let without = load(&around(&section)).unwrap().print();
        let with = load(&format!("{}{key} = {value}\n", around(&section)));
        let with = with.unwrap_or_else(|errors| panic!("{section}.{key}: {}", shown(&errors))).print();
        assert_eq!(with, without, "{section}.{key} = {value}");
        checked += 1;
    }
    assert!(checked > 50, "only {checked} defaults found");
}
