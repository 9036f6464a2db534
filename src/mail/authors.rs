//! Whom the From field names (RFC 5322 sections 3.4, 3.6.2 and 4.4, RFC 6532, RFC 6854): read once, the same for who checks
//! authors and for who signs in their names.
//!
//! Pure. Display names may hold what they should not, as programs write them; an address is read to the letter or not at
//! all. Must never leave out an author without saying so.

use super::{Header, Mailbox};

/// The authors of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// How many From fields there are; there should be one (RFC 5322 section 3.6).
    pub fields: usize,
    /// All that could be read, in their order.
    pub mailboxes: Vec<Mailbox>,
    /// Something is in these fields that could not be read: there may be more authors.
    pub unreadable: bool,
}

/// A piece of a field, comments and white space left out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Characters of atoms, and those beyond ASCII.
    Text(&'a str),
    /// The content of a quoted string.
    Quoted(String),
    /// A domain literal with its brackets.
    Literal(&'a str),
    /// `<`, `>`, `@`, `,`, `:`, `;` or `.`.
    Special(char),
    /// What may not stand there, or has no end.
    Broken,
}

impl Authors {
    /// Those of this header section.
    pub fn of(header: &Header) -> Self {
        let mut authors = Self::default();
        for field in header.fields().filter(|field| field.is_named("From")) {
            authors.fields += 1;
            authors.read(&String::from_utf8_lossy(field.raw));
        }
        authors
    }

    /// One field: elements between commas, some of them perhaps in groups.
    fn read(&mut self, value: &str) {
        let (mut element, mut in_route, mut in_group) = (Vec::new(), false, false);
        for token in Tokens(value) {
            match token {
                // Between angle brackets, commas and colons belong to a source route (RFC 5322 section 4.4).
                Token::Special(',') if !in_route => self.take(&mut element),
                Token::Special(':') if !in_route => {
                    self.unreadable |= in_group || !is_phrase(&element);
                    element.clear();
                    in_group = true;
                }
                Token::Special(';') if !in_route => {
                    self.take(&mut element);
                    self.unreadable |= !in_group;
                    in_group = false;
                }
                token => {
                    match token {
                        Token::Special('<') => in_route = true,
                        Token::Special('>') => in_route = false,
                        _ => {}
                    }
                    element.push(token);
                }
            }
        }
        self.unreadable |= in_group;
        self.take(&mut element);
    }

    /// An element is complete. An empty one is obsolete, but nobody (RFC 5322 section 4.4).
    fn take(&mut self, element: &mut Vec<Token<'_>>) {
        if element.is_empty() {
            return;
        }
        match mailbox(element) {
            Some(mailbox) => self.mailboxes.push(mailbox),
            None => self.unreadable = true,
        }
        element.clear();
    }
}

/// A group has a name that holds no address.
fn is_phrase(tokens: &[Token<'_>]) -> bool {
    let is_word = |token: &Token<'_>| matches!(token, Token::Text(_) | Token::Quoted(_) | Token::Special('.'));
    !tokens.is_empty() && tokens.iter().all(is_word)
}

/// `addr-spec`, or a name and `<addr-spec>`. Programs write names with dots, `@` and brackets without quoting them.
fn mailbox(tokens: &[Token<'_>]) -> Option<Mailbox> {
    if tokens.contains(&Token::Broken) {
        return None;
    }
    let Some(open) = tokens.iter().position(|token| *token == Token::Special('<')) else { return address(tokens) };
    let (_name, rest) = tokens.split_at_checked(open)?;
    let [Token::Special('<'), inner @ .., Token::Special('>')] = rest else { return None };
    let inner = match inner {
        // A source route, which nobody follows any more.
        [Token::Special('@'), ..] => {
            let colon = inner.iter().position(|token| *token == Token::Special(':'))?;
            inner.get(colon + 1..)?
        }
        _ => inner,
    };
    address(inner)
}

/// `addr-spec`, with white space around dots where it is obsolete.
fn address(tokens: &[Token<'_>]) -> Option<Mailbox> {
    let at = tokens.iter().position(|token| *token == Token::Special('@'))?;
    let (local_part, domain) = tokens.split_at_checked(at)?;
    let local_part = dotted(local_part, |token| match token {
        Token::Text(text) => Some(text),
        Token::Quoted(text) => Some(text),
        _ => None,
    })?;
    let domain = match domain {
        [_, Token::Literal(literal)] => (*literal).to_owned(),
        [_, names @ ..] => dotted(names, |token| if let Token::Text(text) = token { Some(text) } else { None })?,
        [] => return None,
    };
    Mailbox::from_parts(&local_part, &domain, true).ok()
}

/// Words with single dots between them.
fn dotted<'a>(tokens: &'a [Token<'_>], word: impl Fn(&'a Token<'_>) -> Option<&'a str>) -> Option<String> {
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Special('.') if at % 2 == 1 => out.push('.'),
            token if at % 2 == 0 => out.push_str(word(token)?),
            _ => return None,
        }
    }
    (tokens.len() % 2 == 1).then_some(out)
}

/// What is left of a field.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Takes so many octets, which end between two characters.
    fn cut(&mut self, octets: usize) -> &'a str {
        let (taken, rest) = self.0.split_at_checked(octets).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    /// White space and comments, which nest (RFC 5322 section 3.2.2). False if a comment has no end.
    fn skip(&mut self) -> bool {
        let (mut depth, mut escaped) = (0_usize, false);
        let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let end = self.0.char_indices().find(|(_, c)| {
            match c {
                _ if escaped => escaped = false,
                '(' => depth += 1,
                '\\' if depth > 0 => escaped = true,
                ')' if depth > 0 => depth -= 1,
                c => return depth == 0 && !is_space(*c),
            }
            false
        });
        self.cut(end.map_or(self.0.len(), |(at, _)| at));
        depth == 0
    }

    /// A quoted string from its first quote on; folding in it is no part of it (RFC 5322 section 3.2.4).
    fn quoted(&mut self) -> Token<'a> {
        let (mut out, mut escaped) = (String::new(), false);
        let end = self.0.char_indices().skip(1).find(|(_, c)| {
            match c {
                '\r' | '\n' => {}
                _ if escaped => {
                    escaped = false;
                    out.push(*c);
                }
                '\\' => escaped = true,
                '"' => return true,
                c => out.push(*c),
            }
            false
        });
        self.cut(end.map_or(self.0.len(), |(at, _)| at + 1));
        if end.is_some() { Token::Quoted(out) } else { Token::Broken }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if !self.skip() {
            return Some(Token::Broken);
        }
        let first = self.0.chars().next()?;
        Some(match first {
            '"' => self.quoted(),
            '<' | '>' | '@' | ',' | ':' | ';' | '.' => {
                self.cut(1);
                Token::Special(first)
            }
            '[' => {
                let end = self.0.find(']').map_or(self.0.len(), |at| at + 1);
                let literal = self.cut(end);
                if literal.ends_with(']') { Token::Literal(literal) } else { Token::Broken }
            }
            first if is_text(first) => {
                let end = self.0.find(|c| !is_text(c)).unwrap_or(self.0.len());
                Token::Text(self.cut(end))
            }
            first => {
                self.cut(first.len_utf8());
                Token::Broken
            }
        })
    }
}

