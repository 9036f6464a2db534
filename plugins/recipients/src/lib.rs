//! Recipient tables: refuses who is not there, and leads aliases to those who get their mail.
//!
//! This file asks the relay and carries the edits out; `expand` follows aliases, `entry` reads what tables say,
//! `settings` holds the operator's tables. A table that is wrong, or can't be read, defers mail; it never loses it.

mod entry;
mod expand;
mod settings;

use waypost_plugin::{
    Cached, Lifecycle, Mailbox, MessageVerdict, OnMessage, OnRcpt, Outcome, Recipient, SessionVerdict, Settings as _,
    context, log, metrics, raw_kv, reply,
};

use expand::{Edit, Fate, Trouble, Walk};
use settings::{Settings, Unknown};

/// The plugin.
#[derive(Debug)]
pub struct Recipients;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for Recipients {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnRcpt for Recipients {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let settings = SETTINGS.get()?;
        let fate = match fate(&candidate.mailbox, settings)? {
            Ok(fate) => fate,
            Err(verdict) => return Ok(verdict),
        };
        if !matches!(fate, Fate::NotOurs) {
            metrics::add("recipients", 1, &[("fate".to_owned(), fate.name().to_owned())])?;
        }
        Ok(match fate {
            Fate::Refuse(reply) => SessionVerdict::Reject(reply),
            Fate::Unknown(Unknown::Reject) => SessionVerdict::Reject(settings.unknown.clone()),
            Fate::Unknown(Unknown::Tempfail) => reply::tempfail(450, (4, 1, 1), "no such mailbox here at this time"),
            Fate::Unknown(Unknown::Proceed) | Fate::NotOurs | Fate::Deliver(_) | Fate::Discard => {
                SessionVerdict::Proceed
            }
        })
    }
}

impl OnMessage for Recipients {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        let transaction = context::current_transaction()?;
        let mut fates = Vec::new();
        for recipient in transaction.recipients() {
            match fate(&recipient.mailbox, settings)? {
                Ok(fate) => {
                    if matches!(fate, Fate::Discard) {
                        log::write(log::Level::Info, &format!("discarded for {}", recipient.mailbox), &[]);
                    }
                    fates.push((recipient, fate));
                }
                Err(verdict) => return Ok(verdict),
            }
        }
        for edit in expand::edits(&fates) {
            match edit {
                Edit::Rewrite(index, local_part, domain) => {
                    transaction.rewrite_recipient(index, &Mailbox { local_part, domain })?;
                }
                Edit::Add(local_part, domain) => {
                    transaction.add_recipient(&Mailbox { local_part, domain })?;
                }
                Edit::Remove(index) => transaction.remove_recipient(index)?,
            }
        }
        Ok(MessageVerdict::Proceed)
    }
}

/// The fate of a recipient, or the verdict where the tables are wrong.
fn fate<V: reply::Refusal>(recipient: &Mailbox, settings: &Settings) -> Outcome<Result<Fate, V>> {
    let mut walk = Walk::new(settings, |key| match &settings.kv {
        Some(bucket) => raw_kv::get_text(bucket, key).map_err(String::from),
        None => Ok(None),
    });
    let fate = walk.fate(recipient);
    if !walk.lost.is_empty() {
        let text = format!("{recipient} leads to {}, where nobody is", walk.lost.join(", "));
        log::write(log::Level::Warn, &text, &[]);
    }
    match fate {
        Ok(fate) => Ok(Ok(fate)),
        Err(Trouble::Plugin(why)) => Err(why),
        Err(Trouble::Tables(why)) => {
            log::write(log::Level::Error, &format!("{recipient}: {why}"), &[]);
            // RFC 3463 section 3.5: X.4.6 is a loop, and X.3.5 a system that is not set up right.
            Ok(Err(reply::tempfail(451, (4, 3, 5), "this address is not set up right, please try again later")))
        }
    }
}

waypost_plugin::export!(Recipients: lifecycle, on_rcpt, on_message);
