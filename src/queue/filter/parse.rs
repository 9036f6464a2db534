//! From tokens to a tree: `or` binds weaker than `and`, `and` weaker than `not`.

use regex::RegexBuilder;

use super::lex::{Placed, Token, tokens};
use super::{Expr, FIELDS, Field, FilterError, Kind, NAMED, Op, STATES, Test, Value, value};
use crate::mail::{Domain, QueueId};
use crate::suggest::nearest;

/// Parentheses and `not` inside each other.
const DEPTH: usize = 32;
/// Conditions: a thousand ids and some more.
const TESTS: usize = 1500;
/// Patterns, each of which is asked of each recipient.
const PATTERNS: usize = 16;
/// Octets that a compiled pattern may take.
const PATTERN_SIZE: usize = 256 << 10;

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let (tokens, end) = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Expr::Everything);
    }
    let mut parser = Parser { tokens, at: 0, end, tests: 0, patterns: 0 };
    let expr = parser.any(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some((Token::Close, column)) => Err(wrong(*column, "nothing is open that this could close")),
        Some((_, column)) => Err(wrong(*column, "expected \"and\", \"or\" or the end")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    /// The column behind the last token.
    end: usize,
    tests: usize,
    patterns: usize,
}

fn wrong(column: usize, problem: impl Into<String>) -> FilterError {
    FilterError { column, problem: problem.into() }
}

impl Parser {
    fn column(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(_, column)| *column)
    }

    fn next(&mut self) -> Option<Placed> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Steps over this word.
    fn keyword(&mut self, keyword: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some((Token::Word(word), _)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.keyword("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Expr::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut parts = vec![self.single(depth)?];
        while self.keyword("and") {
            parts.push(self.single(depth)?);
        }
        Ok(one_or(parts, Expr::And))
    }

    fn single(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let column = self.column();
        if depth > DEPTH {
            return Err(wrong(column, format!("more than {DEPTH} levels inside each other")));
        }
        if self.keyword("not") {
            return Ok(Expr::Not(Box::new(self.single(depth + 1)?)));
        }
        match self.next() {
            Some((Token::Open, _)) => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some((Token::Close, _)) => Ok(inner),
                    Some((_, at)) => Err(wrong(at, "expected \"and\", \"or\" or \")\"")),
                    None => Err(wrong(column, "the parenthesis that begins here is not closed")),
                }
            }
            Some((Token::Word(name), _)) => self.condition(&name, column),
            Some(_) => Err(wrong(column, "expected a field, such as domain, sender or age")),
            None => Err(wrong(column, "expected a condition, such as domain = example.org")),
        }
    }

    fn condition(&mut self, name: &str, column: usize) -> Result<Expr, FilterError> {
        self.tests += 1;
        if self.tests > TESTS {
            return Err(wrong(column, format!("more than {TESTS} conditions")));
        }
        let lower = name.to_ascii_lowercase();
        if lower == "all" {
            return Ok(Expr::Everything);
        }
        if let Some((_, state)) = STATES.iter().find(|(known, _)| *known == lower) {
            return Ok(Expr::Is(*state));
        }
        let field = field(name, &lower).ok_or_else(|| unknown(&lower, column))?;
        let (op, at) = match self.next() {
            Some((Token::Op(op), at)) => (op, at),
            Some((_, at)) => return Err(wrong(at, format!("expected an operator after {lower}: = != ~ =~ < > <= >="))),
            None => return Err(wrong(self.end, format!("expected an operator after {lower}: = != ~ =~ < > <= >="))),
        };
        check_op(&field, &lower, op, at)?;
        let (text, at) = match self.next() {
            Some((Token::Word(text) | Token::Quoted(text), at)) => (text, at),
            Some((_, at)) => {
                return Err(wrong(at, format!("expected a value for {lower}; in quotes if it has blanks")));
            }
            None => return Err(wrong(self.end, format!("expected a value for {lower}"))),
        };
        let value = self.value(&field, op, &text).map_err(|problem| wrong(at, problem))?;
        Ok(Expr::Test(Test { field, op, value }))
    }

    fn value(&mut self, field: &Field, op: Op, text: &str) -> Result<Value, String> {
        if op == Op::Matches {
            self.patterns += 1;
            if self.patterns > PATTERNS {
                return Err(format!("more than {PATTERNS} patterns"));
            }
            let mut pattern = RegexBuilder::new(text);
            pattern.size_limit(PATTERN_SIZE).dfa_size_limit(4 * PATTERN_SIZE).nest_limit(32).case_insensitive(true);
            let pattern = pattern.build();
            return pattern
                .map(|pattern| Value::Pattern(text.into(), pattern))
                .map_err(|error| pattern_problem(&error));
        }
        match field.kind() {
            Kind::Id if op == Op::Contains => Ok(Value::Text(text.into())),
            Kind::Id => text.parse::<QueueId>().map(Value::Id).map_err(|error| format!("{text:?}: {error}")),
            Kind::Number => text.parse().map(Value::Number).map_err(|_not_one| format!("{text:?} is no number")),
            Kind::Duration => value::duration(text).map(Value::Duration).ok_or_else(|| {
                format!("{text:?} is no duration: write a number and a unit (s, m, h, d, w), such as 2h")
            }),
            Kind::Size => value::size(text)
                .map(Value::Size)
                .ok_or_else(|| format!("{text:?} is no size: write a number and a unit (B, K, M, G), such as 10M")),
            Kind::Client if op != Op::Contains && text.contains('/') => {
                let network = text.parse::<ipnet::IpNet>().map_err(|_not_one| format!("{text:?} is no network"))?;
                Ok(Value::Network(network.trunc()))
            }
            Kind::Domain if op != Op::Contains => Ok(Value::Text(domain(text))),
            _ if *field == Field::Sender && text == "<>" => Ok(Value::Text("".into())),
            _ => Ok(Value::Text(text.into())),
        }
    }
}

