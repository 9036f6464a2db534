//! Why recipients were deferred in the last ten minutes: counts by what the next hop said, a bounded number of them.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Minutes that count.
const MINUTES: u64 = 10;
/// Reasons of one minute; what is said beyond them is counted as one.
const REASONS: usize = 200;
/// Characters of a reason.
const LONG: usize = 160;
/// What those beyond are called.
const OTHERS: &str = "other reasons";

#[derive(Debug, Default)]
pub(super) struct Reasons(Mutex<Vec<Minute>>);

#[derive(Debug)]
struct Minute {
    at: u64,
    counts: HashMap<String, u64>,
}

impl Reasons {
    pub(super) fn add(&self, reason: &str, minute: u64) {
        let mut minutes = self.0.lock();
        minutes.retain(|m| m.at + MINUTES > minute && m.at <= minute);
        if minutes.last().is_none_or(|m| m.at != minute) {
            minutes.push(Minute { at: minute, counts: HashMap::new() });
        }
        let Some(Minute { counts, .. }) = minutes.last_mut() else { return };
        let reason: String = alike(reason);
        let known = counts.contains_key(&reason) || counts.len() < REASONS;
        *counts.entry(if known { reason } else { OTHERS.to_owned() }).or_default() += 1;
    }

    pub(super) fn top(&self, most: usize, minute: u64) -> Vec<(String, u64)> {
        let mut all: HashMap<String, u64> = HashMap::new();
        for m in self.0.lock().iter().filter(|m| m.at + MINUTES > minute) {
            for (reason, count) in &m.counts {
                *all.entry(reason.clone()).or_default() += count;
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(most);
        all
    }
}

/// Ids and addresses differ from mail to mail: words with a digit and an `@`, and long ones with digits, become `…`.
fn alike(reason: &str) -> String {
    let digits = |word: &str| word.bytes().filter(u8::is_ascii_digit).count();
    let own = |word: &str| word.contains('@') || (word.len() >= 10 && digits(word) >= 3);
    let words = reason.split_whitespace().map(|word| if own(word) { "…" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(LONG).collect()
}
