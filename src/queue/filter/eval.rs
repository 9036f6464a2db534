//! A filter against a recipient of a message.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Expr, Field, Filter, Op, State, Test, Value, hop_text};
use crate::hooks::Route;
use crate::mail::Requests;
use crate::queue::{QueuedRecipient, Record};
use crate::time::Timestamp;

/// Where a recipient goes that no plugin routed.
pub type Ways = dyn Fn(&QueuedRecipient) -> Arc<Route> + Send + Sync;

/// A message as it is looked at.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The message.
    pub record: &'a Record,
    /// For ages and due times.
    pub now: Timestamp,
    /// For next hops.
    pub ways: &'a Ways,
}

impl Sight<'_> {
    /// Where a recipient of it goes.
    pub fn route(&self, recipient: &QueuedRecipient) -> Arc<Route> {
        recipient.route.as_ref().map_or_else(|| (self.ways)(recipient), Arc::clone)
    }
}

impl Filter {
    /// The indexes of the recipients that it takes.
    pub fn select(&self, sight: Sight<'_>) -> Vec<u32> {
        let takes = |r: &&QueuedRecipient| self.root.takes(sight, r);
        sight.record.recipients.iter().filter(takes).map(|r| r.index).collect()
    }

    /// True if it takes this recipient.
    pub fn takes(&self, sight: Sight<'_>, recipient: &QueuedRecipient) -> bool {
        self.root.takes(sight, recipient)
    }
}

impl Expr {
    fn takes(&self, sight: Sight<'_>, recipient: &QueuedRecipient) -> bool {
        match self {
            Self::Everything => true,
            Self::Is(State::Held) => sight.record.held.is_some() || recipient.state.held.is_some(),
            Self::Is(State::Suspended) => recipient.state.parked.is_some(),
            Self::Test(test) => test.holds(sight, recipient),
            Self::Not(inner) => !inner.takes(sight, recipient),
            Self::And(parts) => parts.iter().all(|part| part.takes(sight, recipient)),
            Self::Or(parts) => parts.iter().any(|part| part.takes(sight, recipient)),
        }
    }
}

impl Test {
    fn holds(&self, sight: Sight<'_>, recipient: &QueuedRecipient) -> bool {
        // What is there several times is another than a value if none of them is it.
        let (op, turned) = match self.op {
            Op::IsNot => (Op::Is, true),
            op => (op, false),
        };
        self.is(op, sight, recipient) != turned
    }

    fn is(&self, op: Op, sight: Sight<'_>, recipient: &QueuedRecipient) -> bool {
        let Sight { record, now, .. } = sight;
        let last = recipient.state.last.as_ref();
        match &self.field {
            Field::Id => match &self.value {
                Value::Id(id) => record.id == *id,
                _ => self.text(op, &record.id.to_string()),
            },
            Field::Age => self.quantity(op, now.since(record.arrived).as_secs()),
            Field::Due => self.quantity(op, recipient.state.due.since(now).as_secs()),
            Field::Size => self.quantity(op, record.size()),
            Field::Attempts => self.number(op, recipient.state.attempts.into()),
            Field::Priority => self.number(op, record.priority().into()),
            Field::Suspension => recipient.state.parked.is_some_and(|rule| self.number(op, rule.into())),
            Field::LastCode => {
                last.and_then(|l| l.reply.as_ref()).is_some_and(|reply| self.number(op, reply.code.into()))
            }
            Field::Tag => record.tags.iter().any(|tag| self.text(op, tag)),
            Field::Annotation(key) => {
                let mut annotations = record.annotations.iter();
                annotations.any(|(plugin, name, value)| names(key, plugin, name) && self.text(op, &value.value))
            }
            Field::NextHop => sight.route(recipient).hops.iter().any(|hop| self.text(op, &hop_text(hop))),
            Field::SenderDomain | Field::Domain => self.domain(op, sight, recipient),
            Field::Client => record.origin.as_ref().is_some_and(|origin| self.client(op, &origin.client.address)),
            _ => text_of(&self.field, record, recipient).is_some_and(|text| self.text(op, &text)),
        }
    }

