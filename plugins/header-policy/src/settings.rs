//! `[plugins.header-policy.config]`.

use serde::Deserialize;
use waypost_plugin::Checked;

use crate::disclaimer::{Disclaimer, RawDisclaimer};
use crate::rules::PLACEHOLDERS;

/// Whose messages a rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    #[default]
    Anyone,
    Authenticated,
    Unauthenticated,
}

/// Where a field is put.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    #[default]
    Top,
    Bottom,
}

/// The rules, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Vec<Limit>,
    pub(crate) refuse: Vec<Refuse>,
    pub(crate) remove: Vec<Remove>,
    pub(crate) replace: Vec<Replace>,
    pub(crate) add: Vec<Add>,
    pub(crate) complete: Complete,
    pub(crate) message_id_domain: Option<String>,
    pub(crate) stamp: Option<String>,
    pub(crate) disclaimer: Option<Disclaimer>,
}

/// How many fields of a name a message may have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) at_least: usize,
    #[serde(default = "unlimited")]
    pub(crate) at_most: usize,
    #[serde(default, rename = "from")]
    pub(crate) who: Who,
}

fn unlimited() -> usize {
    usize::MAX
}

/// A message with such a field is refused.
#[derive(Debug)]
pub(crate) struct Refuse {
    pub(crate) name: String,
    pattern: Pattern,
    pub(crate) text: String,
    pub(crate) who: Who,
}

/// Fields to take away.
#[derive(Debug)]
pub(crate) struct Remove {
    name: String,
    /// `X-Spam-*`: what begins so.
    is_prefix: bool,
    pub(crate) who: Who,
}

/// Another value for a field.
#[derive(Debug)]
pub(crate) struct Replace {
    pub(crate) name: String,
    pattern: Option<Pattern>,
    pub(crate) value: String,
    pub(crate) who: Who,
}

/// One more field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Add {
    pub(crate) name: String,
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) place: Place,
    #[serde(default)]
    pub(crate) unless_there: bool,
    #[serde(default, rename = "from")]
    pub(crate) who: Who,
}

/// Whose messages get a missing Date and Message-ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Complete {
    Anyone,
    #[default]
    Authenticated,
    Never,
}

/// Compared without case; the texts are in lower case.
#[derive(Debug)]
enum Pattern {
    Equals(String),
    Contains(String),
    StartsWith(String),
}

impl Complete {
    pub(crate) fn is(self, facts: &crate::rules::Facts) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => facts.identity.is_some(),
            Self::Never => false,
        }
    }
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        let value = value.to_lowercase();
        match self {
            Self::Equals(text) => value == *text,
            Self::Contains(text) => value.contains(text.as_str()),
            Self::StartsWith(text) => value.starts_with(text.as_str()),
        }
    }
}

impl Refuse {
    pub(crate) fn matches(&self, value: &str) -> bool {
        self.pattern.matches(value)
    }
}

impl Replace {
    pub(crate) fn matches(&self, value: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(value))
    }
}

impl Remove {
    pub(crate) fn covers(&self, name: &str) -> bool {
        if self.is_prefix {
            name.get(..self.name.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.name))
        } else {
            name.eq_ignore_ascii_case(&self.name)
        }
    }
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    limits: Vec<Limit>,
    refuse: Vec<RawMatch>,
    remove: Vec<RawRemove>,
    replace: Vec<RawMatch>,
    add: Vec<Add>,
    complete: Complete,
    message_id_domain: Option<String>,
    stamp: Option<String>,
    disclaimer: Option<RawDisclaimer>,
}

