//! What operators do to the queue, with the log of who did it.

use std::sync::Arc;

use super::Inner;
use crate::admin::{Peer, Shown};
use crate::mail::QueueId;
use crate::queue::{Changed, Command, Filter, QueueError, Reach, Rule, RuleKind, Sight};
use crate::time::Timestamp;

/// For the operator.
pub(super) fn said(error: QueueError) -> Vec<String> {
    vec![error.to_string()]
}

impl Inner {
    pub(super) async fn show(&self, id: QueueId) -> Result<Option<Shown>, Vec<String>> {
        let Some((record, head)) = self.queue.show(id).await.map_err(said)? else { return Ok(None) };
        let ways = self.queue.ways();
        let sight = Sight { record: &record, now: self.clock.now(), ways: &*ways };
        let routes = record.recipients.iter().map(|recipient| sight.route(recipient)).collect();
        Ok(Some(Shown { routes, leased: self.queue.leased(id), rules: self.queue.rules(), record, head }))
    }

    pub(super) async fn command(
        &self,
        by: Peer,
        filter: Filter,
        reach: Reach,
        command: Command,
    ) -> Result<Changed, Vec<String>> {
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
