//! Rules in force on the queue: suspensions (what matches waits), and hold and bounce rules for mail to come.
//!
//! Stored with the messages, so that they outlive a restart; few, and kept in memory, so that mail costs one look where
//! there are none. Must never make a recipient leave the queue: it waits, is held, or is given up by a settlement.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::refusal;
use super::scan::Reach;
use super::{Command, Filter, Queue, QueueError, Record, Shared, keys};
use crate::store::{StoreError, Write};
use crate::time::Timestamp;

/// More than anybody keeps an eye on, few enough to be asked about each message.
const MOST: usize = 1000;

/// After a suspension is lifted, what waited for it is due within so long: not all at the same moment.
const SPREAD: Duration = Duration::from_secs(10);

/// Where those that wait could not be told, it is tried again so much later: sooner than anybody looks why they wait.
const AGAIN: Duration = Duration::from_secs(10);

/// Messages looked at in one step of lifting a suspension.
const LOOK: usize = 4096;

/// A rule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name: never used again.
    pub number: u32,
    /// What it does.
    pub kind: RuleKind,
    /// To whom.
    pub filter: Filter,
    /// Why, in the operator's words.
    pub reason: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none: until it is lifted.
    pub until: Option<Timestamp>,
    /// Who made it.
    pub by: Arc<str>,
    /// Being lifted: no longer in force, but what waits for it is still to be told.
    pub lifted: bool,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Recipients wait, without an attempt.
    Suspend,
    /// New recipients are held as they arrive.
    Hold,
    /// New recipients are given up as they arrive, and the sender is told.
    Bounce,
}

/// All of them, by number.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Arc<Rule>>);

/// Why a rule is not in force.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuleError {
    /// They are asked about each message.
    #[error("there are {0} rules in force already: lift some first")]
    TooMany(usize),
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stored form; the filter as text, which later versions read too.
#[derive(Serialize, Deserialize)]
struct Stored {
    number: u32,
    kind: RuleKind,
    filter: String,
    reason: Arc<str>,
    since: Timestamp,
    until: Option<Timestamp>,
    by: Arc<str>,
    lifted: bool,
}

impl Rule {
    /// True while it has a say.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        !self.lifted && self.until.is_none_or(|until| now < until)
    }

    fn write(&self) -> Write {
        let Self { number, kind, reason, since, until, by, lifted, .. } = self.clone();
        let stored = Stored { number, kind, filter: self.filter.to_string(), reason, since, until, by, lifted };
        // Plain data, which JSON always has room for.
        Write::Put { key: keys::rule(number), value: serde_json::to_vec(&stored).unwrap_or_default().into() }
    }

    fn read(value: &Bytes) -> Result<Self, String> {
        let Stored { number, kind, filter, reason, since, until, by, lifted } =
            serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let filter = Filter::parse(&filter).map_err(|error| format!("{filter:?}: {error}"))?;
        Ok(Self { number, kind, filter, reason, since, until, by, lifted })
    }
}

impl Rules {
    /// Those in force, by number.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Rule>> {
        self.0.iter().filter(move |rule| rule.is_in_force(now))
    }

    /// How many there are, with those that are over or being lifted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the rule of this number has a say.
    pub(super) fn has(&self, number: u32, now: Timestamp) -> bool {
        self.in_force(now).any(|rule| rule.number == number)
    }

    fn of(&self, kind: RuleKind, now: Timestamp) -> impl Iterator<Item = &Arc<Rule>> {
        self.in_force(now).filter(move |rule| rule.kind == kind)
    }
}

impl Queue {
    /// The rules there are.
    pub fn rules(&self) -> Arc<Rules> {
        self.shared.rules.load_full()
    }

    /// Recipients that are to wait, each with the suspension that says so. Nothing is asked where there is none.
    pub fn suspended(&self, record: &Record, recipients: &[u32]) -> Vec<(u32, Arc<Rule>)> {
        let rules = self.shared.rules.load();
        if rules.0.is_empty() {
            return Vec::new();
        }
        let sight = self.shared.sight(record);
        let suspended = record.recipients.iter().filter(|r| recipients.contains(&r.index)).filter_map(|recipient| {
            let mut rules = rules.of(RuleKind::Suspend, sight.now);
            rules.find(|rule| rule.filter.takes(sight, recipient)).map(|rule| (recipient.index, Arc::clone(rule)))
        });
        suspended.collect()
    }

