//! One table: its keys by type, with defaults, and the check that nothing else is in it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{Place, Shape, Source, Value};
use crate::suggest::nearest;

/// A table, or the place where one is missing.
pub(in crate::config) struct Table<'a> {
    source: &'a Source,
    place: Place,
    entries: Option<&'a DeTable<'a>>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(in crate::config) fn root(source: &'a Source, entries: &'a DeTable<'a>) -> Self {
        let place = Place { path: String::new(), pattern: String::new(), span: 0..0 };
        Self::new(source, place, Some(entries))
    }

    pub(super) fn new(source: &'a Source, place: Place, entries: Option<&'a DeTable<'a>>) -> Self {
        Self { source, place, entries, known: RefCell::default() }
    }

    /// True if the file has this table.
    pub(in crate::config) fn is_written(&self) -> bool {
        self.entries.is_some()
    }

    /// The value of a key, which thereby is known.
    pub(in crate::config) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.know(key);
        self.peek(key)
    }

    /// A text; checked and turned into something by `read`, whose error says what is wrong and what to write.
    pub(in crate::config) fn parsed<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        self.get(key)?.parsed(read)
    }

    /// A text.
    pub(in crate::config) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.get(key)?.text()
    }

    /// True or false.
    pub(in crate::config) fn bool(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|value| value.bool()).unwrap_or(default)
    }

    /// A whole number.
    pub(in crate::config) fn integer(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// As `integer`, for counts of things in memory.
    pub(in crate::config) fn count(&self, key: &'static str, default: usize, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.integer(key, default as u64, range)).unwrap_or(default)
    }

    /// A duration.
    pub(in crate::config) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.get(key).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    /// A size in octets.
    pub(in crate::config) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|value| value.size(range)).unwrap_or(default)
    }

    /// One of a few words.
    pub(in crate::config) fn choice<T: Copy>(&self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.get(key).and_then(|value| value.choice(words)).unwrap_or(default)
    }

    /// The elements of an array; none where it is missing.
    pub(in crate::config) fn array(&self, key: &'static str) -> Vec<Value<'a>> {
        self.get(key).and_then(|value| value.array()).unwrap_or_default()
    }

    /// A table below this one, empty where it is missing.
    pub(in crate::config) fn table(&self, key: &'static str) -> Table<'a> {
        let missing = || Table::new(self.source, self.place.below(key, key, self.place.span.clone()), None);
        self.get(key).and_then(|value| value.table()).unwrap_or_else(missing)
    }

    /// The entries of a table whose keys are names the operator chose: `[lanes.NAME]`.
    pub(in crate::config) fn named(&self, key: &'static str) -> Vec<(Arc<str>, Value<'a>)> {
        let table = self.table(key);
        table.names()
    }

    /// The entries whose keys are names; keys asked for by `get` before are not among them.
    pub(in crate::config) fn names(&self) -> Vec<(Arc<str>, Value<'a>)> {
        self.open_entries().into_iter().filter(|(name, value)| value.check_name(name)).collect()
    }

    /// As `names`, without rules for names: domains, keys of a plugin's own settings.
    pub(in crate::config) fn open_entries(&self) -> Vec<(Arc<str>, Value<'a>)> {
        self.source.shape(&self.place, Shape::Named);
        let known = self.known.borrow();
        let entries = self.entries.into_iter().flat_map(|entries| entries.iter());
        entries
            .filter(|(key, _)| !known.contains(key.get_ref().as_ref()))
            .map(|(key, value)| {
                let name: Arc<str> = key.get_ref().as_ref().into();
                let place = self.place.below(&name, "NAME", key.span());
                (name, Value::new(self.source, place, value))
            })
            .collect()
    }

    /// Reports every key that was not asked for.
    pub(in crate::config) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.entries.into_iter().flat_map(|entries| entries.iter()) {
            let name = key.get_ref().as_ref();
            if known.contains(name) {
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            let place = self.place.below(name, name, key.span());
            self.source.note(&place.span, &place.path, "no such key".to_owned(), &help);
        }
    }

    /// Notes a mistake of the table as a whole.
    pub(in crate::config) fn wrong(&self, problem: impl Into<String>, help: &str) {
        self.source.note(&self.place.span, &self.place.path, problem.into(), help);
    }

    /// Notes that a key is missing.
    pub(in crate::config) fn missing(&self, key: &'static str, help: &str) {
        self.know(key);
        let place = self.place.below(key, key, self.place.span.clone());
        self.source.note(&place.span, &place.path, "is missing".to_owned(), help);
    }

    fn know(&self, key: &'static str) {
        self.known.borrow_mut().insert(key);
        self.source.asked.borrow_mut().insert(self.place.below(key, key, 0..0).pattern);
    }

    fn peek(&self, key: &'static str) -> Option<Value<'a>> {
        let (written, value) = self.entries?.get_key_value(key)?;
        // A table stands where its header is; anything else where its value is.
        let span = if matches!(value.get_ref(), DeValue::Table(_)) { written.span() } else { value.span() };
        Some(Value::new(self.source, self.place.below(key, key, span), value))
    }
}
