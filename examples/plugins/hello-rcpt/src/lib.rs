//! The smallest useful plugin: the operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.
//!
//! It shows what every plugin has: settings that are checked at load, a hook that asks and answers, and rules that are
//! plain functions, tested natively.

use serde::Deserialize;
use waypost_plugin::{Cached, Checked, Lifecycle, OnRcpt, Outcome, Recipient, SessionVerdict, Settings as _, reply};

/// The plugin.
#[derive(Debug)]
pub struct HelloRcpt;

/// The operator's table as it is written. A key that is not here is a mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    unread: Vec<String>,
}

/// The settings as the hook wants them: local parts, in lower case.
#[derive(Debug)]
struct Settings {
    unread: Vec<String>,
}

/// An instance serves many calls: the table is read at the first of them.
static SETTINGS: Cached<Settings> = Cached::new();

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, |table: Table, errors, warnings| {
            if table.unread.is_empty() {
                warnings.push("unread: an empty list refuses nobody".to_owned());
            }
            for name in table.unread.iter().filter(|name| name.contains('@')) {
                errors.push(format!("unread: {name:?} is an address; the part before the @ is wanted"));
            }
            Self { unread: table.unread.iter().map(|name| name.to_lowercase()).collect() }
        })
    }
}

impl Settings {
    fn is_unread(&self, local_part: &str) -> bool {
        self.unread.contains(&local_part.to_lowercase())
    }
}

impl Lifecycle for HelloRcpt {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnRcpt for HelloRcpt {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        if SETTINGS.get()?.is_unread(&candidate.mailbox.local_part) {
            return Ok(reply::reject(550, (5, 7, 1), "hello, nobody reads that mailbox"));
        }
        Ok(SessionVerdict::Proceed)
    }
}

waypost_plugin::export!(HelloRcpt: lifecycle, on_rcpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_are_compared_without_case() {
        let settings = Settings::read(r#"{"unread": ["no-reply", "Info"]}"#).unwrap().settings;
        for (local_part, expected) in [("no-reply", true), ("NO-REPLY", true), ("info", true), ("ann", false)] {
            assert_eq!(settings.is_unread(local_part), expected, "{local_part}");
        }
    }

    #[test]
    fn mistakes_stop_the_load_and_say_what_to_mend() {
        let wrong = Settings::read(r#"{"unread": ["a@example.org", "b"]}"#).unwrap_err();
        assert_eq!(wrong, [r#"unread: "a@example.org" is an address; the part before the @ is wanted"#]);
        assert!(Settings::read(r#"{"unraed": []}"#).unwrap_err().concat().contains("unraed"));
        assert_eq!(HelloRcpt::validate_config(r#"{"unread": []}"#).unwrap().len(), 1);
    }
}
