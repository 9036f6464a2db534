//! From a recipient to those who get its mail. Pure: what is in kv comes through a function.
//!
//! Every walk ends: an address is not entered twice on one way, ways have a greatest length, and the number of
//! recipients is bounded. Tables in kv are written by programs, and a program can be wrong.

use waypost_plugin::{Mailbox, Recipient, Reply};

use crate::entry::{Entry, Target, entry};
use crate::settings::{Domain, Settings, Unknown};

/// What becomes of a recipient.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// In a domain of others.
    NotOurs,
    /// To these; it may be the recipient itself.
    Deliver(Vec<Mailbox>),
    Discard,
    Refuse(Reply),
    Unknown(Unknown),
}

impl Fate {
    /// As it stands in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NotOurs => "not-ours",
            Self::Deliver(_) => "deliver",
            Self::Discard => "discard",
            Self::Refuse(_) => "refuse",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The tables are wrong; somebody has to mend them.
    Tables(String),
    /// kv can't be asked.
    Plugin(String),
}

/// One recipient's way through the tables.
pub(crate) struct Walk<'a, F> {
    settings: &'a Settings,
    /// What kv has under a key.
    stored: F,
    found: Vec<Mailbox>,
    /// Targets that are nobody.
    pub(crate) lost: Vec<String>,
    discarded: bool,
}

/// An entry, the local part that it was found under, and whether that came from kv.
struct Match {
    entry: Entry,
    base: String,
    from_kv: bool,
}

impl<'a, F: FnMut(&str) -> Result<Option<String>, String>> Walk<'a, F> {
    pub(crate) fn new(settings: &'a Settings, stored: F) -> Self {
        Self { settings, stored, found: Vec::new(), lost: Vec::new(), discarded: false }
    }

    /// What becomes of a recipient.
    pub(crate) fn fate(&mut self, recipient: &Mailbox) -> Result<Fate, Trouble> {
        let Some((name, domain)) = self.settings.find(&recipient.domain) else { return Ok(Fate::NotOurs) };
        let Some(found) = self.look_up(&recipient.local_part, name, domain)? else {
            return Ok(Fate::Unknown(domain.unknown));
        };
        if let Entry::Refuse(reply) = found.entry {
            return Ok(Fate::Refuse(reply));
        }
        let start = Mailbox { local_part: recipient.local_part.clone(), domain: name.to_owned() };
        let mut way = vec![start.to_string().to_lowercase()];
        self.follow(&start, domain, found, &mut way)?;
        if !self.found.is_empty() {
            return Ok(Fate::Deliver(std::mem::take(&mut self.found)));
        }
        Ok(if self.discarded { Fate::Discard } else { Fate::Unknown(domain.unknown) })
    }

    fn follow(&mut self, at: &Mailbox, domain: &Domain, found: Match, way: &mut Vec<String>) -> Result<(), Trouble> {
        match found.entry {
            Entry::Mailbox => {
                let local_part = if domain.keep_detail { at.local_part.clone() } else { found.base };
                self.deliver(Mailbox { local_part, domain: at.domain.clone() })
            }
            Entry::Discard => {
                self.discarded = true;
                Ok(())
            }
            // Behind an alias there is nobody left to be told.
            Entry::Refuse(_) => {
                self.lost.push(at.to_string());
                Ok(())
            }
            Entry::Forward(targets) => {
                for target in targets {
                    let to = match target {
                        Target::Local(local_part) => Mailbox { local_part, domain: at.domain.clone() },
                        Target::Address(mailbox) => mailbox,
                        Target::SameIn(domain) => Mailbox { local_part: at.local_part.clone(), domain },
                    };
                    self.enter(to, at, found.from_kv, way)?;
                }
                Ok(())
            }
        }
    }

    fn enter(&mut self, to: Mailbox, from: &Mailbox, from_kv: bool, way: &mut Vec<String>) -> Result<(), Trouble> {
        let Some((name, domain)) = self.settings.find(&to.domain) else {
            if from_kv && !self.settings.kv_outside {
                return Err(Trouble::Tables(format!("{from} in kv leads out to {to}, and kv-outside is false")));
            }
            return self.deliver(to);
        };
        let to = Mailbox { local_part: to.local_part, domain: name.to_owned() };
        let key = to.to_string().to_lowercase();
        if way.last() == Some(&key) {
            // An alias that names itself keeps a copy.
            return self.deliver(to);
        }
        if way.contains(&key) {
            return Err(Trouble::Tables(format!("it leads back to {key}")));
        }
        if way.len() > self.settings.depth {
            return Err(Trouble::Tables(format!("more than {} aliases follow one another", self.settings.depth)));
        }
        let Some(found) = self.look_up(&to.local_part, name, domain)? else {
            self.lost.push(key);
            return Ok(());
        };
        way.push(key);
        let followed = self.follow(&to, domain, found, way);
        way.pop();
        followed
    }

