//! Where each key of a configuration stands, for what is only seen once all of it is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Source, joined};
use crate::config::ConfigError;

/// File and line of each key, by its path: `listeners.smtp.address`, `relay.networks[0]`.
#[derive(Clone, Debug, Default)]
pub struct Places {
    main: Arc<str>,
    lines: BTreeMap<String, (Arc<str>, usize)>,
}

impl Places {
    pub(super) fn of(source: &Source, table: &DeTable<'_>) -> Self {
        let main = source.files.first().map(|file| file.name.clone()).unwrap_or_default();
        let mut places = Self { main, lines: BTreeMap::new() };
        places.walk(source, table, "");
        places
    }

    /// A finding about a key. Where it is not written, the section that it would stand in is named; where that is not
    /// written either, the main file.
    pub fn finding(&self, key: &str, problem: impl Into<String>, help: impl Into<String>) -> ConfigError {
        let mut path = key;
        let (file, line) = loop {
            if let Some((file, line)) = self.lines.get(path) {
                break (file.clone(), *line);
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = path.get(..at).unwrap_or_default(),
                None => break (self.main.clone(), 0),
            }
        };
        ConfigError { file, line, key: key.to_owned(), problem: problem.into(), help: help.into() }
    }

    /// True if the files have this key.
    pub fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The main file, as it was named.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    fn walk(&mut self, source: &Source, table: &DeTable<'_>, above: &str) {
        for (key, value) in table.iter() {
            let path = joined(above, key.get_ref());
            // A table stands where its header is; anything else where its value is.
            let span = if value.get_ref().is_table() { key.span() } else { value.span() };
            self.value(source, path, &span, value.get_ref());
        }
    }

    fn value(&mut self, source: &Source, path: String, span: &Range<usize>, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.walk(source, table, &path),
            DeValue::Array(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    self.value(source, format!("{path}[{at}]"), &element.span(), element.get_ref());
                }
            }
            _ => {}
        }
        let (file, line) = source.line(span);
        let file = source.files.get(file).map(|file| file.name.clone()).unwrap_or_default();
        self.lines.insert(path, (file, line));
    }
}
