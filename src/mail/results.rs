//! Whose results an Authentication-Results field claims to have (RFC 8601 section 2.2): fields of this host's name that
//! came with a message are lies.
//!
//! What can't be read must never be taken for somebody else's: a reader further on may be less particular.

use super::{Domain, Header};

/// Name of the field.
pub const AUTHENTICATION_RESULTS: &str = "Authentication-Results";

/// The places of the fields that claim to have results of this host, whatever version they are of (RFC 8601 section 5).
pub fn results_of(header: &Header, host: &str) -> Vec<u32> {
    let fields = header.fields().filter(|field| field.is_named(AUTHENTICATION_RESULTS));
    fields.filter(|field| claims_to_be_of(&field.unfolded(), host)).map(|field| field.index).collect()
}

fn claims_to_be_of(value: &str, host: &str) -> bool {
    match authserv_id(value) {
        Some(id) => is_host(&id, host),
        None => value.to_ascii_lowercase().contains(&host.to_ascii_lowercase()),
    }
}

/// A host's name has no case, and may be written with a final dot or in the letters of its language (RFC 8616 section 5).
fn is_host(id: &str, host: &str) -> bool {
    let id = id.strip_suffix('.').unwrap_or(id);
    id.eq_ignore_ascii_case(host) || Domain::parse(id).is_ok_and(|domain| domain.as_str().eq_ignore_ascii_case(host))
}

/// A token or a quoted string (RFC 2045 section 5.1), after comments and white space. None where one of these has no end.
fn authserv_id(value: &str) -> Option<String> {
    let rest = after_cfws(value)?;
    match rest.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => rest.split(is_no_token).next().map(str::to_owned),
    }
}

fn is_no_token(c: char) -> bool {
    is_space(c) || matches!(c, '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '\\' | '"' | '/' | '[' | ']' | '?' | '=')
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// RFC 5322 section 3.2.2: comments nest, and have quoted pairs.
fn after_cfws(value: &str) -> Option<&str> {
    let mut rest = value.trim_start_matches(is_space);
    while let Some(comment) = rest.strip_prefix('(') {
        let (mut depth, mut chars) = (1, comment.chars());
        while depth > 0 {
            match chars.next()? {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => drop(chars.next()?),
                _ => {}
            }
        }
        rest = chars.as_str().trim_start_matches(is_space);
    }
    Some(rest)
}

/// What stands before the closing quote.
fn unquoted(quoted: &str) -> Option<String> {
    let (mut text, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => return Some(text.trim_matches(is_space).to_owned()),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 16] = [
        "mx.example.net; spf=pass",
        "MX.Example.NET;spf=pass",
        "mx.example.net 1; spf=pass",
        "mx.example.net 99; spf=pass",
        "mx.example.net/1; spf=pass",
        "mx.example.net(a comment); none",
        "mx.example.net",
        "mx.example.net.; none",
        "\"mx.example.net\"; none",
        "\"mx\\.example.net\" 1; none",
        "(a (nested; \\) one)) (another)\r\n\tmx.example.net; none",
        "\r\n mx.example.net\r\n ; none",
        "\u{ff4d}x.example.net; none",
        "mx.example.net=; none",
        "(no end mx.example.net; spf=pass",
        "\"no end MX.example.net; spf=pass",
    ];

    const OTHERS: [&str; 10] = [
        "example.net; spf=pass",
        "mx.example.net.example; spf=pass",
        "a.mx.example.net; spf=pass",
        "xmx.example.net; none",
        "(mx.example.net) other.example; none",
        "other.example (mx.example.net); spf=pass smtp.mailfrom=mx.example.net",
        "\"other.example; mx.example.net\"; none",
        "(no end, and of nobody",
        "; spf=pass",
        "",
    ];

    #[test]
    fn fields_are_of_whom_they_name() {
        for value in OURS {
            assert!(claims_to_be_of(value, "mx.example.net"), "{value:?}");
        }
        for value in OTHERS {
            assert!(!claims_to_be_of(value, "mx.example.net"), "{value:?}");
        }
        assert!(claims_to_be_of("b\u{fc}cher.example; none", "xn--bcher-kva.example"));
    }

    #[test]
    fn only_fields_of_the_name_are_looked_at() {
        let block = "Authentication-Results: mx.example.net; spf=pass\r\nAuthentication-Results: a.example; none\r\n\
                     X-Authentication-Results: mx.example.net; none\r\n\
                     AUTHENTICATION-results :\r\n (c) mx.example.net;\r\n dkim=pass\r\n\
                     ARC-Authentication-Results: i=1; mx.example.net; none\r\n";
        assert_eq!(results_of(&Header::parse(block.into()), "mx.example.net"), [0, 3]);
    }
}
