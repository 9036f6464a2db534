//! Commands (RFC 5321 section 4.1 and the extensions offered): one line in, one command or the reply it deserves out.
//!
//! Verbs have no case, arguments are held to their grammar. One thing is forgiven because so many clients do it: a
//! space after `FROM:` and `TO:`. Addresses stay text here; whether they may be UTF-8 depends on the transaction.

use std::sync::Arc;

use super::path::{Path, take_path};
use crate::mail::Param;

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// HELO, and what the client calls itself.
    Helo(&'a str),
    /// EHLO, and what the client calls itself.
    Ehlo(&'a str),
    /// LHLO (RFC 2033), and what the client calls itself.
    Lhlo(&'a str),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// As sent.
        mechanism: &'a str,
        /// The initial response, still in base64; `=` for an empty one.
        initial: Option<&'a str>,
    },
    /// MAIL.
    Mail {
        /// The reverse-path.
        path: Path<'a>,
        /// ESMTP parameters.
        params: Vec<Param>,
    },
    /// RCPT.
    Rcpt {
        /// The forward-path.
        path: Path<'a>,
        /// ESMTP parameters.
        params: Vec<Param>,
    },
    /// DATA.
    Data,
    /// BDAT (RFC 3030): so many octets follow the line.
    Bdat {
        /// Octets of the chunk.
        size: u64,
        /// It ends the message.
        last: bool,
    },
    /// XCLIENT: names and values, still in xtext.
    Xclient(Vec<(&'a str, &'a str)>),
    /// RSET.
    Rset,
    /// NOOP; its argument means nothing.
    Noop,
    /// VRFY; its argument is not looked at.
    Vrfy,
    /// EXPN; its argument is not looked at.
    Expn,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No verb known here, or octets that no command has.
    Unknown,
    /// The client speaks HTTP: somebody's browser was sent here, and its lines are not its own.
    Http,
    /// The verb is known, its argument is not good; the text says why.
    Argument(&'static str),
    /// A BDAT that does not say how much of what follows is no command: nothing after it can be understood.
    Chunk,
}

use CommandError::{Argument, Chunk, Http, Unknown};

/// Reads a line without its CRLF.
///
/// # Errors
/// [`CommandError`].
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    let line = std::str::from_utf8(line).map_err(|_| Unknown)?;
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Unknown);
    }
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim_start_matches([' ', '\t']);
    let mut upper = [0; 8];
    let Some(upper) = upper.get_mut(..verb.len()) else { return Err(Unknown) };
    upper.copy_from_slice(verb.as_bytes());
    upper.make_ascii_uppercase();
    match &*upper {
        b"MAIL" => parse_path(argument, "FROM:").map(|(path, params)| Command::Mail { path, params }),
        b"RCPT" => parse_path(argument, "TO:").map(|(path, params)| Command::Rcpt { path, params }),
        b"DATA" => alone(argument, Command::Data),
        b"RSET" => alone(argument, Command::Rset),
        b"QUIT" => alone(argument, Command::Quit),
        b"EHLO" => parse_name(argument).map(Command::Ehlo),
        b"HELO" => parse_name(argument).map(Command::Helo),
        b"LHLO" => parse_name(argument).map(Command::Lhlo),
        b"BDAT" => parse_chunk(argument),
        b"XCLIENT" => parse_xclient(argument),
        b"STARTTLS" => alone(argument, Command::StartTls),
        b"AUTH" => parse_auth(argument),
        b"NOOP" => Ok(Command::Noop),
        b"HELP" => Ok(Command::Help),
        b"VRFY" if argument.is_empty() => Err(Argument("VRFY needs a name")),
        b"VRFY" => Ok(Command::Vrfy),
        b"EXPN" => Ok(Command::Expn),
        b"GET" | b"POST" | b"CONNECT" => Err(Http),
        _ => Err(Unknown),
    }
}

fn alone<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(Argument("no argument wanted")) }
}

/// The argument of HELO and EHLO. RFC 5321 section 4.1.4 forbids to refuse mail because it is no name of the client,
/// and plenty of clients send none: any one word of printable ASCII will do. It is text to show, never to trust.
fn parse_name(argument: &str) -> Result<&str, CommandError> {
    match argument {
        "" => Err(Argument("who are you?")),
        name if name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic()) => Ok(name),
        _ => Err(Argument("a domain name or address literal is wanted")),
    }
}

