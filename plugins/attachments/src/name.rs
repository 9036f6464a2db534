//! Names of files, as the desktop they are opened on would read them. Pure.

use crate::finding::{Class, Finding};
use crate::settings::Settings;

/// Extensions that people trust: a name that has one before an unwanted one is made to look like it.
const TRUSTED: [&str; 24] = [
    "avi", "csv", "doc", "docx", "gif", "htm", "html", "jpeg", "jpg", "mov", "mp3", "mp4", "odt", "pdf", "png", "ppt",
    "pptx", "rtf", "tif", "tiff", "txt", "xls", "xlsx", "zip",
];

/// So many spaces in a row push the end of a name out of sight.
const GAP: &str = "     ";

/// What is wrong with a name.
pub(crate) fn judge(name: &str, settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let plain = plain(name);
    let extension = extension(&plain);
    let unwanted = extension.is_some_and(|text| settings.extensions.contains(text));
    if let (true, Some(text)) = (unwanted, extension) {
        found.push(Finding::new(Class::Extension, &format!("a file of the kind .{text}"), Some(name)));
    }
    if let Some(why) = deception(name, &plain, unwanted) {
        found.push(Finding::new(Class::Deceptive, why, Some(name)));
    }
    found
}

/// True for a name that says it is a zip.
pub(crate) fn is_zip(name: &str) -> bool {
    matches!(extension(&plain(name)), Some("zip" | "zipx"))
}

/// In lower case, without a path, without what is not seen, and without what Windows does not see at the end.
fn plain(name: &str) -> String {
    let visible = name.chars().filter(|c| !c.is_control() && !is_invisible(*c)).map(narrow);
    let text: String = visible.flat_map(char::to_lowercase).collect();
    let file = text.rsplit(['/', '\\']).next().unwrap_or_default();
    // `name.exe::$DATA` is name.exe: what follows the colon names a stream.
    let file = file.split_once(':').map_or(file, |(before, _)| if before.is_empty() { file } else { before });
    file.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).to_owned()
}

/// Marks of direction, joiners, variation selectors, and spaces of no width.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Full-width forms and other dots become the letters and dots they look like.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{2024}' | '\u{3002}' | '\u{fe52}' | '\u{ff61}' => '.',
        other => other,
    }
}

fn extension(plain: &str) -> Option<&str> {
    let (_, extension) = plain.rsplit_once('.')?;
    Some(extension.trim()).filter(|extension| !extension.is_empty())
}

fn deception(name: &str, plain: &str, unwanted: bool) -> Option<&'static str> {
    if name.contains(['\u{202d}', '\u{202e}']) {
        return Some("a name that is written backwards");
    }
    if name.contains(['\u{200b}', '\u{2060}', '\u{feff}']) {
        return Some("a name with characters that can't be seen");
    }
    let stem = plain.rsplit_once('.').map(|(stem, _)| stem)?;
    let gap = |text: &str| text.contains(GAP) || text.contains("_____");
    if gap(stem) && unwanted {
        return Some("a name whose end is out of sight");
    }
    // A class identifier (`a.txt.{3050F4D8-…}`) opens as what it names, and is not shown.
    if plain.rsplit_once('.').is_some_and(|(_, end)| end.starts_with('{') && end.ends_with('}')) {
        return Some("a name that ends with a class identifier");
    }
    let trusted = stem.trim_end().rsplit_once('.').is_some_and(|(_, text)| TRUSTED.contains(&text.trim()));
    (unwanted && trusted).then_some("a name with two extensions")
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    fn told(name: &str) -> String {
        let settings = Settings::read("{}").unwrap().settings;
        judge(name, &settings).iter().map(|f| f.class.name()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_read_as_desktops_do() {
        for (name, expected) in [
            ("letter.pdf", ""),
            ("letter", ""),
            ("", ""),
            ("...", ""),
            ("archive.tar.gz", ""),
            ("exe", ""),
            ("notes.exe.txt", ""),
            ("Rechnung M\u{fc}ller.pdf", ""),
            ("\u{645}\u{644}\u{641}\u{200c}\u{200f}.pdf", ""),
            (".exe", "extension"),
            ("setup.EXE", "extension"),
            ("setup.exe.", "extension"),
            ("setup.exe . .", "extension"),
            ("setup.exe\u{a0}", "extension"),
            ("setup. exe", "extension"),
            ("setup.exe\0", "extension"),
            ("setup.e\u{ad}xe", "extension"),
            ("C:\\temp\\setup.scr", "extension"),
            ("../../setup.js", "extension"),
            ("setup.exe::$DATA", "extension"),
            ("setup\u{ff0e}\u{ff45}\u{ff58}\u{ff45}", "extension"),
            ("setup\u{2024}exe", "extension"),
            ("invoice.pdf.exe", "extension deceptive"),
            ("invoice.pdf .exe", "extension deceptive"),
            ("invoice.pdf                         .exe", "extension deceptive"),
            ("invoice________________.scr", "extension deceptive"),
            ("invoice\u{202e}fdp.exe", "extension deceptive"),
            ("invoice\u{202e}txt.doc", "deceptive"),
            ("invoice.ex\u{200b}e", "extension deceptive"),
            ("a.txt.{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}", "deceptive"),
        ] {
            assert_eq!(told(name), expected, "{name:?}");
        }
    }

    #[test]
    fn zips_are_known_by_name() {
        for (name, expected) in [("a.zip", true), ("A.ZIP.", true), ("zip", false), ("a.zip.txt", false)] {
            assert_eq!(is_zip(name), expected, "{name}");
        }
    }
}
