//! A policy: its text (RFC 8461 section 3.2), and which hosts it names (section 4.1). Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::is_name;

/// Longer than a year (with its leap day and a bit) no policy holds.
const MAX_AGE: u64 = 31_557_600;

/// Patterns of one policy. Large domains have a dozen hosts; the rest is a mistake, or made to keep us busy.
const PATTERNS_MAX: usize = 500;

/// What a domain wants of those who send to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How serious it is.
    pub mode: Mode,
    /// The hosts that take its mail.
    pub mx: Vec<Pattern>,
    /// How long it holds, from the time it was fetched; whole seconds.
    pub max_age: Duration,
}

/// How serious a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Mail that can't go as the policy says does not go.
    Enforce,
    /// It goes, and the domain is told.
    Testing,
    /// There is no policy any more.
    None,
}

/// A host, or, with a wildcard as its first label, all hosts below a domain. In lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(Arc<str>);

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not text.
    #[error("the policy is not text")]
    NotText,
    /// A line is no field.
    #[error("line {0} of the policy is no field")]
    Line(usize),
    /// A field is missing.
    #[error("the policy has no {0}")]
    Missing(&'static str),
    /// A field says something impossible.
    #[error("line {0} of the policy: {1} says something impossible")]
    Value(usize, &'static str),
    /// More hosts than anybody has.
    #[error("the policy names more than {PATTERNS_MAX} hosts")]
    Hosts,
}

impl Policy {
    /// Reads the text of a policy. Of a field that may stand once, the first counts; fields nobody knows are passed over.
    ///
    /// # Errors
    /// When the text breaks the grammar: it must not be used then (RFC 8461 section 3.2).
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(text).map_err(|_| PolicyError::NotText)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (at, line) in (1..).zip(text.split('\n')) {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_end_matches([' ', '\t']);
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(PolicyError::Line(at))?;
            let value = value.trim_start_matches([' ', '\t']);
            if !is_name(name) || value.is_empty() || value.contains(|c: char| c.is_control()) {
                return Err(PolicyError::Line(at));
            }
            match name {
                "version" if version.is_none() => version = Some((at, value)),
                "mode" if mode.is_none() => mode = Some(mode_of(value).ok_or(PolicyError::Value(at, "mode"))?),
                "max_age" if max_age.is_none() => {
                    max_age = Some(age_of(value).ok_or(PolicyError::Value(at, "max_age"))?);
                }
                "mx" if mx.len() >= PATTERNS_MAX => return Err(PolicyError::Hosts),
                "mx" => mx.push(Pattern::parse(value).ok_or(PolicyError::Value(at, "mx"))?),
                _ => {}
            }
        }
        match version {
            Some((_, "STSv1")) => {}
            Some((at, _)) => return Err(PolicyError::Value(at, "version")),
            None => return Err(PolicyError::Missing("version")),
        }
        let mode = mode.ok_or(PolicyError::Missing("mode"))?;
        let max_age = max_age.ok_or(PolicyError::Missing("max_age"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Missing("mx"));
        }
        Ok(Self { mode, mx, max_age })
    }

    /// True if one of its patterns fits this host (RFC 8461 section 4.1).
    pub fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.mx.iter().any(|pattern| pattern.fits(&host))
    }

    /// Its text, line by line, as reports quote it (RFC 8460 section 4.4).
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {}", self.mode)];
        lines.extend(self.mx.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(good)
        };
        let good = name.len() <= 253 && name.split('.').all(label);
        good.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// A wildcard stands for exactly one label, the first (RFC 6125 section 6.4.3).
    fn fits(&self, host: &str) -> bool {
        match self.0.strip_prefix("*.") {
            None => &*self.0 == host,
            Some(above) => host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == above),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        })
    }
}

fn mode_of(value: &str) -> Option<Mode> {
    match value {
        "enforce" => Some(Mode::Enforce),
        "testing" => Some(Mode::Testing),
        "none" => Some(Mode::None),
        _ => None,
    }
}

fn age_of(value: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let secs = digits.then(|| value.parse::<u64>().ok()).flatten()?;
    (secs <= MAX_AGE).then(|| Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8461 section 3.2.
    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
                           mx: backupmx.example.com\nmax_age: 604800\n";

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text.as_bytes())
    }

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let policy = parse(EXAMPLE).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        assert_eq!(policy.lines().join("\n") + "\n", EXAMPLE);
        assert_eq!(parse(&EXAMPLE.replace('\n', "\r\n")), Ok(policy.clone()), "CRLF is as good");
        assert_eq!(parse(EXAMPLE.trim_end()), Ok(policy.clone()), "the last line may have no end");
        assert_eq!(
            parse(&format!("x-new.field: a b  \n{EXAMPLE}mode: none\nmax_age: 1\n")),
            Ok(policy),
            "first ones count"
        );
    }

    #[test]
    fn a_policy_that_ends_policies_needs_no_hosts() {
        let policy = parse("version: STSv1\nmode: none\nmax_age: 86400\n").unwrap();
        assert!(policy.mx.is_empty() && !policy.names("mail.example.com"));
    }

    #[test]
    fn what_breaks_the_grammar_is_no_policy() {
        use PolicyError::{Hosts, Line, Missing, Value};
        let many = "mx: a.example\n".repeat(501);
        let table = [
            ("", Missing("version")),
            ("mode: enforce\nmx: a.example\nmax_age: 1\n", Missing("version")),
            ("version: STSv1\nmx: a.example\nmax_age: 1\n", Missing("mode")),
            ("version: STSv1\nmode: enforce\nmax_age: 1\n", Missing("mx")),
            ("version: STSv1\nmode: testing\nmax_age: 1\n", Missing("mx")),
            ("version: STSv1\nmode: enforce\nmx: a.example\n", Missing("max_age")),
            ("version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1\n", Value(1, "version")),
            ("version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1\n", Value(2, "mode")),
            ("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n", Value(4, "max_age")),
            ("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 31557601\n", Value(4, "max_age")),
            ("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 00000000001\n", Value(4, "max_age")),
            ("version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: *a.example\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: .example\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: a..example\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: a.example.\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", Value(3, "mx")),
            ("version: STSv1\nmode: enforce\nmx:\nmax_age: 1\n", Line(3)),
            ("version: STSv1\nhello\n", Line(2)),
            ("<html>\n", Line(1)),
            ("version : STSv1\n", Line(1)),
            ("version: STSv1\nmode: enforce\rmx: a.example\nmax_age: 1\n", Line(2)),
            (&*many, Hosts),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
        assert_eq!(Policy::parse(b"version: STSv1\xff"), Err(PolicyError::NotText));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let policy = parse(EXAMPLE).unwrap();
        let table = [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("backupmx.example.com", true),
            ("other.example.com", false),
            ("a.mail.example.com", false),
            ("mx.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("xexample.net", false),
            ("", false),
        ];
        for (host, expected) in table {
            assert_eq!(policy.names(host), expected, "{host}");
        }
    }
}
