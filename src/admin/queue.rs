//! Requests about the queue: each is one bounded step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::perform::{Answer, Refusal};
use super::queue_api::{
    ChangedForm, CommandForm, Counted, FilterForm, Next, RuleStatus, SummaryRow, bucket, reach, read_id, reason,
};
use super::{Control, Done, MessageView, Peer, Request, Summary};
use crate::queue::{Command, Filter, QueuedRecipient, Reach, Record, Sight, hop_text};
use crate::time::{Clock as _, System, Timestamp};

/// Messages of one page.
const PAGE: usize = 1000;
/// Messages looked at for one page; where few fit, a page is short rather than late.
const LOOK: usize = 16_384;
/// Ids shown with a count.
const NAMED: usize = 5;
/// Octets of a name in a summary.
const NAME: usize = 120;
/// Longest time that a rule is given.
const YEAR: u64 = 366 * 86_400;

fn one(why: String) -> Refusal {
    Refusal::Input(vec![why])
}

fn broken(error: serde_json::Error) -> Refusal {
    Refusal::Relay(vec![error.to_string()])
}

/// Those about the queue.
pub(super) async fn perform(request: Request, peer: Peer, control: &dyn Control) -> Answer {
    match request {
        Request::QueueList { filter, after, limit } => list(control, &filter, after, limit).await,
        Request::QueueCount { filter, after, upto } => {
            count(control, &filter, reach(after.as_deref(), upto.as_deref()).map_err(one)?).await
        }
        Request::QueueSummary { filter, by, after, upto } => {
            summary(control, &filter, &by, reach(after.as_deref(), upto.as_deref()).map_err(one)?).await
        }
        Request::QueueShow { id } => {
            let shown = control.queue_show(read_id(&id).map_err(one)?).await?;
            let shown = shown.ok_or_else(|| Refusal::Missing(vec![format!("no message {id} in the queue")]))?;
            Ok((Vec::new(), Done::Message(Box::new(MessageView::of(&shown, System.now())))))
        }
        Request::QueueCommand { filter, all, command, after, upto } => {
            let filter = meant(&filter, all)?;
            let reach = reach(after.as_deref(), upto.as_deref()).map_err(one)?;
            let command = read_command(control, command).await?;
            let changed = control.queue_command(peer, filter, reach, command).await?;
            Ok((Vec::new(), Done::Changed(ChangedForm::from(changed))))
        }
        Request::QueueRuleAdd { kind, filter, all, reason: why, for_secs } => {
            let (filter, why) = (meant(&filter, all)?, reason(why).map_err(one)?);
            if for_secs.is_some_and(|secs| !(1..=YEAR).contains(&secs)) {
                return Err(one("a rule is in force for a second at least, and a year at most".to_owned()));
            }
            let now = System.now();
            let until = for_secs.map(|secs| now.plus(Duration::from_secs(secs)));
            let rule = control.queue_rule(peer, kind, filter, why, until).await?;
            Ok((Vec::new(), Done::Rule(RuleStatus::of(&rule, now))))
        }
        Request::QueueRules => {
            let now = System.now();
            let rules = control.queue_rules().await?;
            let item = |rule: &Arc<_>| serde_json::to_value(RuleStatus::of(rule, now));
            let items = rules.in_force(now).map(item).collect::<Result<_, _>>();
            Ok((items.map_err(broken)?, Done::Rules))
        }
        Request::QueueRuleLift { number } => {
            let rule = control.queue_rule_lift(peer, number).await?;
            let none = || vec![format!("no rule {number}: `waypost queue suspensions` shows which there are")];
            let rule = rule.ok_or_else(|| Refusal::Missing(none()))?;
            Ok((Vec::new(), Done::Rule(RuleStatus::of(&rule, System.now()))))
        }
        other => Err(one(format!("{other:?} is not about the queue"))),
    }
}

/// A filter that may concern every message only where that is said.
fn meant(filter: &FilterForm, all: bool) -> Result<Filter, Refusal> {
    if filter.is_empty() && !all {
        return Err(one("this would concern every message: say so with `all`".to_owned()));
    }
    filter.filter().map_err(one)
}

async fn list(control: &dyn Control, filter: &FilterForm, after: Option<String>, limit: usize) -> Answer {
    let after = after.as_deref().map(read_id).transpose().map_err(one)?;
    let reach = Reach { after, upto: None, look: LOOK, find: limit.clamp(1, PAGE) };
    let stepped = control.queue_look(filter.filter().map_err(one)?, reach).await?;
    let now = System.now();
    let item = |record: &Record| serde_json::to_value(Summary::of(record, now));
    let items: Vec<Value> =
        stepped.found.iter().map(|found| item(&found.record)).collect::<Result<_, _>>().map_err(broken)?;
    let messages = items.len();
    Ok((items, Done::Page { next: stepped.next.map(|id| id.to_string()), messages }))
}

