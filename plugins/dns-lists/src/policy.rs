//! What is made of the lists' answers. Pure: no host, no clock.

use serde::{Deserialize, Serialize};

use crate::settings::{List, Settings};

/// One listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hit {
    /// Name of the list.
    pub(crate) list: String,
    pub(crate) weight: i32,
    /// Address or domain that is listed.
    pub(crate) what: String,
    /// The address the list answered with.
    pub(crate) code: String,
}

/// What lists of one kind said of one thing; kept as a note with the connection, so that they are asked once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Address or domain that was looked up.
    pub(crate) what: String,
    pub(crate) hits: Vec<Hit>,
    /// Names of lists that could not be asked.
    pub(crate) failed: Vec<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to complain of.
    Pass,
    /// An allow list speaks for it.
    Allow,
    Mark,
    Tempfail,
    Reject,
    /// Lists did not answer, and the operator wants to wait for them.
    Unsure,
}

impl Verdict {
    /// As it stands in metrics and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Allow => "allow",
            Self::Mark => "mark",
            Self::Tempfail => "tempfail",
            Self::Reject => "reject",
            Self::Unsure => "unsure",
        }
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) score: i32,
    /// The heaviest listing first.
    pub(crate) hits: Vec<Hit>,
}

/// Judges by what allow lists and block lists said. A single allow list that speaks for the client wins over all others.
pub(crate) fn judge(allowed: &[Found], blocked: &[Found], settings: &Settings) -> Judgement {
    let speakers: Vec<Hit> = allowed.iter().flat_map(|found| found.hits.iter().cloned()).collect();
    if !speakers.is_empty() {
        return Judgement { verdict: Verdict::Allow, score: 0, hits: speakers };
    }
    let mut hits: Vec<Hit> = blocked.iter().flat_map(|found| found.hits.iter().cloned()).collect();
    // The sort is stable: lists of equal weight stay in the operator's order.
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.weight));
    let score = hits.iter().fold(0_i32, |sum, hit| sum.saturating_add(hit.weight));
    let reaches = |threshold: Option<i32>| threshold.is_some_and(|threshold| score >= threshold);
    let failed = allowed.iter().chain(blocked).any(|found| !found.failed.is_empty());
    let verdict = if reaches(settings.reject_at) {
        Verdict::Reject
    } else if reaches(settings.tempfail_at) {
        Verdict::Tempfail
    } else if failed && settings.wait_for_lists {
        Verdict::Unsure
    } else if reaches(settings.mark_at) {
        Verdict::Mark
    } else {
        Verdict::Pass
    };
    Judgement { verdict, score, hits }
}

/// Where a list keeps a domain, if it can hold it: address literals and single labels are in none.
pub(crate) fn domain_name(domain: &str, zone: &str) -> Option<String> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let plain = domain.contains('.')
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        // An address without brackets is no name either.
        && !domain.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    // RFC 1035 section 2.3.4: a name has at most 253 characters as it is written.
    (plain && domain.len() + 1 + zone.len() <= 253).then(|| format!("{domain}.{zone}"))
}

/// Where a list keeps an address (RFC 5782 sections 2.1 and 2.4), for its text: the relay itself looks the address up.
pub(crate) fn address_name(address: std::net::IpAddr, zone: &str) -> String {
    let labels: Vec<String> = match address.to_canonical() {
        std::net::IpAddr::V4(v4) => v4.octets().iter().rev().map(ToString::to_string).collect(),
        std::net::IpAddr::V6(v6) => {
            v6.octets().iter().rev().flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)]).collect()
        }
    };
    format!("{}.{zone}", labels.join("."))
}

/// Longest text of a list that is repeated to the client, in characters: it has to fit a reply line.
const TEXT_MAX: usize = 200;

/// A list's own words, fit for a reply: one line of printable ASCII.
pub(crate) fn tidy(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.trim().chars().take(TEXT_MAX).map(plain).collect()
}

/// Puts the facts in for the names in braces.
pub(crate) fn filled(template: &str, hit: &Hit, ip: &str, txt: &str) -> String {
    // The list's own words come last, so that braces in them stay what they are.
    template
        .replace("{ip}", ip)
        .replace("{list}", &hit.list)
        .replace("{what}", &hit.what)
        .replace("{code}", &hit.code)
        .replace("{txt}", if txt.is_empty() { "no reason is given" } else { txt })
}

/// The value of the header field, e.g. `score=3; list="zen" what="192.0.2.1" code=127.0.0.2`.
pub(crate) fn header(judgement: &Judgement) -> String {
    let mut value = format!("score={}", judgement.score);
    for hit in &judgement.hits {
        value.push_str(&format!("; list=\"{}\" what=\"{}\" code={}", hit.list, tidy(&hit.what), hit.code));
    }
    value
}

/// Of which lists a reply may speak: the first that gives a reason of its own, else the heaviest.
pub(crate) fn decisive<'a>(judgement: &'a Judgement, settings: &'a Settings) -> Option<(&'a Hit, Option<&'a List>)> {
    let hit = judgement.hits.first()?;
    Some((hit, settings.list(&hit.list)))
}

#[cfg(test)]
mod tests;
