//! What operators do to the queue, with the log of who did it.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::admin::{HistoryForm, Peer, Shown};
use crate::history::Query;
use crate::mail::QueueId;
use crate::queue::{Changed, Command, Filter, Incoming, QueueError, Reach, Rule, RuleKind, Sight};
use crate::time::Timestamp;

/// For the operator.
pub(super) fn said(error: QueueError) -> Vec<String> {
    vec![error.to_string()]
}

impl Inner {
    /// Messages that left the queue.
    pub(super) async fn finished(&self, which: HistoryForm) -> Result<(Vec<serde_json::Value>, bool), Vec<String>> {
        let now = self.clock.now();
        let ago = |secs: u64| now.minus(Duration::from_secs(secs));
        let HistoryForm { id, sender, recipient, failed, since_secs, until_secs, oldest, limit } = which;
        let (since, until) = (since_secs.map(ago), until_secs.map(ago));
        let query = Query { id, sender, recipient, failed, since, until, oldest, limit };
        let history = self.finished.clone();
        let found = tokio::task::spawn_blocking(move || history.find(&query)).await.map_err(|e| vec![e.to_string()])?;
        let found = found.map_err(|error| vec![format!("the history: {error}")])?;
        Ok((found.messages, found.more))
    }

    /// Gives up what was held for too long, every now and then: whoever goes through the queue reads all of it.
    pub(super) async fn expire_held(&self, minutes: &mut u32) {
        const EVERY: u32 = 15;
        let Some(most) = self.started.queue.bounds.held else { return };
        *minutes = minutes.wrapping_add(1);
        if *minutes % EVERY != 1 {
            return;
        }
        let filter = Filter::parse(&format!("held and age > {}s", most.as_secs()));
        let Ok(filter) = filter else { return };
        match self.queue.command(&filter, Command::Bounce("it was held for too long".into())).await {
            Ok(0) => {}
            Ok(messages) => tracing::warn!(target: "audit", messages, "held for too long: given up"),
            Err(error) => tracing::error!(%error, "what is held for too long can't be given up"),
        }
    }

    pub(super) async fn show(&self, id: QueueId) -> Result<Option<Shown>, Vec<String>> {
        let Some((record, head)) = self.queue.show(id).await.map_err(said)? else { return Ok(None) };
        let ways = self.queue.ways();
        let sight = Sight { record: &record, now: self.clock.now(), ways: &*ways };
        let routes = record.recipients.iter().map(|recipient| sight.route(recipient)).collect();
        Ok(Some(Shown { routes, leased: self.queue.leased(id), rules: self.queue.rules(), record, head }))
    }

    pub(super) async fn import(&self, by: Peer, incoming: Incoming) -> Result<bool, Vec<String>> {
        let (id, sender) = (incoming.record.id, incoming.record.sender.clone());
        let taken = self.queue.import(incoming).await.map_err(said)?;
        if taken {
            tracing::info!(target: "audit", %by, queue_id = %id, %sender, "an operator brought a message back");
        }
        Ok(taken)
    }

    pub(super) async fn command(
        &self,
        by: Peer,
        filter: Filter,
        reach: Reach,
        command: Command,
    ) -> Result<Changed, Vec<String>> {
        if matches!(command, Command::Retry { .. }) && reach.after.is_none() {
            // Once, and before any of it is due: it would only hear that the next hop could not be reached.
            self.dispatcher.look_again();
        }
        let changed = self.queue.command_step(&filter, reach, &command).await.map_err(said)?;
        if changed.messages > 0 || changed.failed > 0 {
            let Changed { messages, recipients, failed, .. } = changed;
            tracing::info!(target: "audit", %by, %filter, ?command, messages, recipients, failed,
                "an operator changed the queue");
        }
        Ok(changed)
    }

    pub(super) async fn add_rule(
        &self,
        by: Peer,
        kind: RuleKind,
        filter: Filter,
        reason: Arc<str>,
        until: Option<Timestamp>,
    ) -> Result<Arc<Rule>, Vec<String>> {
        let rule = self.queue.add_rule(kind, filter, reason, until, by.to_string().into()).await;
        let rule = rule.map_err(|error| vec![error.to_string()])?;
        let until = until.map(Timestamp::rfc3339);
        tracing::warn!(target: "audit", %by, rule = rule.number, ?kind, filter = %rule.filter, reason = &*rule.reason,
            until, "a rule of the queue is in force");
        Ok(rule)
    }

    pub(super) async fn lift_rule(&self, by: Peer, number: u32) -> Result<Option<Arc<Rule>>, Vec<String>> {
        let rule = self.queue.lift_rule(number).await.map_err(said)?;
        if rule.is_some() {
            tracing::warn!(target: "audit", %by, rule = number, "a rule of the queue is lifted");
        }
        Ok(rule)
    }
}