    /// Puts a rule in force; durable when this returns.
    ///
    /// # Errors
    /// When there are too many already, or the store fails.
    pub async fn add_rule(
        self: &Arc<Self>,
        kind: RuleKind,
        filter: Filter,
        reason: Arc<str>,
        until: Option<Timestamp>,
        by: Arc<str>,
    ) -> Result<Arc<Rule>, RuleError> {
        let (number, since) = (0, self.shared.clock.now());
        let rule = Rule { number, kind, filter, reason, since, until, by, lifted: false };
        let queue = Arc::clone(self);
        // A task of its own: who asked may go away between the store's knowing of it and the queue's.
        let added = tokio::spawn(async move { queue.put_in_force(rule).await });
        added.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Gives the rule its number.
    async fn put_in_force(&self, rule: Rule) -> Result<Arc<Rule>, RuleError> {
        let _one_at_a_time = self.shared.changing_rules.lock().await;
        self.forget_ended(rule.since).await?;
        let before = self.rules();
        if before.0.len() >= MOST {
            return Err(RuleError::TooMany(MOST));
        }
        let number = self.shared.last_rule()? + 1;
        let rule = Arc::new(Rule { number, ..rule });
        let last = Write::Put { key: keys::rule(0), value: Bytes::copy_from_slice(&number.to_be_bytes()) };
        if let Err(error) = self.shared.store.commit(keys::TREE, vec![last, rule.write()]).await {
            self.shared.take_back(Write::Delete { key: keys::rule(number) });
            return Err(error.into());
        }
        let mut rules = Rules::clone(&before);
        rules.0.push(Arc::clone(&rule));
        self.shared.rules.store(Arc::new(rules));
        Ok(rule)
    }

    /// Lifts a rule; durable when this returns. What waits for a suspension is due again soon after. None: there is no
    /// such rule.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lift_rule(self: &Arc<Self>, number: u32) -> Result<Option<Arc<Rule>>, QueueError> {
        let queue = Arc::clone(self);
        // As above.
        let lifted = tokio::spawn(async move { queue.lift(number).await });
        lifted.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    async fn lift(self: &Arc<Self>, number: u32) -> Result<Option<Arc<Rule>>, QueueError> {
        let lifted = {
            let _one_at_a_time = self.shared.changing_rules.lock().await;
            let mut rules = Rules::clone(&self.rules());
            let Some(rule) = rules.0.iter_mut().find(|rule| rule.number == number && !rule.lifted) else {
                return Ok(None);
            };
            let lifted = Arc::new(Rule { lifted: true, ..Rule::clone(rule) });
            let before = std::mem::replace(rule, Arc::clone(&lifted));
            if let Err(error) = self.shared.store.commit(keys::TREE, vec![lifted.write()]).await {
                self.shared.take_back(before.write());
                return Err(error.into());
            }
            self.shared.rules.store(Arc::new(rules));
            lifted
        };
        self.finish_lifting();
        Ok(Some(lifted))
    }

    /// Has what waits for lifted suspensions due again, and forgets them; in the background. Also what an earlier run
    /// did not finish.
    pub(super) fn finish_lifting(self: &Arc<Self>) {
        let lifted: Vec<Arc<Rule>> = self.rules().0.iter().filter(|rule| rule.lifted).cloned().collect();
        if lifted.is_empty() {
            return;
        }
        let queue = Arc::downgrade(self);
        // Nobody waits for it: cut off by a shutdown, it is done again at the next start.
        let _background = tokio::spawn(async move {
            for rule in lifted {
                while let Some(queue) = queue.upgrade()
                    && let Err(error) = queue.finish(&rule).await
                {
                    tracing::error!(%error, rule = rule.number, "what waited for a suspension is not told of its end");
                    if let QueueError::Store(StoreError::Broken(_) | StoreError::Closed) = error {
                        return;
                    }
                    drop(queue);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
    }

    async fn finish(&self, rule: &Rule) -> Result<(), QueueError> {
        if rule.kind == RuleKind::Suspend {
            let filter = Filter::parked(rule.number);
            let mut reach = Reach { after: None, upto: Some(self.next_id()), look: LOOK, find: LOOK };
            let mut told = 0;
            loop {
                let again = Command::Reschedule { at: self.shared.clock.now(), spread: SPREAD };
                let changed = self.command_step(&filter, reach, &again).await?;
                told += changed.messages;
                match changed.next {
                    Some(next) => reach.after = Some(next),
                    None => break,
                }
            }
            tracing::info!(rule = rule.number, messages = told, "a suspension is over");
        }
        let _one_at_a_time = self.shared.changing_rules.lock().await;
        Ok(self.forget(&[rule.number]).await?)
    }

    /// Forgets rules whose time is over: what waited for them is due by itself.
    async fn forget_ended(&self, now: Timestamp) -> Result<(), StoreError> {
        let rules = self.rules();
        let ended = rules.0.iter().filter(|rule| !rule.lifted && !rule.is_in_force(now)).map(|rule| rule.number);
        let ended: Vec<u32> = ended.collect();
        if ended.is_empty() { Ok(()) } else { self.forget(&ended).await }
    }

    async fn forget(&self, numbers: &[u32]) -> Result<(), StoreError> {
        let writes = numbers.iter().map(|number| Write::Delete { key: keys::rule(*number) });
        self.shared.store.commit(keys::TREE, writes.collect()).await?;
        let mut rules = Rules::clone(&self.rules());
        rules.0.retain(|rule| !numbers.contains(&rule.number));
        self.shared.rules.store(Arc::new(rules));
        Ok(())
    }
}

impl Shared {
    /// What the rules for mail to come make of a message that arrives.
    pub(super) fn greet(&self, record: &mut Record) {
        let rules = self.rules.load();
        if rules.0.is_empty() {
            return;
        }
        let now = self.clock.now();
        for rule in rules.in_force(now).filter(|rule| rule.kind != RuleKind::Suspend) {
            let selected = rule.filter.select(self.sight(record));
            if selected.is_empty() {
                continue;
            }
            tracing::info!(queue_id = %record.id, rule = rule.number, recipients = selected.len(), "a rule takes new mail");
            let whole = selected.len() == record.recipients.len();
            match rule.kind {
                RuleKind::Hold if whole => record.held = Some(Arc::clone(&rule.reason)),
                kind => {
                    for recipient in record.recipients.iter_mut().filter(|r| selected.contains(&r.index)) {
                        match kind {
                            RuleKind::Hold => recipient.state.held = Some(Arc::clone(&rule.reason)),
                            _ => recipient.state.last = Some(refusal(recipient.index, &rule.reason, now)),
                        }
                    }
                }
            }
        }
    }

    /// Reads what an earlier run stored.
    pub(super) fn recover_rules(&self) -> Result<(), QueueError> {
        let mut rules = Rules::default();
        for (key, value) in self.store.range(keys::TREE, &keys::rule(1), &keys::end(b'r'), MOST)? {
            match Rule::read(&value) {
                Ok(rule) => rules.0.push(Arc::new(rule)),
                // It stays where it is, for a program that can read it.
                Err(why) => tracing::error!(?key, why, "a rule of the queue can't be read, and is not in force"),
            }
        }
        self.rules.store(Arc::new(rules));
        Ok(())
    }

    /// Takes back what a batch that failed may have left: who asked was told that nothing came of it.
    fn take_back(&self, write: Write) {
        if let Err(error) = self.store.ride(keys::TREE, vec![write]) {
            tracing::error!(%error, "a change of the rules that failed may be in force after a restart");
        }
    }

    fn last_rule(&self) -> Result<u32, StoreError> {
        let value = self.store.get(keys::TREE, &keys::rule(0))?;
        Ok(value.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u32::from_be_bytes))
    }
}
