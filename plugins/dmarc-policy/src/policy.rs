//! What is done about what sender authentication found. Pure: findings in, an action out.
//!
//! There is no sampling: the policies of today (RFC 9989) no longer have a percentage, and a message that fails is
//! treated like the next one that does.

use std::net::IpAddr;

use crate::settings::{Action, Settings};

/// A result, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pass,
    Fail,
    /// Could not be found out now.
    Unsure,
    /// Anything else: nothing was checked, or nothing can be said.
    Open,
}

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    Quarantine,
    Reject,
}

/// What is known of a message.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    pub(crate) dmarc: Status,
    /// Empty where the From field names not exactly one domain.
    pub(crate) from_domain: String,
    pub(crate) wish: Wish,
    pub(crate) spf: Status,
    /// The ARC chain passed, and this domain sealed it last.
    pub(crate) sealer: Option<String>,
    /// None for a local socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) client_name: Option<String>,
}

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Passed,
    /// The policy of the From domain.
    Dmarc,
    /// No single From domain.
    BadFrom,
    Spf,
    Unsure,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    pub(crate) reason: Reason,
    /// The exception that was made, if one was.
    pub(crate) exception: Option<&'static str>,
}

impl Decision {
    fn new(action: Action, reason: Reason) -> Self {
        Self { action, reason, exception: None }
    }
}

/// Decides.
pub(crate) fn decide(findings: &Findings, settings: &Settings) -> Decision {
    let wished = wished(findings, settings);
    if matches!(wished.action, Action::Proceed | Action::Mark) {
        return wished;
    }
    match exception(findings, settings) {
        // Who made the exception wants to see where it was needed.
        Some(exception) => Decision { action: Action::Mark, exception: Some(exception), ..wished },
        None => wished,
    }
}

fn wished(findings: &Findings, settings: &Settings) -> Decision {
    let dmarc = match findings.dmarc {
        Status::Pass => return Decision::new(Action::Proceed, Reason::Passed),
        Status::Unsure => Decision::new(settings.temperror, Reason::Unsure),
        // Without a domain there is no policy to ask for anything, and no way to hold anybody to one.
        Status::Open | Status::Fail if findings.from_domain.is_empty() => {
            Decision::new(settings.bad_from, Reason::BadFrom)
        }
        Status::Fail => {
            let action = match findings.wish {
                Wish::Reject => settings.on_reject,
                Wish::Quarantine => settings.on_quarantine,
                Wish::None => settings.on_none,
            };
            Decision::new(action, Reason::Dmarc)
        }
        Status::Open => Decision::new(Action::Proceed, Reason::Passed),
    };
    // SPF alone speaks of the reverse-path, which forwarding breaks, so it never outweighs a DMARC that passes.
    if findings.spf == Status::Fail && weight(settings.spf_fail) > weight(dmarc.action) {
        return Decision::new(settings.spf_fail, Reason::Spf);
    }
    dmarc
}

/// Of two actions, the stricter one is done.
fn weight(action: Action) -> u8 {
    match action {
        Action::Proceed => 0,
        Action::Mark => 1,
        Action::Quarantine => 2,
        Action::Tempfail => 3,
        Action::Reject => 4,
    }
}

fn exception(findings: &Findings, settings: &Settings) -> Option<&'static str> {
    let found = |domain: &Option<String>, table: &waypost_plugin::DomainTable<()>| {
        domain.as_ref().is_some_and(|domain| table.find(&domain.to_ascii_lowercase()).is_some())
    };
    if found(&findings.sealer, &settings.trusted_sealers) {
        return Some("arc");
    }
    if findings.address.is_some_and(|address| settings.allow_networks.iter().any(|n| n.contains(address))) {
        return Some("network");
    }
    if found(&findings.client_name, &settings.allow_client_names) {
        return Some("client-name");
    }
    let from = Some(findings.from_domain.clone()).filter(|domain| !domain.is_empty());
    found(&from, &settings.allow_domains).then_some("domain")
}

/// The server that an Authentication-Results value claims to be of (RFC 8601 section 2.2): its first word, perhaps in quotes,
/// after comments. None where there is none.
pub(crate) fn authserv_id(value: &str) -> Option<String> {
    let mut rest = value.trim_start();
    while let Some(inside) = rest.strip_prefix('(') {
        rest = after_comment(inside)?.trim_start();
    }
    let id: String = match rest.strip_prefix('"') {
        Some(quoted) => {
            let mut id = String::new();
            let mut characters = quoted.chars();
            loop {
                match characters.next()? {
                    '"' => break id,
                    '\\' => id.push(characters.next()?),
                    c => id.push(c),
                }
            }
        }
        None => rest.chars().take_while(|c| !c.is_whitespace() && !";(".contains(*c)).collect(),
    };
    (!id.is_empty()).then(|| id.trim_end_matches('.').to_ascii_lowercase())
}

/// What follows a comment whose parenthesis has been opened; comments nest.
fn after_comment(inside: &str) -> Option<&str> {
    let mut depth = 1_usize;
    let mut characters = inside.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inside.get(at + 1..);
        }
    }
    None
}

#[cfg(test)]
mod tests;