async fn count(control: &dyn Control, filter: &FilterForm, reach: Reach) -> Answer {
    let stepped = control.queue_look(filter.filter().map_err(one)?, reach).await?;
    let counted = Counted {
        messages: stepped.found.len() as u64,
        recipients: stepped.found.iter().map(|found| found.recipients.len() as u64).sum(),
        octets: stepped.found.iter().map(|found| found.record.size()).sum(),
        ids: stepped.found.iter().take(NAMED).map(|found| found.record.id.to_string()).collect(),
        next: Next::of(stepped.next, stepped.upto, stepped.looked),
    };
    Ok((Vec::new(), Done::Counted(counted)))
}

/// What recipients are counted by.
#[derive(Clone, Copy)]
enum By {
    Domain,
    SenderDomain,
    NextHop,
    Annotation(&'static str),
    LastReply,
}

async fn summary(control: &dyn Control, filter: &FilterForm, by: &str, reach: Reach) -> Answer {
    let by = match by {
        "domain" => By::Domain,
        "sender-domain" => By::SenderDomain,
        "next-hop" => By::NextHop,
        "tenant" => By::Annotation("tenant"),
        "campaign" => By::Annotation("campaign"),
        "last-reply" => By::LastReply,
        other => {
            let help = "domain, sender-domain, next-hop, tenant, campaign, last-reply";
            return Err(one(format!("nothing is counted by {other:?}: there are {help}")));
        }
    };
    let stepped = control.queue_look(filter.filter().map_err(one)?, reach).await?;
    let (now, ways) = (System.now(), control.ways());
    let mut rows: BTreeMap<String, SummaryRow> = BTreeMap::new();
    for found in &stepped.found {
        let sight = Sight { record: &found.record, now, ways: &*ways };
        for recipient in found.record.recipients.iter().filter(|r| found.recipients.contains(&r.index)) {
            let name = name(by, sight, recipient);
            let row = rows.entry(name).or_default();
            if let Some(count) = row.by_age.get_mut(bucket(now.since(found.record.arrived))) {
                *count += 1;
            }
            row.held += u64::from(found.record.held.is_some() || recipient.state.held.is_some());
            row.suspended += u64::from(recipient.state.parked.is_some());
        }
    }
    let item = |(name, row)| serde_json::to_value(SummaryRow { name, ..row });
    let items = rows.into_iter().map(item).collect::<Result<_, _>>().map_err(broken)?;
    Ok((items, Done::Summed(Next::of(stepped.next, stepped.upto, stepped.looked))))
}

fn name(by: By, sight: Sight<'_>, recipient: &QueuedRecipient) -> String {
    let record: &Record = sight.record;
    let name = match by {
        By::Domain => recipient.mailbox.domain.as_str().to_owned(),
        By::SenderDomain => record.sender.0.as_ref().map_or_else(|| "<>".to_owned(), |s| s.domain.as_str().to_owned()),
        By::NextHop => sight.route(recipient).hops.first().map(hop_text).unwrap_or_default(),
        By::Annotation(key) => record
            .annotations
            .iter()
            .find(|(_, name, _)| *name == key)
            .map_or("-".to_owned(), |(_, _, a)| a.value.to_string()),
        By::LastReply => recipient.state.last.as_ref().map_or("-".to_owned(), super::view::said),
    };
    name.chars().take(NAME).collect()
}

async fn read_command(control: &dyn Control, form: CommandForm) -> Result<Command, Refusal> {
    Ok(match form {
        CommandForm::Retry { reroute } => Command::Retry { reroute },
        CommandForm::Reschedule { at, in_secs, spread_secs } => {
            let start = match at {
                None => System.now(),
                Some(text) => Timestamp::parse(&text)
                    .ok_or_else(|| one(format!("{text:?} is no time: write 2026-11-27T08:00:00Z")))?,
            };
            if in_secs > YEAR || spread_secs > YEAR {
                return Err(one("nothing is put off for more than a year".to_owned()));
            }
            let at = start.plus(Duration::from_secs(in_secs));
            Command::Reschedule { at, spread: Duration::from_secs(spread_secs) }
        }
        CommandForm::Reroute { to } => Command::Reroute(control.read_route(to).await.map_err(Refusal::Input)?),
        CommandForm::Hold { reason: why } => Command::Hold(reason(why).map_err(one)?),
        CommandForm::Release => Command::Release,
        CommandForm::Bounce { reason: why } => Command::Bounce(reason(why).map_err(one)?),
        CommandForm::Remove => Command::Remove,
    })
}
