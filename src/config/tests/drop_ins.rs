//! Several files as one, and each message with the file and the line that it is about.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{admin_socket, examine, load};
use super::shown;

/// A folder with a main file and drop-ins.
fn folder(main: &str, drop_ins: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    fs::write(&path, main).unwrap();
    fs::create_dir(dir.path().join("waypost.d")).unwrap();
    for (name, text) in drop_ins {
        fs::write(dir.path().join("waypost.d").join(name), text).unwrap();
    }
    (dir, path)
}

fn told(dir: &Path, findings: &[super::super::ConfigError]) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    shown(findings).lines().map(|line| line.replace(&prefix, "")).collect()
}

#[test]
fn later_files_win_and_tables_merge() {
    let main = "hostname = 'a.example.org'\n[limits]\nconnections = 10\nper-client = 5\n[smtp]\noffer = ['DSN']\n";
    let drop_ins = [
        ("20-b.toml", "hostname = 'b.example.org'\n[limits]\nconnections = 20\n"),
        ("10-a.toml", "[limits.ban]\nerrors = 7\n[smtp]\noffer = ['BINARYMIME']\n[queue]\npath = 'elsewhere'\n"),
        ("note.txt", "no configuration"),
        (".30-hidden.toml", "no configuration either"),
    ];
    let (dir, path) = folder(main, &drop_ins);
    let settings = load(&path).unwrap();
    assert_eq!(&*settings.hostname, "b.example.org");
    assert_eq!((settings.listen.limits.connections, settings.listen.limits.per_client), (20, 5));
    assert_eq!(settings.listen.limits.ban.errors, 7);
    assert_eq!(settings.queue.path, dir.path().join("elsewhere"));
}

#[test]
fn each_mistake_is_told_with_its_file_and_line() {
    let main = "hostname = 'a.example.org'\n\n[limits]\nconections = 10\n";
    let drop_ins = [
        ("10-a.toml", "# first\n[smtp]\nmax-erors = 1\n"),
        ("20-b.toml", "\n\n[queue]\npath = 7\n[limits]\ndrain = 1\n"),
    ];
    let (dir, path) = folder(main, &drop_ins);
    let errors = told(dir.path(), &load(&path).unwrap_err());
    let starts = [
        "waypost.toml:4: limits.conections: no such key",
        "waypost.d/10-a.toml:3: smtp.max-erors: no such key",
        "waypost.d/20-b.toml:4: queue.path: expected a text",
        "waypost.d/20-b.toml:6: limits.drain: expected a duration",
    ];
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn syntax_is_judged_in_every_file() {
    let (dir, path) = folder("hostname = \n", &[("1.toml", "a = 1\nb = = 2\n"), ("2.toml", "[queue]\n")]);
    let errors = told(dir.path(), &load(&path).unwrap_err());
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with("waypost.toml:1: no TOML") && errors[1].starts_with("waypost.d/1.toml:2: no TOML"));
}

#[test]
fn a_key_in_two_drop_ins_is_warned_of() {
    let main = "hostname = 'a.example.org'\n[smtp]\nmax-errors = 5\n";
    let (dir, path) = folder(main, &[("1.toml", "[smtp]\nmax-errors = 6\n"), ("2.toml", "\n[smtp]\nmax-errors = 7\n")]);
    let checked = examine(&path).unwrap();
    assert_eq!(checked.settings.listen.listeners[0].session.max_errors, 7);
    let warnings = told(dir.path(), &checked.warnings);
    let twice: Vec<_> = warnings.iter().filter(|warning| warning.contains("sets it too")).collect();
    let expected = format!(
        "waypost.d/2.toml:3: smtp.max-errors: {} sets it too; this one counts, since its file comes later; keep one of the two",
        "waypost.d/1.toml:2"
    );
    assert_eq!(twice, [&expected]);
}

#[test]
fn the_socket_may_be_named_in_a_drop_in() {
    let (dir, path) = folder("hostname = 'a.example.org'\n", &[("1.toml", "[admin]\nsocket = 'x.sock'\n")]);
    assert_eq!(admin_socket(&path).unwrap(), dir.path().join("x.sock"));
}

#[test]
fn advice_about_a_drop_in_names_it() {
    let (dir, path) = folder("hostname = 'a.example.org'\n", &[("1.toml", "\n[limits]\nmin-rate = 0\n")]);
    let warnings = told(dir.path(), &examine(&path).unwrap().warnings);
    assert!(warnings.iter().any(|w| w.starts_with("waypost.d/1.toml:3: limits.min-rate:")), "{warnings:#?}");
}
