//! The filter language: which recipients a listing or a command is about, such as
//! `domain = example.org and age > 2h and (sender ~ "@news." or tag = bulk) and not held`.
//!
//! Pure: text to a tree (`parse`, from `lex`'s words), the tree to text (`print`), the tree against a record (`eval`).
//! Length, depth, conditions and patterns are bounded, since the text comes from operators' scripts as well as hands.

mod eval;
mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use regex::Regex;

use crate::mail::QueueId;

pub(super) use eval::names;
pub use eval::{Sight, Ways};
pub use value::{duration, hop_text, show_duration};

/// Which recipients; the default takes all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    root: Expr,
}

/// Why a text is no filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at column {column}: {problem}")]
pub struct FilterError {
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A condition, or several.
#[derive(Clone, Debug, Default, PartialEq)]
enum Expr {
    /// `all`.
    #[default]
    Everything,
    /// `held`, `suspended`: what stands alone.
    Is(State),
    /// A field against a value.
    Test(Test),
    Not(Box<Expr>),
    /// Two or more, with `and` between.
    And(Vec<Expr>),
    /// Two or more, with `or` between.
    Or(Vec<Expr>),
}

/// What a recipient can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It, or its message, is held.
    Held,
    /// It waits for the end of a suspension.
    Suspended,
}

#[derive(Clone, Debug, PartialEq)]
struct Test {
    field: Field,
    op: Op,
    value: Value,
}

/// What can be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Sender,
    SenderDomain,
    Recipient,
    Domain,
    Age,
    Size,
    Attempts,
    Due,
    Reason,
    Tag,
    /// Of any plugin.
    Annotation(Arc<str>),
    Listener,
    Client,
    Identity,
    Priority,
    LastReply,
    LastCode,
    Status,
    NextHop,
    Suspension,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Is,
    IsNot,
    Contains,
    Matches,
    Less,
    More,
    AtMost,
    AtLeast,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Arc<str>),
    /// As written, and ready for use.
    Pattern(Arc<str>, Regex),
    Network(ipnet::IpNet),
    Id(QueueId),
    Number(i64),
    /// Seconds.
    Duration(u64),
    /// Octets.
    Size(u64),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) | (Self::Pattern(a, _), Self::Pattern(b, _)) => a == b,
            (Self::Network(a), Self::Network(b)) => a == b,
            (Self::Id(a), Self::Id(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) | (Self::Size(a), Self::Size(b)) => a == b,
            _ => false,
        }
    }
}

/// What values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that is a domain: compared in A-labels; with a leading dot, every subdomain.
    Domain,
    /// An address, or a network.
    Client,
    Id,
    Number,
    Duration,
    Size,
}

/// Names of fields as they are written; the first of several for one field is how it is printed.
const FIELDS: [(&str, Field); 22] = [
    ("id", Field::Id),
    ("sender", Field::Sender),
    ("sender-domain", Field::SenderDomain),
    ("recipient", Field::Recipient),
    ("domain", Field::Domain),
    ("age", Field::Age),
    ("size", Field::Size),
    ("attempts", Field::Attempts),
    ("due", Field::Due),
    ("reason", Field::Reason),
    ("tag", Field::Tag),
    ("listener", Field::Listener),
    ("client", Field::Client),
    ("identity", Field::Identity),
    ("priority", Field::Priority),
    ("last-reply", Field::LastReply),
    ("last-code", Field::LastCode),
    ("status", Field::Status),
    ("next-hop", Field::NextHop),
    ("route", Field::NextHop),
    ("hop", Field::NextHop),
    ("suspension", Field::Suspension),
];

/// Annotations with a name of their own: whose mail it is, and what it is part of.
const NAMED: [&str; 2] = ["tenant", "campaign"];

const STATES: [(&str, State); 2] = [("held", State::Held), ("suspended", State::Suspended)];

const OPS: [(&str, Op); 8] = [
    ("=", Op::Is),
    ("!=", Op::IsNot),
    ("~", Op::Contains),
    ("=~", Op::Matches),
    ("<", Op::Less),
    (">", Op::More),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
];

impl Field {
    const fn kind(&self) -> Kind {
        match self {
            Self::Id => Kind::Id,
            Self::SenderDomain | Self::Domain => Kind::Domain,
            Self::Client => Kind::Client,
            Self::Age | Self::Due => Kind::Duration,
            Self::Size => Kind::Size,
            Self::Attempts | Self::Priority | Self::LastCode | Self::Suspension => Kind::Number,
            _ => Kind::Text,
        }
    }
}

impl Filter {
    /// Reads one. An empty text takes everything.
    ///
    /// # Errors
    /// What is wrong, and at which column.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// Messages of these ids; none of them: no message.
    pub fn ids(ids: impl IntoIterator<Item = QueueId>) -> Self {
        let test = |id| Expr::Test(Test { field: Field::Id, op: Op::Is, value: Value::Id(id) });
        let mut tests: Vec<Expr> = ids.into_iter().map(test).collect();
        let root = match tests.len() {
            0 => Expr::Not(Box::new(Expr::Everything)),
            1 => tests.pop().unwrap_or_default(),
            _ => Expr::Or(tests),
        };
        Self { root }
    }

    /// `FIELD ~ part`, for `sender` and `recipient`.
    pub fn contains(field: &str, part: &str) -> Self {
        let field = if field == "sender" { Field::Sender } else { Field::Recipient };
        Self { root: Expr::Test(Test { field, op: Op::Contains, value: Value::Text(part.into()) }) }
    }

    /// Recipients of a domain.
    pub fn domain(domain: &str) -> Self {
        let value = Value::Text(parse::domain(domain));
        Self { root: Expr::Test(Test { field: Field::Domain, op: Op::Is, value }) }
    }

    /// Those that are held, or that are not.
    pub fn held(held: bool) -> Self {
        let is = Expr::Is(State::Held);
        Self { root: if held { is } else { Expr::Not(Box::new(is)) } }
    }

    /// What all of them take; without any: everything.
    pub fn all_of(filters: Vec<Self>) -> Self {
        let mut parts: Vec<Expr> = filters.into_iter().map(|filter| filter.root).collect();
        let root = if parts.len() > 1 { Expr::And(parts) } else { parts.pop().unwrap_or_default() };
        Self { root }
    }

    /// What waits for the end of this suspension.
    pub(super) fn parked(number: u32) -> Self {
        let value = Value::Number(number.into());
        Self { root: Expr::Test(Test { field: Field::Suspension, op: Op::Is, value }) }
    }

    /// True if it takes everything, whatever there is.
    pub fn is_everything(&self) -> bool {
        self.root == Expr::Everything
    }

    /// Where it can take but messages of certain ids: those, in order.
    pub fn only_ids(&self) -> Option<Vec<QueueId>> {
        let mut ids = ids_of(&self.root)?;
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }
}

fn ids_of(expr: &Expr) -> Option<Vec<QueueId>> {
    match expr {
        Expr::Test(Test { op: Op::Is, value: Value::Id(id), .. }) => Some(vec![*id]),
        Expr::And(all) => all.iter().find_map(ids_of),
        Expr::Or(any) => any.iter().try_fold(Vec::new(), |mut ids, one| {
            ids.extend(ids_of(one)?);
            Some(ids)
        }),
        _ => None,
    }
}