/// `refuse` and `replace`: a name, at most one pattern, and what follows.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawMatch {
    name: String,
    equals: Option<String>,
    contains: Option<String>,
    starts_with: Option<String>,
    value: Option<String>,
    text: Option<String>,
    #[serde(default, rename = "from")]
    who: Who,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRemove {
    Name(String),
    Rule(RemoveRule),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RemoveRule {
    name: String,
    #[serde(default, rename = "from")]
    who: Who,
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    for limit in &table.limits {
        check_name("limits", &limit.name, errors);
        if limit.at_least > limit.at_most {
            errors.push(format!("limits: {}: at-least is more than at-most", limit.name));
        } else if limit.at_least == 0 && limit.at_most == usize::MAX {
            warnings.push(format!("limits: {}: neither at-least nor at-most, so it does nothing", limit.name));
        }
    }
    for add in &table.add {
        check_name("add", &add.name, errors);
        check_value(&format!("add: {}", add.name), &add.value, errors);
    }
    if let Some(stamp) = &table.stamp {
        check_value("stamp", stamp, errors);
    }
    if let Some(domain) = &table.message_id_domain
        && (domain.is_empty() || !domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'))
    {
        errors.push(format!("message-id-domain: `{domain}` is no domain"));
    }
    let disclaimer = table.disclaimer.map(|raw| raw.check(errors));
    if let Some(disclaimer) = &disclaimer {
        check_name("disclaimer: header", &disclaimer.header, errors);
    }
    Settings {
        refuse: table.refuse.into_iter().filter_map(|raw| keep(refuse(raw), errors)).collect(),
        remove: table.remove.into_iter().filter_map(|raw| remove(raw, errors, warnings)).collect(),
        replace: table.replace.into_iter().filter_map(|raw| keep(replace(raw), errors)).collect(),
        limits: table.limits,
        add: table.add,
        complete: table.complete,
        message_id_domain: table.message_id_domain,
        stamp: table.stamp,
        disclaimer,
    }
}

fn keep<T>(read: Result<T, Vec<String>>, errors: &mut Vec<String>) -> Option<T> {
    read.map_err(|found| errors.extend(found)).ok()
}

fn refuse(raw: RawMatch) -> Result<Refuse, Vec<String>> {
    let mut errors = Vec::new();
    check_name("refuse", &raw.name, &mut errors);
    if raw.value.is_some() {
        errors.push(format!("refuse: {}: value belongs to replace; write the text of the refusal as text", raw.name));
    }
    let text = raw.text.clone().unwrap_or_else(|| format!("the {} field is not welcome here", raw.name));
    match pattern("refuse", &raw) {
        Ok(Some(pattern)) if errors.is_empty() => Ok(Refuse { name: raw.name, pattern, text, who: raw.who }),
        Ok(None) => {
            errors.push(format!("refuse: {}: write equals, contains or starts-with", raw.name));
            Err(errors)
        }
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(error);
            Err(errors)
        }
    }
}

fn replace(raw: RawMatch) -> Result<Replace, Vec<String>> {
    let mut errors = Vec::new();
    check_name("replace", &raw.name, &mut errors);
    if raw.text.is_some() {
        errors.push(format!("replace: {}: text belongs to refuse; write the new value as value", raw.name));
    }
    match &raw.value {
        Some(value) => check_value(&format!("replace: {}", raw.name), value, &mut errors),
        None => errors.push(format!("replace: {}: has no value", raw.name)),
    }
    match (pattern("replace", &raw), raw.value) {
        (Ok(pattern), Some(value)) if errors.is_empty() => Ok(Replace { name: raw.name, pattern, value, who: raw.who }),
        (found, _) => {
            errors.extend(found.err());
            Err(errors)
        }
    }
}

fn remove(raw: RawRemove, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Option<Remove> {
    let (name, who) = match raw {
        RawRemove::Name(name) => (name, Who::Anyone),
        RawRemove::Rule(rule) => (rule.name, rule.who),
    };
    let (prefix, is_prefix) = match name.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (name.as_str(), false),
    };
    let before = errors.len();
    check_name("remove", prefix, errors);
    if errors.len() > before {
        return None;
    }
    if !is_prefix && prefix.eq_ignore_ascii_case("Received") {
        // RFC 5321 section 4.4 forbids it, and a loop would not be seen any more.
        warnings.push("remove: Received: trace fields guard against mail loops; better leave them".to_owned());
    }
    Some(Remove { name: prefix.to_owned(), is_prefix, who })
}

fn pattern(list: &str, raw: &RawMatch) -> Result<Option<Pattern>, String> {
    let found: Vec<Pattern> = [
        raw.equals.as_ref().map(|text| Pattern::Equals(text.to_lowercase())),
        raw.contains.as_ref().map(|text| Pattern::Contains(text.to_lowercase())),
        raw.starts_with.as_ref().map(|text| Pattern::StartsWith(text.to_lowercase())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(Pattern::Contains(text) | Pattern::StartsWith(text)), None) if text.is_empty() => {
            Err(format!("{list}: {}: an empty pattern fits everything", raw.name))
        }
        (first, None) => Ok(first),
        _ => Err(format!("{list}: {}: has more than one of equals, contains and starts-with", raw.name)),
    }
}

/// RFC 5322 section 2.2: printable ASCII without a colon. The contract takes at most 78 octets.
fn check_name(list: &str, name: &str, errors: &mut Vec<String>) {
    if name.is_empty() || name.len() > 78 || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        errors.push(format!("{list}: `{name}` is no field name"));
    }
}

