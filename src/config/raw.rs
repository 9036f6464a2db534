//! The files as written: tables and values with their lines and key paths, read key by key.
//!
//! Reading never stops at a mistake: it is noted, the default stands in, and reading goes on, so that all mistakes are
//! reported at once. A key that nobody asked for is a mistake too.

mod merge;
mod places;
mod shape;
mod table;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub use places::Places;
pub(super) use shape::Shape;
pub(super) use table::Table;
use toml::de::DeTable;
pub(super) use value::{Value, json_of as json};

use super::ConfigError;

/// One file and its text.
#[derive(Debug)]
pub(super) struct Written {
    /// As messages name it.
    pub(super) name: Arc<str>,
    pub(super) text: String,
}

impl Written {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.to_owned() }
    }
}

/// The files being read, and what was found in them so far.
pub(super) struct Source {
    files: Vec<FileLines>,
    errors: RefCell<Vec<(usize, ConfigError)>>,
    warnings: RefCell<Vec<ConfigError>>,
    /// Every key asked for, names replaced by `NAME`: what the reference must list.
    asked: RefCell<BTreeSet<String>>,
    /// What was taken for a value of each key: what the schema says.
    shapes: RefCell<BTreeMap<String, BTreeSet<Shape>>>,
}

/// Spans count on from file to file, as if they were one text.
struct FileLines {
    name: Arc<str>,
    /// Where the file begins in that text.
    start: usize,
    /// Offset of each line's first octet within the file, the first line's left out.
    line_starts: Vec<usize>,
}

impl Source {
    /// Some files, the first of which is the main one.
    pub(super) fn new(files: &[Written]) -> Self {
        let mut start = 0;
        let lines = |file: &Written| {
            let line_starts = file.text.match_indices('\n').map(|(at, _)| at + 1).collect();
            let lines = FileLines { name: file.name.clone(), start, line_starts };
            start += file.text.len() + 1;
            lines
        };
        Self {
            files: files.iter().map(lines).collect(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
            shapes: RefCell::default(),
        }
    }

    /// Parses the texts and lays each over those before it. Where one is no TOML, the errors are noted and nothing is
    /// returned: what a parser makes of the rest would only lead to more, misleading ones.
    pub(super) fn parse<'a>(&self, files: &'a [Written]) -> Option<DeTable<'a>> {
        let mut whole: Option<DeTable<'a>> = None;
        let mut clean = true;
        for (at, (file, lines)) in files.iter().zip(&self.files).enumerate() {
            let Some(table) = self.parse_one(&file.text, lines.start) else {
                clean = false;
                continue;
            };
            let table = merge::shifted(table, lines.start);
            match &mut whole {
                None => whole = Some(table),
                Some(below) => merge::lay(self, below, table, (at, "")),
            }
        }
        whole.filter(|_| clean)
    }

    fn parse_one<'a>(&self, text: &'a str, start: usize) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last = None;
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let span = span.start + start..span.end + start;
            let (_, line) = self.line(&span);
            // One slip often makes a parser stumble several times over the same line.
            if last.replace(line) != Some(line) {
                self.note(&span, "", format!("no TOML: {}", error.message()), "mend the syntax first");
            }
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// What was found, in the order of the files and their lines.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by(|(a_file, a), (b_file, b)| (a_file, a.line, &a.key).cmp(&(b_file, b.line, &b.key)));
        // Names are looked at by the section that defines them and by those that refer to them.
        errors.dedup();
        errors.into_iter().map(|(_, error)| error).collect()
    }

    /// What the files say twice.
    pub(super) fn warnings(&self) -> Vec<ConfigError> {
        self.warnings.borrow().clone()
    }

    /// Where each key stands.
    pub(super) fn places(&self, table: &DeTable<'_>) -> Places {
        Places::of(self, table)
    }

    /// True while nothing wrong was found.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    #[cfg(test)]
    pub(super) fn shapes(&self) -> BTreeMap<String, BTreeSet<Shape>> {
        self.shapes.borrow().clone()
    }

    /// The file, counted from zero, and the line in it, counted from one.
    fn line(&self, span: &Range<usize>) -> (usize, usize) {
        let at = self.files.partition_point(|file| file.start <= span.start).saturating_sub(1);
        let line = self.files.get(at).map_or(0, |file| {
            let within = span.start.saturating_sub(file.start);
            file.line_starts.partition_point(|start| *start <= within) + 1
        });
        (at, line)
    }

    fn finding(&self, span: &Range<usize>, key: &str, problem: String, help: &str) -> (usize, ConfigError) {
        let (at, line) = self.line(span);
        let file = self.files.get(at).map(|file| file.name.clone()).unwrap_or_default();
        (at, ConfigError { file, line, key: key.to_owned(), problem, help: help.to_owned() })
    }

    fn note(&self, span: &Range<usize>, key: &str, problem: String, help: &str) {
        let finding = self.finding(span, key, problem, help);
        self.errors.borrow_mut().push(finding);
    }

    fn warn(&self, span: &Range<usize>, key: &str, problem: String, help: &str) {
        let (_, finding) = self.finding(span, key, problem, help);
        self.warnings.borrow_mut().push(finding);
    }

    fn shape(&self, place: &Place, shape: Shape) {
        self.shapes.borrow_mut().entry(place.pattern.clone()).or_default().insert(shape);
    }
}

/// Where a key stands: its path for people, the same with names replaced, and its place in the files.
#[derive(Clone, Debug)]
struct Place {
    path: String,
    /// Elements of a list have that of the list, and `[]` behind it.
    pattern: String,
    span: Range<usize>,
}

impl Place {
    fn below(&self, key: &str, pattern: &str, span: Range<usize>) -> Self {
        // Keys of a table in a list are told by the list's name, as the reference has them.
        let above = self.pattern.trim_end_matches("[]");
        let pattern = if above.is_empty() { pattern.to_owned() } else { format!("{above}.{pattern}") };
        Self { path: joined(&self.path, key), pattern, span }
    }
}

/// The path of a key below another; in quotes where TOML needs them.
fn joined(above: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if above.is_empty() { key } else { format!("{above}.{key}") }
}
