//! `[queue.quotas.NAME]`: how much mail of one sender, tenant or the like may wait at a time.

use std::sync::Arc;

use crate::config::raw::{Table, Value};
use crate::queue::{Per, Quota};

const KIB: u64 = 1 << 10;
const TIB: u64 = 1 << 40;

/// Each message is held against each of them.
const MOST: usize = 100;

const PER: &str = "write \"tenant\", \"campaign\", \"sender\", \"sender-domain\", \"domain\", \"identity\", \"listener\", \
                   \"client\" or \"annotation.KEY\"";

/// All of them.
pub(super) fn quotas(table: &Table<'_>) -> Vec<Quota> {
    let named = table.named("quotas");
    if let Some((_, value)) = named.get(MOST) {
        value.wrong(format!("more than {MOST} quotas"), "one quota holds for each value of what it is per");
    }
    named.into_iter().filter_map(|(name, value)| quota(name, &value)).collect()
}

fn quota(name: Arc<str>, value: &Value<'_>) -> Option<Quota> {
    let table = value.table()?;
    let (messages, octets) = (table.get("max-messages"), table.get("max-bytes"));
    if messages.is_none() && octets.is_none() {
        table.wrong("limits nothing", "give it max-messages, max-bytes or both");
    }
    if table.get("per").is_none() {
        table.missing("per", PER);
    }
    let per = table
        .parsed("per", |text| Per::parse(text).ok_or_else(|| (format!("{text:?} is none of those"), PER.to_owned())));
    let values = |key| values(&table, key, per.as_ref());
    let (only, except) = (values("only"), values("except"));
    let quota = Quota {
        name,
        only,
        except,
        messages: messages.and_then(|value| value.integer(1..=1_000_000_000)),
        octets: octets.and_then(|value| value.size(KIB..=1024 * TIB)),
        per: per.clone()?,
    };
    table.finish();
    Some(quota)
}

/// As mail has them: a value that none can have would hold for nothing, and nobody would see why.
fn values(table: &Table<'_>, key: &'static str, per: Option<&Per>) -> Vec<Arc<str>> {
    let read = |value: &Value<'_>| {
        value.parsed(|text| {
            let Some(per) = per else { return Ok(text.into()) };
            let help = match per {
                Per::Sender => "write an address, such as \"ann@example.org\"",
                Per::SenderDomain | Per::Domain => {
                    "write a domain, such as \"example.org\", or \".example.org\" for all below it"
                }
                Per::Client => "write an address, such as \"192.0.2.1\"",
                _ => "write a text that is not empty",
            };
            per.normal(text).ok_or_else(|| (format!("{text:?} is no {}", per.word()), help.to_owned()))
        })
    };
    table.array(key).iter().filter_map(read).collect()
}