fn check_value(place: &str, value: &str, errors: &mut Vec<String>) {
    if value.chars().any(char::is_control) {
        errors.push(format!("{place}: the value has control characters"));
    }
    for part in value.split('{').skip(1) {
        match part.split_once('}') {
            Some((name, _)) if PLACEHOLDERS.contains(&name) => {}
            _ => {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                errors.push(format!("{place}: a brace opens none of {known}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{
            "limits": [{"name": "", "at-most": 1}, {"name": "A", "at-least": 2, "at-most": 1}],
            "refuse": [{"name": "B"}, {"name": "C", "equals": "x", "contains": "y"}, {"name": "D", "contains": ""},
                       {"name": "E", "equals": "x", "value": "y"}],
            "remove": ["F:", "*"],
            "replace": [{"name": "G"}, {"name": "H", "value": "a\nb"}, {"name": "I", "value": "x", "text": "y"}],
            "add": [{"name": "J K", "value": "x"}, {"name": "L", "value": "{who}"}],
            "stamp": "{id", "message-id-domain": "a b"
        }"#;
        same(
            &Settings::read(document).unwrap_err(),
            &[
                "limits: `` is no field name",
                "limits: A: at-least is more than at-most",
                "add: `J K` is no field name",
                "add: L: a brace opens none of {id}, {client}, {listener}, {identity}, {sender}, {date}",
                "stamp: a brace opens none of {id}, {client}, {listener}, {identity}, {sender}, {date}",
                "message-id-domain: `a b` is no domain",
                "refuse: B: write equals, contains or starts-with",
                "refuse: C: has more than one of equals, contains and starts-with",
                "refuse: D: an empty pattern fits everything",
                "refuse: E: value belongs to replace; write the text of the refusal as text",
                "remove: `F:` is no field name",
                "remove: `` is no field name",
                "replace: G: has no value",
                "replace: H: the value has control characters",
                "replace: I: text belongs to refuse; write the new value as value",
            ],
        );
    }

    /// Line by line, so that a difference is seen where it is.
    fn same(found: &[String], expected: &[&str]) {
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn unknown_keys_are_mistakes() {
        for document in [
            r#"{"adds": []}"#,
            r#"{"add": [{"name": "A", "value": "x", "form": "anyone"}]}"#,
            r#"{"add": [{"name": "A"}]}"#,
            r#"{"complete": "always"}"#,
            r#"{"remove": [{"name": "A", "form": "anyone"}]}"#,
        ] {
            assert_eq!(Settings::read(document).unwrap_err().len(), 1, "{document}");
        }
    }

    #[test]
    fn what_is_odd_is_warned_of() {
        let checked = Settings::read(r#"{"remove": ["received"], "limits": [{"name": "A"}]}"#).unwrap();
        assert_eq!(checked.warnings.len(), 2, "{:?}", checked.warnings);
    }
}
