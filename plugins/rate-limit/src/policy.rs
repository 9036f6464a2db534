//! Keys, windows and thresholds of limits. Pure: no host, no clock; `now` is passed in.

use std::net::IpAddr;

use waypost_plugin::{Mailbox, Network, Reply};

use crate::settings::{By, Count, Limit, Settings, Who};

/// What is known when something is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// None for a local socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) listener: String,
    /// In lower case.
    pub(crate) account: Option<String>,
    pub(crate) may_relay: bool,
    /// None for the null sender, and where it is not known yet.
    pub(crate) sender: Option<Mailbox>,
    pub(crate) recipient: Option<Mailbox>,
}

/// Where something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Station {
    Connect,
    Mail,
    Rcpt,
}

/// True if a limit counts at this station: connections at connect; messages at MAIL, or at RCPT where a recipient has to be
/// known; recipients at RCPT.
pub(crate) fn counts_at(limit: &Limit, station: Station) -> bool {
    let by_recipient = limit.by.iter().any(|by| by.needs_recipient());
    station
        == match limit.count {
            Count::Connections => Station::Connect,
            Count::Messages if !by_recipient => Station::Mail,
            Count::Messages | Count::Recipients => Station::Rcpt,
        }
}

/// The key that a limit counts under; none where it is not about this client, or something is not known.
pub(crate) fn key(limit: &Limit, facts: &Facts, settings: &Settings) -> Option<String> {
    let concerns = match limit.who {
        Who::Anyone => true,
        Who::Authenticated => facts.account.is_some(),
        Who::Unauthenticated => facts.account.is_none(),
    };
    let parts: Option<Vec<String>> = limit.by.iter().map(|by| part(*by, facts, settings)).collect();
    parts.filter(|_| concerns).map(|parts| parts.join(" "))
}

fn part(by: By, facts: &Facts, settings: &Settings) -> Option<String> {
    let domain = |mailbox: &Mailbox| mailbox.domain.clone();
    let whole = |mailbox: &Mailbox| mailbox.to_string().to_lowercase();
    match by {
        By::Client => facts.address.map(|address| address.to_canonical().to_string()),
        By::Network => facts.address.map(|a| Network::around(a, settings.network_v4, settings.network_v6).to_string()),
        By::Sender => facts.sender.as_ref().map(whole),
        By::SenderDomain => facts.sender.as_ref().map(domain),
        By::Account => facts.account.clone(),
        By::Recipient => facts.recipient.as_ref().map(whole),
        By::RecipientDomain => facts.recipient.as_ref().map(domain),
        By::Listener => Some(facts.listener.clone()),
        By::Everybody => Some("everybody".to_owned()),
    }
}

/// Octets of a key in the relay's services (512), less what stands before it.
const KEY_MAX: usize = 400;

/// The name of a counter: limit and key. A key that is too long is cut and gets a checksum of the whole.
pub(crate) fn counter(limit: &Limit, key: &str) -> String {
    if key.len() <= KEY_MAX {
        return format!("{}:{key}", limit.name);
    }
    let cut: String = key.chars().take(KEY_MAX / 4).collect();
    format!("{}:{cut}#{:016x}", limit.name, checksum(key))
}

/// FNV-1a: well spread and the same in every version. It guards against nothing but chance.
pub(crate) fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The period of a quota that an instant lies in: when it began, and seconds until it ends.
pub(crate) fn window(now: i64, period_seconds: u32) -> (i64, u32) {
    let period = i64::from(period_seconds.max(1));
    let begin = now.div_euclid(period) * period;
    (begin, u32::try_from(begin + period - now).unwrap_or(period_seconds))
}

/// True if this use is the one that passed the threshold: the log then says so once, not at every use.
pub(crate) fn crosses(limit: &Limit, used: u32, cost: u32, of: u32) -> bool {
    let Some(percent) = limit.warn_at else { return false };
    let threshold = u64::from(of).saturating_mul(u64::from(percent)).div_ceil(100);
    u64::from(used) >= threshold && u64::from(used.saturating_sub(cost)) < threshold
}

/// The reply to who is past a limit.
pub(crate) fn refusal(limit: &Limit, key: &str, wait_seconds: u32) -> Reply {
    let mut reply = limit.reply.clone();
    for line in &mut reply.lines {
        *line = line.replace("{wait}", &wait_seconds.max(1).to_string()).replace("{key}", key);
    }
    reply
}

/// Most octets of the note that remembers what was counted in a transaction.
const NOTE_MAX: usize = 12 * 1024;

/// What was counted in a transaction already, so that a recipient given twice and the second recipient of a domain cost
/// nothing. Kept as a note with the connection: the transaction's id, then the checksums.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    text: String,
}

impl Counted {
    /// Reads the note; that of another transaction is forgotten.
    pub(crate) fn read(note: Option<String>, transaction: &str) -> Self {
        let own = note.filter(|note| note.split(' ').next() == Some(transaction));
        Self { text: own.unwrap_or_else(|| transaction.to_owned()) }
    }

    /// True if this was counted before.
    pub(crate) fn has(&self, counter: &str) -> bool {
        let mark = mark(counter);
        self.text.split(' ').skip(1).any(|known| known == mark)
    }

    /// Remembers that this was counted. Past the note's size it does not: more is counted then, never less.
    pub(crate) fn add(&mut self, counter: &str) {
        if self.text.len() < NOTE_MAX {
            self.text.push(' ');
            self.text.push_str(&mark(counter));
        }
    }

    /// The note.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

fn mark(counter: &str) -> String {
    let sum = checksum(counter);
    format!("{:x}", (sum ^ (sum >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests;