/// RFC 5322 section 3.2.3, RFC 6532 section 3.2.
fn is_text(c: char) -> bool {
    let special = matches!(c, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '.' | '"' | ' ');
    !special && !c.is_control()
}

/// Entry for fuzzing: whoever was read is an author wherever the address is written plainly, and alone.
#[doc(hidden)]
pub fn fuzz_authors(octets: &[u8]) {
    let mut authors = Authors::default();
    authors.read(&String::from_utf8_lossy(octets));
    for mailbox in &authors.mailboxes {
        let mut again = Authors::default();
        again.read(&mailbox.to_string());
        assert_eq!((again.mailboxes.as_slice(), again.unreadable), (std::slice::from_ref(mailbox), false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, with `?` behind it if that is not all.
    fn read(header: &str) -> String {
        let authors = Authors::of(&Header::parse(header.to_owned().into()));
        let mut out: Vec<_> = authors.mailboxes.iter().map(ToString::to_string).collect();
        out.extend(authors.unreadable.then(|| "?".to_owned()));
        format!("{} {}", authors.fields, out.join(" "))
    }

    #[test]
    fn every_author_is_read() {
        let table = [
            // As programs write it.
            ("From: ann@own.example", "1 ann@own.example"),
            ("FROM: Ann <ann@Own.EXAMPLE>", "1 ann@own.example"),
            ("From : ann@own.example", "1 ann@own.example"),
            ("From\t: ann@own.example", "1 ann@own.example"),
            ("From:\r\n Ann\r\n\t<ann@own.example>", "1 ann@own.example"),
            ("From: Ann B. Doe <ann@own.example>", "1 ann@own.example"),
            ("From: ann@own.example <ann@own.example>", "1 ann@own.example"),
            ("From: [sales] Ann <ann@own.example>", "1 ann@own.example"),
            ("From: \"Doe, Ann\" <ann@own.example>", "1 ann@own.example"),
            ("From: =?utf-8?q?M=C3=BCller=2C_Ann?= <ann@own.example>", "1 ann@own.example"),
            ("From: Änn Müller <änn@own.example>", "1 änn@own.example"),
            ("From: \"ann b\"@own.example", "1 \"ann b\"@own.example"),
            ("From: ann@[192.0.2.1]", "1 ann@[192.0.2.1]"),
            // Several.
            ("From: CEO <ceo@corp.example>, ann@own.example", "1 ceo@corp.example ann@own.example"),
            ("From: a@x.example\r\nTo: b@x.example\r\nfrom: c@x.example", "2 a@x.example c@x.example"),
            ("From: Team: a@x.example, B <b@x.example>;", "1 a@x.example b@x.example"),
            ("From: a@x.example, Team: b@x.example;, c@x.example", "1 a@x.example b@x.example c@x.example"),
            ("From: Nobody:;", "1 "),
            ("From:", "1 "),
            ("To: ann@own.example", "0 "),
            // Comments, and names that look like addresses.
            ("From: ann@own.example (CEO <ceo@corp.example>)", "1 ann@own.example"),
            ("From: (a (b \\) c) ) ann (d) @ (e) own.example", "1 ann@own.example"),
            ("From: \"ceo@corp.example\" <ann@own.example>", "1 ann@own.example"),
            ("From: \"a\\\" <ceo@corp.example>,\" <ann@own.example>", "1 ann@own.example"),
            ("From: ann@own.example <ceo@corp.example>", "1 ceo@corp.example"),
            ("From: =?utf-8?q?ann=40own.example?= <ceo@corp.example>", "1 ceo@corp.example"),
            // Obsolete (RFC 5322 section 4.4).
            ("From: ann . b @ own . example", "1 ann.b@own.example"),
            ("From: <@a.example,@b.example:ann@own.example>", "1 ann@own.example"),
            ("From: , ,ann@own.example,", "1 ann@own.example"),
            ("From: \"ann\".b@own.example", "1 ann.b@own.example"),
        ];
        check(&table);
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_there() {
        let table = [
            ("From: <ceo@corp.example.>", "1 ?"),
            ("From: ceo@corp.example., ann@own.example", "1 ann@own.example ?"),
            ("From: Doe, Ann <ann@own.example>", "1 ann@own.example ?"),
            ("From: =?utf-8?q?,ceo@corp.example,?= <ann@own.example>", "1 ceo@corp.example ann@own.example ?"),
            ("From: ann@own.example ceo@corp.example", "1 ?"),
            ("From: <ann@own.example> <ceo@corp.example>", "1 ?"),
            ("From: <ann@own.example> ceo", "1 ?"),
            ("From: <ann@own.example, ceo@corp.example>", "1 ?"),
            ("From: <<ann@own.example>>", "1 ?"),
            ("From: ann@own.example@corp.example", "1 ?"),
            ("From: ann..b@own.example", "1 ?"),
            ("From: <@a.example>", "1 ?"),
            ("From: <>", "1 ?"),
            ("From: @own.example", "1 ?"),
            ("From: Ann", "1 ?"),
            ("From: postmaster", "1 ?"),
            ("From: \"Ann <ann@own.example>", "1 ?"),
            ("From: ann@own.example (", "1 ?"),
            ("From: ann@own.example, (ceo@corp.example", "1 ann@own.example ?"),
            ("From: ann@own.example)", "1 ?"),
            ("From: ann\\@own.example", "1 ?"),
            ("From: ann@own.example;", "1 ann@own.example ?"),
            ("From: Team: ann@own.example", "1 ann@own.example ?"),
            ("From: ceo@corp.example: ann@own.example;", "1 ann@own.example ?"),
            ("From: A: B: ann@own.example;", "1 ann@own.example ?"),
            ("From: ann@[192.0.2.1", "1 ?"),
        ];
        check(&table);
    }

    fn check(table: &[(&str, &str)]) {
        for (header, expected) in table {
            assert_eq!(read(&format!("{header}\r\n")), *expected, "{header:?}");
            fuzz_authors(header.as_bytes());
        }
    }

    #[test]
    fn anything_may_stand_there() {
        let pieces =
            ["ann", "@", "own.example", "<", ">", "\"", "(", ")", "\\", ",", ":", ";", "[", "]", "\r\n ", "\u{fc}"];
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..20_000 {
            let words: Vec<_> = (0..random.usize(..12)).filter_map(|_| random.choice(pieces)).collect();
            fuzz_authors(words.concat().as_bytes());
        }
    }
}
