//! The file as written: tables and values with their lines and key paths, read key by key.
//!
//! Reading never stops at a mistake: it is noted, the default stands in, and reading goes on, so that all mistakes are
//! reported at once. A key that nobody asked for is a mistake too.

mod table;
mod value;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(super) use table::Table;
use toml::de::DeTable;
pub(super) use value::Value;

use super::ConfigError;

/// The file being read, and what was found wrong with it so far.
pub(super) struct Source {
    file: Arc<str>,
    /// Offset of each line's first octet, the first line's left out.
    line_starts: Vec<usize>,
    errors: RefCell<Vec<ConfigError>>,
    /// Every key asked for, names replaced by `NAME`: what the reference must list.
    asked: RefCell<BTreeSet<String>>,
}

impl Source {
    /// A file and its text.
    pub(super) fn new(file: &str, text: &str) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { file: file.into(), line_starts, errors: RefCell::default(), asked: RefCell::default() }
    }

    /// Parses the text. Where it is no TOML, the errors are noted and nothing is returned: what a parser makes of the
    /// rest would only lead to more, misleading ones.
    pub(super) fn parse<'a>(&self, text: &'a str) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last = None;
        for error in &errors {
            let line = self.line(&error.span().unwrap_or_default());
            // One slip often makes a parser stumble several times over the same line.
            if last.replace(line) != Some(line) {
                self.note(line, "", format!("no TOML: {}", error.message()), "mend the syntax first");
            }
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// What was found, in the order of the file.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        // Names are looked at by the section that defines them and by those that refer to them.
        errors.dedup();
        errors
    }

    /// True while nothing wrong was found.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start) + 1
    }

    fn note(&self, line: usize, key: &str, problem: String, help: &str) {
        let error = ConfigError { file: self.file.clone(), line, key: key.to_owned(), problem, help: help.to_owned() };
        self.errors.borrow_mut().push(error);
    }
}

/// Where a key stands: its path for people, the same with names replaced, and its place in the file.
#[derive(Clone, Debug)]
struct Place {
    path: String,
    pattern: String,
    span: Range<usize>,
}

impl Place {
    fn below(&self, key: &str, pattern: &str, span: Range<usize>) -> Self {
        let join = |above: &str, key: &str| if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let path = if bare { join(&self.path, key) } else { join(&self.path, &format!("{key:?}")) };
        Self { path, pattern: join(&self.pattern, pattern), span }
    }
}
