//! Several files as one: each is laid over those before it. Tables merge key by key; of anything else, the later one counts.

use toml::de::{DeArray, DeTable, DeValue};

use super::{Source, joined};
use serde_spanned::Spanned;

/// The same table, its spans counted from further on.
pub(super) fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let mut moved = DeTable::new();
    for (key, value) in table {
        let span = key.span();
        let key = Spanned::new(span.start + by..span.end + by, key.into_inner());
        moved.insert(key, shifted_value(value, by));
    }
    moved
}

fn shifted_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        DeValue::Array(elements) => {
            let mut moved = DeArray::new();
            elements.into_iter().for_each(|element| moved.push(shifted_value(element, by)));
            DeValue::Array(moved)
        }
        plain => plain,
    };
    Spanned::new(span.start + by..span.end + by, inner)
}

/// Lays a file over what is there; `at` is which file it is, and the path of the table. That a drop-in overrides the main
/// file is what it is for; that it overrides another drop-in may be meant, and is told.
pub(super) fn lay<'a>(source: &Source, below: &mut DeTable<'a>, above: DeTable<'a>, (at, path): (usize, &str)) {
    for (key, value) in above {
        let name = key.get_ref().to_string();
        let path = joined(path, &name);
        match (below.get_mut(name.as_str()), value) {
            (None, value) => {
                below.insert(key, value);
            }
            (Some(there), value) => match (there.get_mut(), value) {
                (DeValue::Table(there), value) if value.get_ref().is_table() => {
                    if let DeValue::Table(table) = value.into_inner() {
                        lay(source, there, table, (at, &path));
                    }
                }
                (_, value) => {
                    told(source, &path, (&there.span(), &value.span()));
                    *there = value;
                }
            },
        }
    }
}

fn told(source: &Source, path: &str, (before, after): (&std::ops::Range<usize>, &std::ops::Range<usize>)) {
    let (file, line) = source.line(before);
    if file == 0 {
        return;
    }
    let name = source.files.get(file).map(|file| file.name.clone()).unwrap_or_default();
    let problem = format!("{name}:{line} sets it too; this one counts, since its file comes later");
    source.warn(after, path, problem, "keep one of the two");
}
