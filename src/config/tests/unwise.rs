//! The unwise is told in so many words, and refuses nothing.

use std::fs;
use std::path::PathBuf;

use super::super::{check_files, examine, raw};
use super::{files, repository, shown};

/// Each file of `tests/configs/unwise` has what is said of it beside it. With `WAYPOST_BLESS` set that is written anew, to be
/// read in the diff.
#[test]
fn unwise_configurations_load_and_are_warned_of() {
    let files = files("tests/configs/unwise");
    assert!(files.len() >= 40, "{} cases", files.len());
    let bless = std::env::var_os("WAYPOST_BLESS").is_some();
    for path in files {
        let name = PathBuf::from(path.file_name().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let checked = check_files(&name, &[raw::Written::new(&name.display().to_string(), &text)]);
        let checked = checked.unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        let expected = path.with_extension("expected");
        if bless {
            fs::write(&expected, shown(&checked.warnings)).unwrap();
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        assert!(!expected.is_empty(), "{} is not unwise", path.display());
        assert_eq!(shown(&checked.warnings), expected, "{}", path.display());
    }
}

#[test]
fn the_examples_are_wise() {
    for path in files("examples/configs") {
        let mut warnings = examine(&path).unwrap().warnings;
        // It says itself that a file is better: an example has none.
        warnings.retain(|warning| warning.key != "credentials.provider.secret");
        // Nor can it help where the sources were cloned to: below a folder like /tmp, that is told of every path in it.
        let passing = ["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().any(|folder| path.starts_with(folder));
        warnings.retain(|warning| !(passing && (warning.key.ends_with("path") || warning.key == "admin.socket")));
        assert!(warnings.is_empty(), "{}", shown(&warnings));
    }
}

/// Whoever is told something can look it up: keys of advice are keys of the reference, or sections.
#[test]
fn advice_names_keys_that_there_are() {
    let full = examine(&repository("tests/configs/full.toml")).unwrap();
    assert!(!full.warnings.is_empty());
    for warning in &full.warnings {
        assert!(!warning.key.is_empty() && !warning.problem.is_empty() && !warning.help.is_empty(), "{warning}");
    }
}
