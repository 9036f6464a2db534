//! Good files load, bad ones are refused in so many words, and the reference page says what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn shown(errors: &[ConfigError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// Each file of `tests/configs/bad` has its errors beside it. With `WAYPOST_BLESS` set they are written anew, to be read
/// in the diff.
#[test]
fn bad_configurations_are_refused_in_so_many_words() {
    let files = files("tests/configs/bad");
    assert!(files.len() >= 25, "{} cases", files.len());
    let bless = std::env::var_os("WAYPOST_BLESS").is_some();
    for path in files {
        let name = PathBuf::from(path.file_name().unwrap());
        let errors = parse(&name, &fs::read_to_string(&path).unwrap()).expect_err(&name.display().to_string());
        let expected = path.with_extension("expected");
        if bless {
            fs::write(&expected, shown(&errors)).unwrap();
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        assert_eq!(shown(&errors), expected, "{}", path.display());
    }
}

#[test]
fn good_configurations_load() {
    let full = repository("tests/configs/full.toml");
    for path in files("examples/configs").iter().chain([&full]) {
        if let Err(errors) = load(path) {
            panic!("{}", shown(&errors));
        }
        assert!(admin_socket(path).is_ok());
    }
}

#[test]
fn the_smallest_configuration_is_safe() {
    let settings = parse(Path::new("etc/waypost.toml"), "hostname = 'relay.example.org'").unwrap();
    let [listener] = settings.listen.listeners.as_slice() else { panic!("one listener") };
    assert!(matches!(listener.address, listen::Address::Tcp(address) if address.ip().is_loopback()));
    assert!(listener.session.relay.networks.is_empty() && listener.session.relay.domains.is_empty());
    assert!(!listener.session.allow_plaintext_auth && !listener.session.extensions.has(crate::smtp::Extension::Auth));
    assert_eq!(settings.queue.path, Path::new("etc/waypost-data/spool"));
}

#[test]
fn an_open_relay_has_to_be_asked_for() {
    let file = |key: &str| format!("hostname = 'relay.example.org'\n[relay]\nnetworks = ['0.0.0.0/0']\n{key}");
    assert!(parse(Path::new("f"), &file("")).is_err());
    assert!(parse(Path::new("f"), &file("allow-everyone = true")).is_ok());
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let path = repository("tests/configs/full.toml");
    let printed = load(&path).unwrap().print();
    for secret in ["correct horse", "battery staple", "hush"] {
        assert!(!printed.contains(secret), "{secret}");
    }
    assert!(printed.contains("exempt") && printed.contains("relay.example.org"));
    assert_eq!(printed, load(&path).unwrap().print());
}

#[test]
fn the_admin_socket_is_found_in_a_file_that_is_otherwise_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    fs::write(&path, "base = 'data'\nnonsense = 1\n[admin]\nsocket = 'a.sock'\n").unwrap();
    assert_eq!(admin_socket(&path).unwrap(), dir.path().join("data/a.sock"));
}

#[test]
fn paths_start_from_base() {
    let cases = [
        ("conf/w.toml", "../data", "spool", "data/spool"),
        ("w.toml", ".", "./spool", "spool"),
        ("conf/w.toml", "..", ".", "."),
        ("/etc/waypost/w.toml", "/var/lib", "spool", "/var/lib/spool"),
        ("/etc/waypost/w.toml", "../x", "/spool", "/spool"),
        ("w.toml", "../..", "../spool", "../../../spool"),
    ];
    for (file, base, path, expected) in cases {
        let text = format!("hostname = 'relay.example.org'\nbase = '{base}'\n[queue]\npath = '{path}'");
        let settings = parse(Path::new(file), &text).unwrap();
        assert_eq!(settings.queue.path, Path::new(expected), "{file} {base} {path}");
    }
}

/// A row of a table in the reference: section, key, default.
fn reference() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(repository("docs/config.md")).unwrap();
    let (mut section, mut rows) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            section = title.trim_matches(['`', '[', ']']).to_owned();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", key, _, default, why, ""] = cells.as_slice()
            && key.starts_with('`')
        {
            assert!(!why.is_empty(), "{section}.{key} has no reason");
            rows.push((section.clone(), key.trim_matches('`').to_owned(), (*default).to_owned()));
        }
    }
    rows
}

/// The code's name for a section of the page.
fn pattern(section: &str, key: &str) -> Vec<String> {
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

use crate::hooks::Hook;

#[test]
fn the_reference_lists_every_key_and_no_other() {
    let text = fs::read_to_string(repository("tests/configs/full.toml")).unwrap();
    let source = raw::Source::new("full.toml", &text);
    // A route may be a table in three places; the example writes it so in two, which is enough to know its keys.
    let more = "\n[routing.domains.\"x.example\"]\nhops = ['mx']\n";
    let text = text + more;
    check_source(&source, &repository("tests/configs/full.toml"), &text).unwrap();
    let sections = ["listeners", "tls", "limits", "smtp", "relay", "auth", "queue", "dns", "routing", "destinations"];
    let more = [
        "limits.ban",
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
        "admin",
        "admin.http",
        "admin.tokens",
        "log",
    ];
    let is_section = |key: &String| sections.contains(&key.as_str()) || more.contains(&key.as_str());
    let by_hook = |key: &String| {
        key.starts_with("plugins.NAME.on-failure.")
            || key.strip_prefix("plugins.NAME.budgets.").is_some_and(|k| !k.contains('.'))
    };
    let asked: BTreeSet<_> = source.asked().into_iter().filter(|key| !is_section(key) && !by_hook(key)).collect();
    let listed: BTreeSet<_> = reference().iter().flat_map(|(section, key, _)| pattern(section, key)).collect();
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
        "The file itself" => String::new(),
        section => format!("[{}]\n", section.replace("NAME", "x")),
    };
    let load = |text: &str| parse(Path::new("f.toml"), &format!("hostname = 'relay.example.org'\n{text}"));
    let mut checked = 0;
    for (section, key, default) in reference() {
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

proptest::proptest! {
    /// Whatever is in the file, reading it ends with settings or with errors.
    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-z]{1,8}|\\[[a-z.]{1,12}\\]|=|\"|'|\\{|\\}|,|[0-9]{1,3}|\n| ){0,60}") {
        let _ = parse(Path::new("f"), &text);
    }
}
