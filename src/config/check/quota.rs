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
    let per = |text: &str| Per::parse(text).ok_or_else(|| (format!("{text:?} is none of those"), PER.to_owned()));
    // As mail is told apart: upper and lower case are the same.
    let values = |key| {
        let text = |value: &Value<'_>| value.text().map(|text| Arc::from(text.to_ascii_lowercase()));
        table.array(key).iter().filter_map(text).collect()
    };
    let (messages, octets) = (table.get("max-messages"), table.get("max-bytes"));
    if messages.is_none() && octets.is_none() {
        table.wrong("limits nothing", "give it max-messages, max-bytes or both");
    }
    if table.get("per").is_none() {
        table.missing("per", PER);
    }
    let quota = Quota {
        name,
        per: table.parsed("per", per)?,
        only: values("only"),
        except: values("except"),
        messages: messages.and_then(|value| value.integer(1..=1_000_000_000)),
        octets: octets.and_then(|value| value.size(KIB..=1024 * TIB)),
    };
    table.finish();
    Some(quota)
}
