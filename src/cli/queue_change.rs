//! What changes the queue: step by step, with a count first where it can't be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write};

use serde_json::json;

use super::Failure;
use super::args::Common;
use super::queue::{Total, total, usable};
use super::queue_args::{Coming, Queue, Which};
use super::render::{Elements, age, clean, count, table};
use crate::admin::{ChangedForm, Client, CommandForm, FilterForm, Next, RuleStatus};
use crate::queue::RuleKind;

/// What is to be done, and how sure whoever says so is.
struct Task {
    which: Which,
    command: CommandForm,
    /// What it is called: before, and afterwards.
    words: (&'static str, &'static str),
    /// None: it can be taken back.
    yes: Option<bool>,
}

/// One of the subcommands.
pub(super) async fn change(
    client: &mut Client,
    common: &Common,
    command: Queue,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // Where mail to come is meant as well, there need be none yet.
    let mut quiet = false;
    let task = match command {
        Queue::Retry { which, reroute } => {
            Task { which, command: CommandForm::Retry { reroute }, words: ("tried", "due now"), yes: None }
        }
        Queue::Reschedule { which, at, within, spread } => {
            let (in_secs, spread_secs) = (within.unwrap_or(0), spread.unwrap_or(0));
            let command = CommandForm::Reschedule { at, in_secs, spread_secs };
            Task { which, command, words: ("rescheduled", "rescheduled"), yes: None }
        }
        Queue::Reroute { which, to: Some(to) } => {
            Task { which, command: CommandForm::Reroute { to }, words: ("rerouted", "rerouted"), yes: None }
        }
        Queue::Reroute { which, to: None } => {
            let command = CommandForm::Retry { reroute: true };
            Task { which, command, words: ("rerouted", "to be routed anew"), yes: None }
        }
        Queue::Hold { which, reason, coming } => {
            in_force(client, common, RuleKind::Hold, &which, &reason, coming, out).await?;
            quiet = coming.is_meant();
            Task { which, command: CommandForm::Hold { reason }, words: ("held", "held"), yes: None }
        }
        Queue::Release { which } => {
            Task { which, command: CommandForm::Release, words: ("released", "released"), yes: None }
        }
        Queue::Bounce { which, reason, coming, sure } => {
            let words = ("bounced", "to be bounced");
            let task =
                Task { which, command: CommandForm::Bounce { reason: reason.clone() }, words, yes: Some(sure.yes) };
            let Some(task) = preview(client, common, task, out).await? else { return Ok(()) };
            in_force(client, common, RuleKind::Bounce, &task.which, &reason, coming, out).await?;
            return perform(client, common, task, coming.is_meant(), out).await;
        }
        Queue::Drop { which, sure } => {
            Task { which, command: CommandForm::Remove, words: ("dropped", "removed"), yes: Some(sure.yes) }
        }
        Queue::Suspend { which, reason, time } => {
            if which.dry_run {
                return preview(client, common, suspending(which), out).await.map(|_nothing_more| ());
            }
            let (filter, all) = (FilterForm::from(which.filter), which.all);
            usable(&filter)?;
            let rule = client.queue_rule_add(RuleKind::Suspend, filter, all, reason, time).await?;
            return told(common, &rule, "suspended", out);
        }
        Queue::Resume { numbers, all } => return resume(client, common, numbers, all, out).await,
        Queue::Suspensions => return suspensions(client, common, out).await,
        other => return Err(Failure::refused(format!("waypost: {other:?} changes nothing"))),
    };
    match preview(client, common, task, out).await? {
        Some(task) => perform(client, common, task, quiet, out).await,
        None => Ok(()),
    }
}

/// For a look at what would wait.
fn suspending(which: Which) -> Task {
    Task { which, command: CommandForm::Release, words: ("suspended", "suspended"), yes: None }
}

/// Counts first, where that is asked for or what is done can't be taken back. None: it is not to be done.
async fn preview(
    client: &mut Client,
    common: &Common,
    task: Task,
    out: &mut dyn Write,
) -> Result<Option<Task>, Failure> {
    let filter = FilterForm::from(task.which.filter.clone());
    usable(&filter)?;
    let ids = filter.names_messages();
    // Who names messages one by one knows which they are.
    let asked = task.yes.is_some_and(|yes| !yes && !ids);
    if !task.which.dry_run && !asked {
        return Ok(Some(task));
    }
    let total = total(client, &filter).await?;
    if task.which.dry_run {
        show(common, &total, &task, out)?;
        return Ok(None);
    }
    if total.messages == 0 && !task.which.all {
        return Err(nothing());
    }
    if !std::io::stdin().is_terminal() {
        let text = format!("waypost: {} would be {}: say --yes if that is meant", total.show(), task.words.0);
        return Err(Failure::refused(text));
    }
    let mut err = std::io::stderr();
    write!(err, "{} will be {}, and that can't be taken back. Go on? [y/N] ", total.show(), task.words.0)?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if yes { Ok(Some(task)) } else { Err(Failure::refused("waypost: nothing was done")) }
}