    fn domain(&self, op: Op, sight: Sight<'_>, recipient: &QueuedRecipient) -> bool {
        let domain = match &self.field {
            Field::Domain => recipient.mailbox.domain.as_str(),
            _ => sight.record.sender.0.as_ref().map_or("", |sender| sender.domain.as_str()),
        };
        match &self.value {
            // Every subdomain.
            Value::Text(suffix) if op == Op::Is && suffix.starts_with('.') => {
                !domain.starts_with('[') && domain.ends_with(&**suffix)
            }
            _ => self.text(op, domain),
        }
    }

    fn client(&self, op: Op, address: &str) -> bool {
        match &self.value {
            Value::Network(network) => {
                address.parse::<std::net::IpAddr>().is_ok_and(|address| network.contains(&address))
            }
            _ => self.text(op, address),
        }
    }

    /// Upper and lower case are the same.
    fn text(&self, op: Op, text: &str) -> bool {
        match (&self.value, op) {
            (Value::Pattern(_, pattern), Op::Matches) => pattern.is_match(text),
            (Value::Text(value), Op::Contains) => contains(text, value),
            (Value::Text(value), _) => text.eq_ignore_ascii_case(value),
            _ => false,
        }
    }

    fn quantity(&self, op: Op, is: u64) -> bool {
        match &self.value {
            Value::Duration(value) | Value::Size(value) => ordered(op, &is, value),
            _ => false,
        }
    }

    fn number(&self, op: Op, is: i64) -> bool {
        matches!(&self.value, Value::Number(value) if ordered(op, &is, value))
    }
}

/// Texts that a message or a recipient has once; none: it has none.
fn text_of<'a>(field: &Field, record: &'a Record, recipient: &'a QueuedRecipient) -> Option<Cow<'a, str>> {
    let origin = || record.origin.as_ref();
    let last = || recipient.state.last.as_ref();
    match field {
        Field::Sender => Some(record.sender.0.as_ref().map_or(Cow::Borrowed(""), |s| s.to_string().into())),
        Field::Recipient => Some(recipient.mailbox.to_string().into()),
        Field::Reason => record.held.as_deref().or(recipient.state.held.as_deref()).map(Cow::Borrowed),
        Field::Listener => origin().map(|origin| Cow::Borrowed(&*origin.listener)),
        Field::Identity => origin().and_then(|origin| origin.identity.as_deref()).map(Cow::Borrowed),
        Field::LastReply => last().map(|outcome| match (&outcome.reply, &outcome.error) {
            (Some(reply), Some(error)) => format!("{reply} ({error})").into(),
            (Some(reply), None) => reply.to_string().into(),
            (None, error) => error.as_deref().unwrap_or_default().to_owned().into(),
        }),
        Field::Status => last().and_then(|l| l.reply.as_ref()?.status).map(|status| status.to_string().into()),
        _ => None,
    }
}

/// `KEY`, or `PLUGIN.KEY` for the annotation of one plugin alone.
pub(in crate::queue) fn names(wanted: &str, plugin: &str, key: &str) -> bool {
    wanted == key || wanted.strip_prefix(plugin).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| rest == key)
}

fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn ordered<T: Ord>(op: Op, is: &T, value: &T) -> bool {
    match op {
        Op::Is => is == value,
        Op::IsNot => is != value,
        Op::Less => is < value,
        Op::More => is > value,
        Op::AtMost => is <= value,
        Op::AtLeast => is >= value,
        Op::Contains | Op::Matches => false,
    }
}

impl Record {
    /// How soon it goes before others, -9 to 9: by the annotation `priority` of a plugin, else by MT-PRIORITY (RFC
    /// 6710), else 0.
    pub fn priority(&self) -> i8 {
        if self.annotations.is_empty() && self.sender_params.is_empty() {
            return 0;
        }
        let noted = self.annotations.iter().find(|(_, key, _)| *key == "priority");
        let noted = noted.and_then(|(_, _, note)| note.value.trim().parse::<i8>().ok()).map(|p| p.clamp(-9, 9));
        noted.or_else(|| Requests::of(&self.sender_params).priority).unwrap_or(0)
    }
}