fn parse_auth(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split_ascii_whitespace();
    let mechanism = words.next().ok_or(Argument("which mechanism?"))?;
    let initial = words.next();
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(Argument("mechanism and initial response only")),
    }
}

/// `BDAT SP chunk-size [SP "LAST"]` (RFC 3030 section 2).
fn parse_chunk(argument: &str) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split_ascii_whitespace();
    let digits = words.next().filter(|word| word.len() <= 20 && word.bytes().all(|b| b.is_ascii_digit()));
    let size = digits.and_then(|digits| digits.parse().ok()).ok_or(Chunk)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(Chunk),
    };
    if words.next().is_some() { Err(Chunk) } else { Ok(Command::Bdat { size, last }) }
}

/// `1*(SP attribute-name "=" attribute-value)`.
fn parse_xclient(argument: &str) -> Result<Command<'_>, CommandError> {
    let pairs: Option<Vec<_>> = argument.split_ascii_whitespace().map(|word| word.split_once('=')).collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() && pairs.len() <= PARAMS_MAX => Ok(Command::Xclient(pairs)),
        _ => Err(Argument("XCLIENT wants NAME=value")),
    }
}

/// `FROM:<path> [parameters]`, `TO:<path> [parameters]`.
fn parse_path<'a>(argument: &'a str, keyword: &str) -> Result<(Path<'a>, Vec<Param>), CommandError> {
    let (start, rest) = argument.split_at_checked(keyword.len()).ok_or(Argument("no path"))?;
    if !start.eq_ignore_ascii_case(keyword) {
        return Err(Argument("FROM: after MAIL and TO: after RCPT"));
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let (path, rest) = take_path(rest).map_err(Argument)?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(Argument("a space is wanted after the path"));
    }
    Ok((path, parse_params(rest)?))
}

/// More than any client has use for; bounds the search for doublets.
const PARAMS_MAX: usize = 16;

/// `SP esmtp-param *(SP esmtp-param)`.
fn parse_params(text: &str) -> Result<Vec<Param>, CommandError> {
    let mut params: Vec<Param> = Vec::new();
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        let (keyword, value) = word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value)));
        let is_keyword = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_keyword || value == Some("") {
            return Err(Argument("a parameter is KEYWORD or KEYWORD=value"));
        }
        let keyword: Arc<str> = keyword.to_ascii_uppercase().into();
        if params.iter().any(|param| param.keyword == keyword) {
            return Err(Argument("a parameter comes once only"));
        }
        if params.len() == PARAMS_MAX {
            return Err(Argument("too many parameters"));
        }
        params.push(Param { keyword, value: value.map(Into::into) });
    }
    Ok(params)
}