fn show(common: &Common, total: &Total, task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    if common.json {
        let Total { messages, recipients, octets, ids } = total;
        let shown = json!({"would_change": messages, "recipients": recipients, "octets": octets, "ids": ids});
        return Ok(writeln!(out, "{shown}")?);
    }
    writeln!(out, "{} would be {}", total.show(), task.words.0)?;
    total.ids.iter().try_for_each(|id| writeln!(out, "  {id}"))?;
    let more = total.messages.saturating_sub(total.ids.len() as u64);
    if more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

fn nothing() -> Failure {
    Failure::refused("waypost: no message in the queue fits")
}

/// Step by step to the end. `quiet`: that there is nothing to do is fine.
async fn perform(
    client: &mut Client,
    common: &Common,
    task: Task,
    quiet: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Task { which, command, words: (_, done), .. } = task;
    let (filter, all) = (FilterForm::from(which.filter), which.all);
    let progress = !common.json && std::io::stderr().is_terminal();
    let (mut sum, mut next, mut looked, mut steps) = (ChangedForm::default(), Next::default(), 0, 0);
    let ended = loop {
        let step = match client.queue_command(filter.clone(), all, command.clone(), &next).await {
            Ok(step) => step,
            Err(error) => break Err(error),
        };
        sum.messages += step.messages;
        sum.recipients += step.recipients;
        sum.failed += step.failed;
        sum.failures.extend(step.failures.into_iter().take(20_usize.saturating_sub(sum.failures.len())));
        (looked, steps) = (looked + step.next.looked, steps + 1);
        next = step.next;
        if next.next.is_none() {
            break Ok(());
        }
        if progress {
            write!(std::io::stderr(), "\r{looked} looked at, {} {done} ", sum.messages)?;
        }
    };
    if progress && steps > 1 {
        writeln!(std::io::stderr())?;
    }
    report(common, &sum, done, out)?;
    match ended {
        Err(error) if sum.messages > 0 => {
            let text = format!("waypost: it stopped after {}: {error}", count(sum.messages, "message"));
            Err(Failure::refused(text))
        }
        Err(error) => Err(error.into()),
        Ok(()) if sum.failed > 0 => {
            let mut lines = vec![format!("waypost: {} could not be changed", count(sum.failed, "message"))];
            lines.extend(sum.failures.iter().map(|(id, why)| format!("{id}: {why}")));
            Err(Failure::Refused(lines))
        }
        // Nothing to do is fine for `--all`; whoever names messages expects them to be there.
        Ok(()) if sum.messages == 0 && !all && !quiet => Err(nothing()),
        Ok(()) => Ok(()),
    }
}

fn report(common: &Common, sum: &ChangedForm, done: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let ChangedForm { messages, recipients, failed, .. } = sum;
    if common.json {
        writeln!(out, "{}", json!({ "changed": messages, "recipients": recipients, "failed": failed }))?;
    } else if *messages > 0 && recipients > messages {
        writeln!(out, "{} {done}, {}", count(*messages, "message"), count(*recipients, "recipient"))?;
    } else if *messages > 0 {
        writeln!(out, "{} {done}", count(*messages, "message"))?;
    }
    Ok(())
}

/// The rule for mail to come, if it is meant.
async fn in_force(
    client: &mut Client,
    common: &Common,
    kind: RuleKind,
    which: &Which,
    reason: &str,
    coming: Coming,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if which.dry_run || !coming.is_meant() {
        return Ok(());
    }
    let filter = FilterForm::from(which.filter.clone());
    usable(&filter)?;
    let rule = client.queue_rule_add(kind, filter, which.all, reason.to_owned(), coming.time).await?;
    if common.json { Ok(()) } else { told(common, &rule, "in force for mail to come", out) }
}

fn told(common: &Common, rule: &RuleStatus, what: &str, out: &mut dyn Write) -> Result<(), Failure> {
    if common.json {
        return Ok(writeln!(out, "{}", json!(rule))?);
    }
    let until = rule.left_secs.map_or("until it is resumed".to_owned(), |secs| format!("for {}", age(secs)));
    Ok(writeln!(out, "rule {}: {what} {until}: {}", rule.number, clean(&rule.filter))?)
}

async fn resume(
    client: &mut Client,
    common: &Common,
    mut numbers: Vec<u32>,
    all: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if all {
        numbers = client.queue_rules().await?.iter().map(|rule| rule.number).collect();
    }
    let mut lifted = Vec::new();
    for number in numbers {
        lifted.push(client.queue_rule_lift(number).await?);
    }
    if common.json {
        let mut elements = Elements::start(out)?;
        lifted.iter().try_for_each(|rule| elements.add(&json!(rule), out))?;
        return Ok(elements.end(out)?);
    }
    lifted.iter().try_for_each(|rule| writeln!(out, "rule {} lifted: {}", rule.number, clean(&rule.filter)))?;
    Ok(())
}

async fn suspensions(client: &mut Client, common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let rules = client.queue_rules().await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        rules.iter().try_for_each(|rule| elements.add(&json!(rule), out))?;
        return Ok(elements.end(out)?);
    }
    Ok(write!(out, "{}", rules_table(&rules))?)
}

/// For people.
pub(super) fn rules_table(rules: &[RuleStatus]) -> String {
    if rules.is_empty() {
        return "nothing is suspended, and no rule holds or bounces mail to come\n".to_owned();
    }
    let row = |rule: &RuleStatus| {
        let kind = json!(rule.kind).as_str().unwrap_or_default().to_owned();
        let left = rule.left_secs.map_or("until resumed".to_owned(), |secs| format!("for {}", age(secs)));
        vec![rule.number.to_string(), kind, left, rule.by.clone(), rule.filter.clone(), rule.reason.clone()]
    };
    table(&["NUMBER", "WHAT", "HOW LONG", "BY", "FILTER", "REASON"], &rules.iter().map(row).collect::<Vec<_>>())
}
