//! The command line's end of the admin API, as far as the queue goes.

use std::io;

use super::client::unexpected;
use super::{
    ChangedForm, Client, ClientError, CommandForm, Counted, Done, FilterForm, MessageView, Next, Page, Request,
    RuleStatus, SummaryRow,
};
use crate::queue::RuleKind;

impl Client {
    /// A page of the queue.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn queue_list(
        &mut self,
        filter: FilterForm,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        match self.ask(&Request::QueueList { filter, after, limit }).await? {
            (messages, Done::Page { next, .. }) => Ok(Page { messages, next }),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// One message.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn queue_show(&mut self, id: String) -> Result<MessageView, ClientError> {
        match self.ask::<()>(&Request::QueueShow { id }).await? {
            (_, Done::Message(message)) => Ok(*message),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The content of a message, piece by piece.
    ///
    /// # Errors
    /// When there is none of that id, it can't be read, or `take` fails.
    pub async fn queue_cat(
        &mut self,
        id: String,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        self.connection.content(&id, &mut take).await
    }

    /// One step of counting.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn queue_count(&mut self, filter: FilterForm, from: &Next) -> Result<Counted, ClientError> {
        let (after, upto) = (from.next.clone(), from.upto.clone());
        match self.ask::<()>(&Request::QueueCount { filter, after, upto }).await? {
            (_, Done::Counted(counted)) => Ok(counted),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// One step of a summary.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn queue_summary(
        &mut self,
        filter: FilterForm,
        by: String,
        from: &Next,
    ) -> Result<(Vec<SummaryRow>, Next), ClientError> {
        let (after, upto) = (from.next.clone(), from.upto.clone());
        match self.ask(&Request::QueueSummary { filter, by, after, upto }).await? {
            (rows, Done::Summed(next)) => Ok((rows, next)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// One step of doing something to messages.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn queue_command(
        &mut self,
        filter: FilterForm,
        all: bool,
        command: CommandForm,
        from: &Next,
    ) -> Result<ChangedForm, ClientError> {
        let (after, upto) = (from.next.clone(), from.upto.clone());
        match self.ask::<()>(&Request::QueueCommand { filter, all, command, after, upto }).await? {
            (_, Done::Changed(changed)) => Ok(changed),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Puts a rule in force.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn queue_rule_add(
        &mut self,
        kind: RuleKind,
        filter: FilterForm,
        all: bool,
        reason: String,
        for_secs: Option<u64>,
    ) -> Result<RuleStatus, ClientError> {
        self.rule(&Request::QueueRuleAdd { kind, filter, all, reason, for_secs }).await
    }

    /// Lifts one.
    ///
    /// # Errors
    /// When there is none of that number.
    pub async fn queue_rule_lift(&mut self, number: u32) -> Result<RuleStatus, ClientError> {
        self.rule(&Request::QueueRuleLift { number }).await
    }

    async fn rule(&mut self, request: &Request) -> Result<RuleStatus, ClientError> {
        match self.ask::<()>(request).await? {
            (_, Done::Rule(rule)) => Ok(rule),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Those in force.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn queue_rules(&mut self) -> Result<Vec<RuleStatus>, ClientError> {
        match self.ask(&Request::QueueRules).await? {
            (rules, Done::Rules) => Ok(rules),
            (_, other) => Err(unexpected(&other)),
        }
    }
}
