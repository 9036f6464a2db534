//! Words, quoted texts, operators and parentheses, each with its column.

use super::{FilterError, OPS, Op};

/// Longest text, in octets: a thousand ids, or far more conditions than anybody reads.
const LENGTH: usize = 48 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Op(Op),
    Open,
    Close,
}

/// A token and its column, in characters from 1.
pub(super) type Placed = (Token, usize);

/// All tokens, and the column behind the last.
pub(super) fn tokens(text: &str) -> Result<(Vec<Placed>, usize), FilterError> {
    if text.len() > LENGTH {
        return Err(FilterError { column: 1, problem: format!("a filter has at most {LENGTH} octets") });
    }
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let column = at + 1;
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let (token, next) = match c {
            '(' => (Token::Open, at + 1),
            ')' => (Token::Close, at + 1),
            '"' | '\'' => quoted(&chars, at)?,
            // The null reverse-path, which is no comparison.
            '<' if chars.get(at + 1) == Some(&'>') => (Token::Word("<>".to_owned()), at + 2),
            '=' | '!' | '~' | '<' | '>' => operator(&chars, at)?,
            _ => word(&chars, at),
        };
        tokens.push((token, column));
        at = next;
    }
    Ok((tokens, chars.len() + 1))
}

fn quoted(chars: &[char], start: usize) -> Result<(Token, usize), FilterError> {
    let quote = chars.get(start).copied();
    let mut text = String::new();
    let mut at = start + 1;
    while let Some(&c) = chars.get(at) {
        match c {
            c if Some(c) == quote => return Ok((Token::Quoted(text), at + 1)),
            // Other backslashes stand for themselves, so that patterns are written as they are.
            '\\' if chars.get(at + 1).is_some_and(|next| Some(*next) == quote || *next == '\\') => {
                text.extend(chars.get(at + 1));
                at += 2;
            }
            c => {
                text.push(c);
                at += 1;
            }
        }
    }
    Err(FilterError { column: start + 1, problem: "the quote that begins here is not closed".to_owned() })
}

fn operator(chars: &[char], at: usize) -> Result<(Token, usize), FilterError> {
    let text: String = chars.iter().skip(at).take(2).collect();
    let longest = OPS.iter().filter(|(name, _)| text.starts_with(name)).max_by_key(|(name, _)| name.len());
    let (name, op) = longest.ok_or_else(|| FilterError {
        column: at + 1,
        problem: "\"!\" alone is no operator: write != or not".to_owned(),
    })?;
    Ok((Token::Op(*op), at + name.len()))
}

fn word(chars: &[char], start: usize) -> (Token, usize) {
    let ends = |c: &char| c.is_whitespace() || "()=!~<>\"'".contains(*c);
    let word: String = chars.iter().skip(start).take_while(|c| !ends(c)).collect();
    let end = start + word.chars().count();
    (Token::Word(word), end)
}