    fn deliver(&mut self, mailbox: Mailbox) -> Result<(), Trouble> {
        if self.found.iter().any(|known| same(known, &mailbox)) {
            return Ok(());
        }
        if self.found.len() >= self.settings.expansion {
            return Err(Trouble::Tables(format!("it leads to more than {} recipients", self.settings.expansion)));
        }
        self.found.push(mailbox);
        Ok(())
    }

    /// The entry for a local part: itself, then without its detail, then by wildcards, then the catch-all.
    fn look_up(&mut self, local_part: &str, name: &str, domain: &Domain) -> Result<Option<Match>, Trouble> {
        let lower = local_part.to_lowercase();
        for base in bases(&lower, &domain.separators) {
            // Lower case may have other lengths: what is kept is cut from the lower-case form then.
            let kept = local_part.get(..base.len()).filter(|kept| kept.to_lowercase() == base).unwrap_or(base);
            if let Some(entry) = domain.entries.get(base) {
                return Ok(Some(Match { entry: entry.clone(), base: kept.to_owned(), from_kv: false }));
            }
            if let Some(entry) = self.stored(&format!("{base}@{name}"))? {
                return Ok(Some(Match { entry, base: kept.to_owned(), from_kv: true }));
            }
        }
        let whole = |entry: &Entry, from_kv| Match { entry: entry.clone(), base: local_part.to_owned(), from_kv };
        let fits = |(before, after, _): &&(String, String, Entry)| {
            lower.len() >= before.len() + after.len() && lower.starts_with(before) && lower.ends_with(after)
        };
        if let Some((_, _, entry)) = domain.wildcards.iter().find(fits) {
            return Ok(Some(whole(entry, false)));
        }
        if lower == "postmaster" {
            // RFC 5321 section 4.5.1: it is always there.
            return Ok(Some(whole(&Entry::Mailbox, false)));
        }
        if let Some(entry) = &domain.catch_all {
            return Ok(Some(whole(entry, false)));
        }
        Ok(self.stored(&format!("@{name}"))?.map(|entry| whole(&entry, true)))
    }

    fn stored(&mut self, key: &str) -> Result<Option<Entry>, Trouble> {
        let Some(text) = (self.stored)(key).map_err(Trouble::Plugin)? else { return Ok(None) };
        entry(&text).map(Some).map_err(|why| Trouble::Tables(format!("{key} in kv: {why}")))
    }
}

/// The local part, then what is left of it as details are cut off, the shortest detail first.
fn bases<'a>(local_part: &'a str, separators: &str) -> Vec<&'a str> {
    let cuts = local_part.char_indices().rev().filter(|(at, c)| *at > 0 && separators.contains(*c));
    std::iter::once(local_part).chain(cuts.filter_map(|(at, _)| local_part.get(..at))).collect()
}

fn same(one: &Mailbox, other: &Mailbox) -> bool {
    one.domain == other.domain && one.local_part.to_lowercase() == other.local_part.to_lowercase()
}

/// A change to the envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Rewrite(u32, String, String),
    Add(String, String),
    Remove(u32),
}

/// The changes that bring the envelope in line with the fates. Nobody is written to twice.
pub(crate) fn edits(recipients: &[(Recipient, Fate)]) -> Vec<Edit> {
    let stays = |recipient: &Recipient, fate: &Fate| match fate {
        Fate::Deliver(to) => to.iter().any(|mailbox| {
            mailbox.local_part == recipient.mailbox.local_part && mailbox.domain == recipient.mailbox.domain
        }),
        Fate::Discard => false,
        // What changed since RCPT is no reason to lose anybody.
        Fate::NotOurs | Fate::Refuse(_) | Fate::Unknown(_) => true,
    };
    let mut present: Vec<Mailbox> =
        recipients.iter().filter(|(r, fate)| stays(r, fate)).map(|(r, _)| r.mailbox.clone()).collect();
    let mut edits = Vec::new();
    for (recipient, fate) in recipients {
        let to = match fate {
            Fate::Deliver(to) => to.as_slice(),
            Fate::Discard => &[],
            Fate::NotOurs | Fate::Refuse(_) | Fate::Unknown(_) => continue,
        };
        let mut free = !stays(recipient, fate);
        for mailbox in to {
            if present.iter().any(|known| same(known, mailbox)) {
                continue;
            }
            present.push(mailbox.clone());
            let (local, domain) = (mailbox.local_part.clone(), mailbox.domain.clone());
            // The first keeps the recipient's parameters (RFC 3461 section 5.2.3).
            edits.push(if free { Edit::Rewrite(recipient.index, local, domain) } else { Edit::Add(local, domain) });
            free = false;
        }
        if free {
            edits.push(Edit::Remove(recipient.index));
        }
    }
    edits
}

#[cfg(test)]
mod tests;
