//! One file: its name, its type, its first octets, and what is in it if it is an archive. Pure.

use crate::contents::Kind;
use crate::finding::{Class, Finding};
use crate::name;
use crate::settings::Settings;
use crate::zip::{self, Entry, Problem};

/// What an Office document with macros has in it.
const MACROS: [&str; 2] = ["vbaproject.bin", "xl/macrosheets/"];

/// What is wrong with a file.
pub(crate) fn judge(names: &[String], octets: &[u8], settings: &Settings) -> Vec<Finding> {
    let mut found: Vec<Finding> = names.iter().flat_map(|name| name::judge(name, settings)).collect();
    let name = names.first().map(String::as_str);
    let kind = Kind::of(octets);
    if let Some(kind) = kind {
        found.extend(unwanted(kind, name, settings));
    }
    // A program that unpacks itself is an archive too.
    if settings.archives && (kind == Some(Kind::Zip) || names.iter().any(|name| name::is_zip(name))) {
        found.extend(archive(octets, name, Depth::Outer, settings));
    }
    found
}

fn unwanted(kind: Kind, name: Option<&str>, settings: &Settings) -> Option<Finding> {
    settings.contents.contains(&kind).then(|| Finding::new(Class::Contents, kind.words(), name))
}

/// How far inside an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Outer,
    Inner,
}

/// An archive within an archive is looked into, one within that is not.
fn archive(octets: &[u8], name: Option<&str>, depth: Depth, settings: &Settings) -> Vec<Finding> {
    let entries = match zip::entries(octets, settings.entries_max) {
        Ok(entries) => entries,
        Err(Problem::Broken) => return vec![Finding::new(Class::Unreadable, "an archive that can't be read", name)],
        Err(Problem::TooMany) => return vec![Finding::new(Class::Unreadable, "an archive with too many files", name)],
    };
    let mut found = Vec::new();
    for entry in &entries {
        found.extend(name::judge(&entry.name, settings));
        let file = entry.name.to_ascii_lowercase();
        if MACROS.iter().any(|part| file.contains(part)) {
            found.extend(unwanted(Kind::OfficeMacros, name, settings));
        }
        if name::is_zip(&entry.name) {
            found.extend(within(octets, entry, depth, settings));
        }
    }
    if entries.iter().any(|entry| entry.encrypted) {
        found.push(Finding::new(Class::Encrypted, "an archive that is encrypted", name));
    }
    found.dedup();
    found
}

fn within(octets: &[u8], entry: &Entry, depth: Depth, settings: &Settings) -> Vec<Finding> {
    let nested = |why| vec![Finding::new(Class::Nested, why, Some(&entry.name))];
    match (depth, zip::unpacked(octets, entry)) {
        (Depth::Inner, _) => nested("an archive within archives"),
        // Told once, of the whole archive.
        (Depth::Outer, None) if entry.encrypted => Vec::new(),
        (Depth::Outer, None) => nested("an archive within an archive that can't be looked into"),
        (Depth::Outer, Some(inner)) => archive(&inner, Some(&entry.name), Depth::Inner, settings),
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;
    use crate::zip::testing::zip;

    fn told(document: &str, name: &str, octets: &[u8]) -> Vec<String> {
        let settings = Settings::read(document).unwrap().settings;
        let found = judge(&[name.to_owned()], octets, &settings);
        found.iter().map(|f| format!("{}: {}", f.class.name(), f.shown())).collect()
    }

    #[test]
    fn files_are_judged_by_name_and_contents() {
        assert_eq!(told("{}", "a.txt", b"hello"), Vec::<String>::new());
        assert_eq!(told("{}", "a.txt", b"\x7fELF\x02"), ["contents: an ELF program (\"a.txt\")"]);
        assert_eq!(told("{}", "a.exe", b"hello"), ["extension: a file of the kind .exe (\"a.exe\")"]);
        assert_eq!(told(r#"{"contents": ["rar"]}"#, "a", b"Rar!\x1a\x07"), ["contents: a RAR archive (\"a\")"]);
    }

    #[test]
    fn archives_are_looked_into() {
        let inner = zip(&[("deep/run.js", 0, b"x")], true);
        let deeper = zip(&[("inner.zip", 0, &inner)], false);
        let deepest = zip(&[("deeper.zip", 0, &deeper)], true);
        let js = "extension: a file of the kind .js (\"deep/run.js\")";
        assert_eq!(told("{}", "a.zip", &inner), [js]);
        assert_eq!(told("{}", "a.bin", &inner), [js], "by its first octets");
        assert_eq!(told("{}", "a.zip", &deeper), [js]);
        assert_eq!(told("{}", "a.zip", &deepest), ["nested: an archive within archives (\"inner.zip\")"]);
        assert_eq!(told(r#"{"archives": false}"#, "a.zip", &inner), Vec::<String>::new());
    }

    #[test]
    fn archives_that_hide_something_are_told_of() {
        let locked = zip(&[("a.txt", 1, b"x"), ("b.zip", 1, b"x")], true);
        assert_eq!(told("{}", "a.zip", &locked), ["encrypted: an archive that is encrypted (\"a.zip\")"]);
        assert_eq!(told("{}", "a.zip", b"hello"), ["unreadable: an archive that can't be read (\"a.zip\")"]);
        let many = zip(&[("a", 0, b""), ("b", 0, b"")], false);
        let document = r#"{"entries-max": 1}"#;
        assert_eq!(told(document, "a.zip", &many), ["unreadable: an archive with too many files (\"a.zip\")"]);
        let odd = zip(&[("b.zip", 0, b"x")], false);
        assert_eq!(told("{}", "a.zip", &odd), ["unreadable: an archive that can't be read (\"b.zip\")"]);
    }

    #[test]
    fn macros_are_found_if_they_are_looked_for() {
        let document = zip(&[("word/document.xml", 0, b"x"), ("word/vbaProject.bin", 0, b"x")], true);
        assert_eq!(told("{}", "a.docx", &document), Vec::<String>::new());
        let settings = r#"{"contents": ["office-macros"]}"#;
        assert_eq!(told(settings, "a.docx", &document), ["contents: an Office document with macros (\"a.docx\")"]);
    }
}
