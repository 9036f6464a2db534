//! One value: taken as what it should be, or noted as wrong.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Place, Shape, Source, Table};
use crate::config::units;
use crate::suggest::nearest;

/// A value and where it stands.
pub(in crate::config) struct Value<'a> {
    source: &'a Source,
    place: Place,
    written: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub(super) fn new(source: &'a Source, place: Place, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { source, place, written: value.get_ref() }
    }

    /// Notes a mistake here.
    pub(in crate::config) fn wrong(&self, problem: impl Into<String>, help: &str) {
        self.source.note(&self.place.span, &self.place.path, problem.into(), help);
    }

    /// Notes that something here is right, and unwise.
    pub(in crate::config) fn unwise(&self, problem: impl Into<String>, help: &str) {
        self.source.warn(&self.place.span, &self.place.path, problem.into(), help);
    }

    /// A text.
    pub(in crate::config) fn text(&self) -> Option<&'a str> {
        self.shaped(Shape::Text);
        self.plain_text()
    }

    /// True if it is this word, beside what else it may be.
    pub(in crate::config) fn is_word(&self, word: &str) -> bool {
        self.shaped(Shape::Words(vec![word.to_owned()]));
        self.as_text() == Some(word)
    }

    fn plain_text(&self) -> Option<&'a str> {
        match self.written {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.not("a text", "write it in quotes"),
        }
    }

    /// A text, if it is one; nothing is noted otherwise.
    pub(in crate::config) fn as_text(&self) -> Option<&'a str> {
        match self.written {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    /// True for a table.
    pub(in crate::config) fn is_table(&self) -> bool {
        matches!(self.written, DeValue::Table(_))
    }

    /// A text that `read` makes something of; its error is the problem and the help.
    pub(in crate::config) fn parsed<T>(&self, read: impl FnOnce(&str) -> Result<T, (String, String)>) -> Option<T> {
        match read(self.text()?) {
            Ok(parsed) => Some(parsed),
            Err((problem, help)) => {
                self.wrong(problem, &help);
                None
            }
        }
    }

    /// True or false.
    pub(in crate::config) fn bool(&self) -> Option<bool> {
        self.shaped(Shape::Flag);
        match self.written {
            DeValue::Boolean(value) => Some(*value),
            _ => self.not("true or false", "write true or false, without quotes"),
        }
    }

    /// A whole number within a range.
    pub(in crate::config) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.shaped(Shape::Integer((*range.start()).into(), (*range.end()).into()));
        let help = format!("write a whole number from {} to {}", range.start(), range.end());
        match self.written {
            DeValue::Integer(_) => match self.signed() {
                Some(number) if u64::try_from(number).is_ok_and(|n| range.contains(&n)) => u64::try_from(number).ok(),
                _ => {
                    self.wrong("is out of range", &help);
                    None
                }
            },
            _ => self.not("a whole number", &help),
        }
    }

    /// A whole number that may be negative.
    pub(in crate::config) fn signed_integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        self.shaped(Shape::Integer((*range.start()).into(), (*range.end()).into()));
        let help = format!("write a whole number from {} to {}", range.start(), range.end());
        match (self.written, self.signed()) {
            (DeValue::Integer(_), Some(number)) if range.contains(&number) => Some(number),
            (DeValue::Integer(_), _) => {
                self.wrong("is out of range", &help);
                None
            }
            _ => self.not("a whole number", &help),
        }
    }

    /// A duration within a range.
    pub(in crate::config) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.shaped(Shape::Duration);
        let DeValue::String(text) = self.written else { return self.not("a duration", units::DURATION_HELP) };
        let Some(duration) = units::duration(text) else {
            self.wrong(format!("{text:?} is no duration"), units::DURATION_HELP);
            return None;
        };
        if !range.contains(&duration) {
            let (least, most) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
            let help = format!("write at least {least:?} and at most {most:?}");
            self.wrong(format!("{text:?} is out of range"), &help);
            return None;
        }
        Some(duration)
    }

    /// A duration within a range, or a list of them.
    pub(in crate::config) fn durations(&self, range: &RangeInclusive<Duration>) -> Option<Vec<Duration>> {
        // It may be either, whichever it is here.
        self.shaped(Shape::Duration);
        self.shaped(Shape::List);
        let pattern = format!("{}[]", self.place.pattern);
        self.source.shape(&Place { pattern, ..self.place.clone() }, Shape::Duration);
        match self.written {
            DeValue::Array(_) => self.array()?.iter().map(|value| value.duration(range.clone())).collect(),
            _ => Some(vec![self.duration(range.clone())?]),
        }
    }

    /// A size within a range: a text with a unit, or a number of octets.
    pub(in crate::config) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.shaped(Shape::Size);
        let octets = match self.written {
            DeValue::String(text) => units::size(text),
            DeValue::Integer(_) => self.signed().and_then(|n| u64::try_from(n).ok()),
            _ => return self.not("a size", units::SIZE_HELP),
        };
        let Some(octets) = octets else {
            self.wrong("is no size", units::SIZE_HELP);
            return None;
        };
        if !range.contains(&octets) {
            let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
            let help = format!("write at least {least:?} and at most {most:?}");
            self.wrong("is out of range", &help);
            return None;
        }
        Some(octets)
    }

    /// One of a few words.
    pub(in crate::config) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.shaped(Shape::Words(words.iter().map(|(word, _)| (*word).to_owned()).collect()));
        let text = self.plain_text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
                Some(near) => format!("did you mean {near:?}? Known: {all}"),
                None => format!("write one of {all}"),
            };
            self.wrong(format!("{text:?} is not known"), &help);
        }
        found
    }

    /// The elements of an array.
    pub(in crate::config) fn array(&self) -> Option<Vec<Value<'a>>> {
        self.shaped(Shape::List);
        let DeValue::Array(elements) = self.written else {
            return self.not("a list", "write it in brackets: [\"…\", \"…\"]");
        };
        let element = |(at, value): (usize, &'a Spanned<DeValue<'a>>)| {
            let (path, pattern) = (format!("{}[{at}]", self.place.path), format!("{}[]", self.place.pattern));
            Value::new(self.source, Place { path, pattern, span: value.span() }, value)
        };
        Some(elements.iter().enumerate().map(element).collect())
    }

    /// A table.
    pub(in crate::config) fn table(&self) -> Option<Table<'a>> {
        self.shaped(Shape::Table);
        match self.written {
            DeValue::Table(entries) => Some(Table::new(self.source, self.place.clone(), Some(entries))),
            _ => {
                let help = format!("write a section, such as [{}]", self.place.path);
                self.not("a table", &help)
            }
        }
    }

    /// As JSON, for a plugin's own settings. Infinity and NaN, which JSON lacks, become null.
    pub(in crate::config) fn json(&self) -> serde_json::Value {
        self.shaped(Shape::Foreign);
        json(self.written)
    }

    /// Names appear in logs, on the command line and between plugins: a narrow alphabet keeps them safe everywhere.
    pub(super) fn check_name(&self, name: &str) -> bool {
        let good = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !good {
            self.wrong(format!("{name:?} is no name"), "use 1 to 64 of a-z, 0-9, - and _");
        }
        good
    }

    fn shaped(&self, shape: Shape) {
        self.source.shape(&self.place, shape);
    }

    fn signed(&self) -> Option<i64> {
        let DeValue::Integer(number) = self.written else { return None };
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    fn not<T>(&self, wanted: &str, help: &str) -> Option<T> {
        let found = match self.written {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("expected {wanted}, found {found}"), help);
        None
    }
}

/// A whole table as JSON.
pub(in crate::config) fn json_of(table: &DeTable<'_>) -> serde_json::Value {
    let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
    entries.collect::<serde_json::Map<_, _>>().into()
}

fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(serde_json::Value::Null, Into::into)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(elements) => elements.iter().map(|element| json(element.get_ref())).collect(),
        DeValue::Table(entries) => json_of(entries),
    }
}