fn one_or(mut parts: Vec<Expr>, several: fn(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 { parts.pop().unwrap_or_default() } else { several(parts) }
}

fn field(name: &str, lower: &str) -> Option<Field> {
    if NAMED.contains(&lower) {
        return Some(Field::Annotation(lower.into()));
    }
    // Keys of annotations keep their case.
    if let Some((_, key)) = name.split_at_checked("annotation.".len()).filter(|_| lower.starts_with("annotation.")) {
        return (!key.is_empty()).then(|| Field::Annotation(key.into()));
    }
    FIELDS.iter().find(|(known, _)| *known == lower).map(|(_, field)| field.clone())
}

fn unknown(name: &str, column: usize) -> FilterError {
    let words = || {
        FIELDS
            .iter()
            .map(|(name, _)| *name)
            .chain(NAMED)
            .chain(STATES.iter().map(|(name, _)| *name))
            .chain(["not", "all"])
    };
    let help = match nearest(name, words()) {
        Some(near) => format!("did you mean {near}?"),
        None if name == "annotation" || name == "annotation." => "write annotation.KEY".to_owned(),
        None => format!("there are {}, annotation.KEY", words().collect::<Vec<_>>().join(", ")),
    };
    wrong(column, format!("there is no field {name:?}: {help}"))
}

fn check_op(field: &Field, name: &str, op: Op, column: usize) -> Result<(), FilterError> {
    let orders = matches!(op, Op::Less | Op::More | Op::AtMost | Op::AtLeast);
    let texts = matches!(op, Op::Contains | Op::Matches);
    match field.kind() {
        Kind::Text | Kind::Domain | Kind::Client | Kind::Id if orders => {
            Err(wrong(column, format!("{name} is a text: it takes = != ~ =~")))
        }
        Kind::Number | Kind::Duration | Kind::Size if texts => {
            Err(wrong(column, format!("{name} is a quantity: it takes = != < > <= >=")))
        }
        _ => Ok(()),
    }
}

/// As the relay keeps domains; what is none is compared as it is.
pub(super) fn domain(text: &str) -> std::sync::Arc<str> {
    let known = Domain::parse_pattern(text).map(|domain| domain.as_str().into());
    known.unwrap_or_else(|_no_domain| text.to_ascii_lowercase().into())
}

/// In one line: the vendor's own message draws the pattern over several.
fn pattern_problem(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("no pattern: {}", last.trim_start_matches("error: "))
        }
    }
}