/// Entry for fuzzing: anything is a command or an error, and what was taken has no control characters.
#[doc(hidden)]
pub fn fuzz_command(octets: &[u8]) {
    let Ok(Command::Mail { path, params } | Command::Rcpt { path, params }) = parse(octets) else { return };
    if let Path::Mailbox(text) = path
        && let Ok(mailbox) = crate::mail::Mailbox::parse(text, true)
    {
        let written = mailbox.to_string();
        assert!(!written.contains(char::is_control), "{written:?}");
        assert_eq!(crate::mail::Mailbox::parse(&written, true), Ok(mailbox), "{written:?}");
    }
    for Param { keyword, value } in &params {
        let text = value.as_deref().unwrap_or_default();
        assert!(!keyword.is_empty() && !text.contains(|c: char| c.is_control() || c == ' '), "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(keyword: &str, value: Option<&str>) -> Param {
        Param { keyword: keyword.into(), value: value.map(Into::into) }
    }

    fn mail<'a>(path: Path<'a>, params: &[Param]) -> Result<Command<'a>, CommandError> {
        Ok(Command::Mail { path, params: params.into() })
    }

    #[test]
    fn commands_are_read_whatever_their_case() {
        let ann = Path::Mailbox("ann@example.net");
        for (line, wanted) in [
            ("MAIL FROM:<ann@example.net>", mail(ann, &[])),
            ("mail from: <ann@example.net>  ", mail(ann, &[])),
            ("MAIL FROM:<>", mail(Path::Null, &[])),
            ("MAIL FROM:<@a.example,@b.example:ann@example.net>", mail(ann, &[])),
            (
                "Mail From:<ann@example.net> size=100 Body=8BitMIME SMTPUTF8",
                mail(ann, &[param("SIZE", Some("100")), param("BODY", Some("8BitMIME")), param("SMTPUTF8", None)]),
            ),
            ("rcpt to:<\"a> b\"@c>", Ok(Command::Rcpt { path: Path::Mailbox("\"a> b\"@c"), params: vec![] })),
            ("ehlo [192.0.2.1]", Ok(Command::Ehlo("[192.0.2.1]"))),
            ("HELO under_score", Ok(Command::Helo("under_score"))),
            ("AUTH plain =", Ok(Command::Auth { mechanism: "plain", initial: Some("=") })),
            ("AUTH LOGIN", Ok(Command::Auth { mechanism: "LOGIN", initial: None })),
            ("data", Ok(Command::Data)),
            ("bdat 0 last", Ok(Command::Bdat { size: 0, last: true })),
            ("BDAT 86", Ok(Command::Bdat { size: 86, last: false })),
            ("lhlo a", Ok(Command::Lhlo("a"))),
            ("XCLIENT addr=192.0.2.1 NAME=a", Ok(Command::Xclient(vec![("addr", "192.0.2.1"), ("NAME", "a")]))),
            ("StartTLS", Ok(Command::StartTls)),
            ("NOOP whatever you like", Ok(Command::Noop)),
            ("VRFY ann", Ok(Command::Vrfy)),
            ("QUIT ", Ok(Command::Quit)),
        ] {
            assert_eq!(parse(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn bad_arguments_are_told_from_unknown_verbs() {
        for line in [
            "MAIL",
            "MAIL FROM",
            "MAIL FROM:",
            "MAIL FROM:ann@example.net",
            "MAIL TO:<a@b>",
            "MAIL FROM:<a@b",
            "MAIL FROM:  <a@b>",
            "MAIL FROM:<a@b>SIZE=1",
            "MAIL FROM:<a@b> SIZE=",
            "MAIL FROM:<a@b> =1",
            "MAIL FROM:<a@b> SIZE=1 size=2",
            "MAIL FROM:<a@b> S\u{ef}ZE",
            "MAIL FROM:<@a:>",
            "MAIL FROM:<a:b@c>",
            "RCPT TO:<a@b> -X",
            "DATA now",
            "RSET x",
            "QUIT x",
            "EHLO",
            "EHLO a b",
            "HELO \u{e9}",
            "AUTH",
            "AUTH PLAIN a b",
            "VRFY",
            "STARTTLS now",
        ] {
            // A colon in a local part makes no path here, but it is the address that is wrong.
            if line == "MAIL FROM:<a:b@c>" {
                assert_eq!(parse(line.as_bytes()), mail(Path::Mailbox("a:b@c"), &[]));
                continue;
            }
            assert!(matches!(parse(line.as_bytes()), Err(Argument(_))), "{line}: {:?}", parse(line.as_bytes()));
        }
        for line in ["", " ", "FOO", "MAIL\0", "MAILFROM:<a@b>", "DATA\u{1}", "STARTTLSX"] {
            assert_eq!(parse(line.as_bytes()), Err(Unknown), "{line:?}");
        }
        for line in ["BDAT", "BDAT -1", "BDAT 1k", "BDAT 1 FIRST", "BDAT 1 LAST 2", "BDAT 99999999999999999999"] {
            assert_eq!(parse(line.as_bytes()), Err(Chunk), "{line}");
        }
        assert_eq!(parse(b"NOOP \xff"), Err(Unknown));
        assert_eq!(parse(b"GET / HTTP/1.1"), Err(Http));
    }

    proptest::proptest! {
        #[test]
        fn nothing_breaks_the_parser(line in "(MAIL FROM:|RCPT TO:)?<?\\PC{0,40}>?[ =A-Z]{0,10}") {
            fuzz_command(line.as_bytes());
        }
    }
}
