//! What was found in a message, and what becomes of it. Pure.

use serde::Deserialize;

use crate::settings::Settings;

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// A name that ends as it must not.
    Extension,
    /// A declared content type.
    Type,
    /// What the first octets say.
    Contents,
    /// A name made to look like another.
    Deceptive,
    /// An archive that only its recipient can look into.
    Encrypted,
    /// Archives within archives, further than was looked.
    Nested,
    /// An archive that is broken, or has too many entries.
    Unreadable,
    /// A message too large, too deep or in too many parts.
    Limits,
}

impl Class {
    pub(crate) const ALL: [Self; 8] = [
        Self::Extension,
        Self::Type,
        Self::Contents,
        Self::Deceptive,
        Self::Encrypted,
        Self::Nested,
        Self::Unreadable,
        Self::Limits,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::Type => "type",
            Self::Contents => "contents",
            Self::Deceptive => "deceptive",
            Self::Encrypted => "encrypted",
            Self::Nested => "nested",
            Self::Unreadable => "unreadable",
            Self::Limits => "limits",
        }
    }
}

/// What becomes of a message, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    Ignore,
    Header,
    Strip,
    Quarantine,
    Reject,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) class: Class,
    /// In words, without a file's name.
    pub(crate) why: String,
    /// Of the file, as it was sent; of the entry, where it is in an archive.
    pub(crate) name: Option<String>,
    /// The part of the message that it is in; none: the message as a whole.
    pub(crate) part: Option<usize>,
}

impl Finding {
    pub(crate) fn new(class: Class, why: &str, name: Option<&str>) -> Self {
        Self { class, why: why.to_owned(), name: name.map(str::to_owned), part: None }
    }

    /// For a header field or a reply: printable ASCII, and short.
    pub(crate) fn shown(&self) -> String {
        let Some(name) = &self.name else { return self.why.clone() };
        let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '?' };
        let name: String = name.chars().map(plain).take(80).collect();
        format!("{} (\"{name}\")", self.why)
    }
}

/// The strictest action, and the findings that ask for it, or for any but to be ignored.
pub(crate) fn strictest<'a>(findings: &'a [Finding], settings: &Settings) -> (Action, Vec<&'a Finding>) {
    let heeded: Vec<&Finding> = findings.iter().filter(|f| settings.action(f.class) > Action::Ignore).collect();
    let action = heeded.iter().map(|f| settings.action(f.class)).max().unwrap_or(Action::Ignore);
    (action, heeded)
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn the_strictest_action_wins() {
        let settings = Settings::read(r#"{"actions": {"extension": "strip", "type": "ignore"}}"#).unwrap().settings;
        let finding = |class| Finding::new(class, "x", None);
        for (classes, action, heeded) in [
            (vec![], Action::Ignore, 0),
            (vec![Class::Type], Action::Ignore, 0),
            (vec![Class::Encrypted, Class::Type], Action::Header, 1),
            (vec![Class::Encrypted, Class::Extension], Action::Strip, 2),
            (vec![Class::Limits, Class::Extension], Action::Quarantine, 2),
            (vec![Class::Contents, Class::Limits], Action::Reject, 2),
        ] {
            let findings: Vec<Finding> = classes.into_iter().map(finding).collect();
            let (found, told) = strictest(&findings, &settings);
            assert_eq!((found, told.len()), (action, heeded), "{findings:?}");
        }
    }

    #[test]
    fn names_are_made_harmless() {
        let finding = Finding::new(Class::Extension, "a program", Some("a\r\nX-B: \u{202e}\"c.exe"));
        assert_eq!(finding.shown(), "a program (\"a??X-B: ??c.exe\")");
    }
}
