//! The tree as a text that reads back as the same tree.

use std::fmt::{self, Display, Formatter, Write as _};

use super::{Expr, FIELDS, Field, Filter, NAMED, OPS, STATES, Test, Value, value};

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all"),
            Self::Is(state) => {
                f.write_str(STATES.iter().find(|(_, known)| known == state).map_or("", |(name, _)| name))
            }
            Self::Test(test) => test.fmt(f),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.nested(f)
            }
            Self::And(parts) => joined(parts, " and ", f),
            Self::Or(parts) => joined(parts, " or ", f),
        }
    }
}

impl Expr {
    fn nested(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(_) | Self::Or(_) => write!(f, "({self})"),
            _ => self.fmt(f),
        }
    }
}

fn joined(parts: &[Expr], between: &str, f: &mut Formatter<'_>) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        part.nested(f)?;
    }
    Ok(())
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.field {
            Field::Annotation(key) if NAMED.contains(&&**key) => f.write_str(key)?,
            Field::Annotation(key) => write!(f, "annotation.{key}")?,
            field => f.write_str(FIELDS.iter().find(|(_, known)| known == field).map_or("", |(name, _)| name))?,
        }
        let op = OPS.iter().find(|(_, known)| *known == self.op).map_or("", |(name, _)| name);
        write!(f, " {op} ")?;
        match &self.value {
            Value::Text(text) | Value::Pattern(text, _) => quoted(text, f),
            Value::Network(network) => network.fmt(f),
            Value::Id(id) => id.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Duration(secs) => f.write_str(&value::show_duration(*secs)),
            Value::Size(octets) => f.write_str(&value::show_size(*octets)),
        }
    }
}

/// In quotes, unless it is a plain word.
fn quoted(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._:/+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return f.write_str(text);
    }
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}
