//! The part of a report that people read: what happened to whom, in plain words. Pure.

use std::time::Duration;

use super::{Action, Frame, Original, Reported};
use crate::hooks::{BounceEdit, Outcome, OutcomeKind, Stage};

/// Lines are wrapped here, so that no reader has to scroll.
const COLUMNS: usize = 76;

/// Subject of the notice.
pub(super) fn subject(action: Action) -> &'static str {
    match action {
        Action::Failed => "Your message could not be delivered",
        Action::Delayed { .. } => "Your message is delayed",
        Action::Delivered => "Your message was delivered",
        Action::Relayed | Action::Traced => "Your message was passed on",
    }
}

/// The text, lines ended by CRLF.
pub(super) fn explain(
    original: &Original<'_>,
    action: Action,
    reported: &[Reported<'_>],
    edit: &BounceEdit,
    frame: Frame<'_>,
) -> String {
    let mut out = String::with_capacity(512 + reported.len() * 160);
    if let Some(preface) = &edit.preface {
        preface.lines().for_each(|line| wrap(&mut out, "", line));
        out.push_str("\r\n");
    }
    wrap(&mut out, "", &format!("This is the mail relay at {}.", frame.hostname));
    out.push_str("\r\n");
    wrap(&mut out, "", &introduction(original, action));
    for one in reported {
        out.push_str("\r\n");
        wrap(&mut out, "", &addressed(one));
        wrap(&mut out, "    ", &happened(original, action, one.outcome, frame));
        if let Some(said) = said(one.outcome) {
            wrap(&mut out, "    ", &said);
        }
    }
    out
}

fn introduction(original: &Original<'_>, action: Action) -> String {
    let arrived = original.arrived.rfc5322();
    match action {
        Action::Failed => format!(
            "Your message of {arrived} could not be delivered to the recipients below. It will not be tried again for \
             them; recipients that are not named here are not affected."
        ),
        Action::Delayed { until } => format!(
            "Your message of {arrived} has not reached the recipients below yet. You need not send it again: it will \
             be tried until {}, and you will be told if that fails too.",
            until.rfc5322()
        ),
        Action::Delivered => format!("Your message of {arrived} was delivered to the recipients below."),
        Action::Traced => format!(
            "Your message of {arrived}, which is to be delivered in time, was passed on for the recipients below. The \
             mail server that has it now may not tell you if it is late."
        ),
        Action::Relayed => format!(
            "Your message of {arrived} was passed on for the recipients below, to a mail server that does not confirm \
             delivery. There will be no further report unless it fails there."
        ),
    }
}

fn addressed(one: &Reported<'_>) -> String {
    let (now, before) = (&one.recipient.mailbox, &one.recipient.original);
    if now == before { format!("<{now}>") } else { format!("<{now}> (you wrote to <{before}>)") }
}

fn happened(original: &Original<'_>, action: Action, outcome: &Outcome, frame: Frame<'_>) -> String {
    let host = outcome.remote.as_deref().unwrap_or("the next mail server");
    match (action, outcome.kind) {
        (Action::Delivered, _) => "was delivered.".into(),
        (Action::Relayed | Action::Traced, _) => format!("was passed on to {host}."),
        (Action::Delayed { .. }, _) => format!("{} It is being tried again.", stumbled(outcome.stage, host)),
        (Action::Failed, OutcomeKind::Expired) => format!(
            "could not be delivered within {}, and is given up. {}",
            in_words(frame.now.since(original.arrived)),
            stumbled(outcome.stage, host)
        ),
        (Action::Failed, _) if outcome.stage == Stage::Queue => "was refused by a rule of this relay.".into(),
        (Action::Failed, _) => stumbled(outcome.stage, host),
    }
}

/// What did not work, by how far the attempt came.
fn stumbled(stage: Stage, host: &str) -> String {
    match stage {
        Stage::Queue => "No attempt could be made.".into(),
        Stage::Resolve => "The mail server for this address could not be looked up.".into(),
        Stage::Connect => format!("No connection to {host} could be made."),
        Stage::Greeting | Stage::Helo => format!("{host} did not let this relay in."),
        Stage::Tls => format!("No protected connection to {host} could be made."),
        Stage::Auth => format!("{host} did not accept this relay's password."),
        Stage::Mail => format!("{host} did not accept your address as the sender."),
        Stage::Rcpt => format!("{host} did not accept this address."),
        Stage::Data | Stage::Answer | Stage::Done => format!("{host} did not accept the message."),
    }
}

/// What the next hop, or the relay, said about it.
fn said(outcome: &Outcome) -> Option<String> {
    match (&outcome.reply, super::fields::public_error(outcome)) {
        (Some(reply), _) if super::fields::is_remote(outcome) => Some(format!("It said: {reply}")),
        (Some(reply), Some(error)) => Some(format!("The reason: {reply} ({error})")),
        (Some(reply), None) => Some(format!("The reason: {reply}")),
        (None, Some(error)) => Some(format!("The reason: {error}")),
        (None, None) => None,
    }
}

/// `5 days`, `1 hour`, `20 minutes`.
fn in_words(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let (count, unit) = match minutes {
        0..120 => (minutes.max(1), "minute"),
        120..2880 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Appends `text` in lines of at most [`COLUMNS`] where words allow it, each begun with `indent`.
fn wrap(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if column > 0 && column + 1 + word.chars().count() > COLUMNS {
            out.push_str("\r\n");
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        out.push_str(before);
        column += before.len() + push_word(out, word);
    }
    out.push_str("\r\n");
}

/// A word too long for a line of mail (998 octets, RFC 5322 section 2.1.1) is cut. Answers its width.
fn push_word(out: &mut String, word: &str) -> usize {
    let fits = word.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 900);
    let before = out.len();
    fits.for_each(|(_, c)| out.push(c));
    out.len() - before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases =
            [(0, "1 minute"), (1800, "30 minutes"), (7200, "2 hours"), (14_400, "4 hours"), (432_000, "5 days")];
        for (secs, words) in cases {
            assert_eq!(in_words(Duration::from_secs(secs)), words);
        }
    }

    #[test]
    fn lines_are_wrapped_and_never_too_long() {
        let mut out = String::new();
        wrap(&mut out, "    ", &format!("{} {} \r\nend\u{7}", "word ".repeat(40), "x".repeat(2000)));
        assert!(out.lines().all(|line| line.len() <= 904 && line.starts_with("    ")), "{out}");
        assert!(out.lines().filter(|line| line.len() > COLUMNS).count() == 1, "{out}");
        assert!(out.ends_with("end\r\n"), "{out}");
    }
}
