//! Good files load, bad ones are refused in so many words, and the reference page says what the code does.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod drop_ins;
mod generated;
mod reference;
mod unwise;

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
    assert!(files.len() >= 55, "{} cases", files.len());
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

proptest::proptest! {
    /// Whatever is in the file, reading it ends with settings or with errors.
    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-z]{1,8}|\\[[a-z.]{1,12}\\]|=|\"|'|\\{|\\}|,|[0-9]{1,3}|\n| ){0,60}") {
        let _ = parse(Path::new("f"), &text);
    }
}
