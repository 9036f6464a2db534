//! The short forms in which tests write addresses, hops, times and outcomes. What is none of them panics.

use super::wrong;
use crate::{EnhancedStatus, HostTarget, Mailbox, NextHop, OutcomeKind, RecipientOutcome, Reply, Stage, split_address};

/// `ann@example.org`; a bare `postmaster` too.
pub fn mailbox(text: &str) -> Mailbox {
    match split_address(text) {
        Some((local, domain)) => Mailbox { local_part: local.to_owned(), domain: domain.to_ascii_lowercase() },
        None if text.eq_ignore_ascii_case("postmaster") => {
            Mailbox { local_part: text.to_owned(), domain: String::new() }
        }
        None => wrong(&format!("`{text}` is no address")),
    }
}

/// The same; nothing, or `<>`, is the null sender.
pub(super) fn sender(text: &str) -> Option<Mailbox> {
    if text.is_empty() || text == "<>" { None } else { Some(mailbox(text)) }
}

/// `mx:example.com`, `smtp:mx.example.com:25`, `lmtp:HOST:PORT`, `lmtp:unix:/PATH` or `named:NAME`.
pub fn hop(text: &str) -> NextHop {
    let target = |rest: &str| {
        if rest.starts_with("unix:") {
            return HostTarget { host: rest.to_owned(), port: 0 };
        }
        let parts = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.unwrap_or_else(|| wrong(&format!("`{text}` has no port")));
        HostTarget { host: host.to_owned(), port }
    };
    match text.split_once(':') {
        Some(("mx", domain)) => NextHop::Mx(domain.to_owned()),
        Some(("smtp", rest)) => NextHop::Smtp(target(rest)),
        Some(("lmtp", rest)) => NextHop::Lmtp(target(rest)),
        Some(("named", name)) => NextHop::Named(name.to_owned()),
        _ => wrong(&format!("`{text}` is no hop")),
    }
}

/// What became of the recipient with this index; `said` is the next hop's reply, empty if there was none.
pub fn outcome(recipient: u32, kind: OutcomeKind, stage: Stage, said: &str) -> RecipientOutcome {
    let reply = (!said.is_empty()).then(|| reply(said));
    RecipientOutcome { recipient, kind, stage, reply, remote_name: None, remote: None, tls: None, details: Vec::new() }
}

/// `451 4.7.1 text`; the status may be left out. Several lines are told apart by line breaks.
fn reply(text: &str) -> Reply {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = code.parse().unwrap_or_else(|_| wrong(&format!("`{text}` does not begin with a reply code")));
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status(word);
    let lines = if status.is_some() { after } else { rest };
    Reply { code, status, lines: lines.lines().map(str::to_owned).collect() }
}

fn status(word: &str) -> Option<EnhancedStatus> {
    let mut numbers = word.splitn(3, '.');
    let mut next = || numbers.next()?.parse::<u16>().ok();
    Some(EnhancedStatus { kind: u8::try_from(next()?).ok()?, subject: next()?, detail: next()? })
}

/// Seconds since 1970 of `2026-11-26T12:00:00Z`.
pub(super) fn instant(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| text.split(by).map(|part| part.parse().ok()).collect::<Option<Vec<i64>>>();
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month @ 1..=12, day @ 1..=31], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    // Years from March on, so that the leap day ends them.
    let (year, month) = if *month > 2 { (*year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}
