//! From what is logged to spans. Spans of tracing that are called `session` and `attempt` become spans; so do records
//! (events with a field `record`), but those about an attempt, which are told as events within its span.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context as Within;
use tracing_subscriber::registry::LookupSpan;

use super::{Context, Happened, Kind, Span, Spans, Value};

/// Octets of a value: replies of strangers are among them.
const VALUE_MAX: usize = 1024;
/// Outcomes told of one attempt: it may have thousands of recipients.
const EVENTS_MAX: usize = 64;

/// Makes spans.
#[derive(Debug)]
pub(in crate::telemetry) struct Layer(Spans);

impl Layer {
    pub(in crate::telemetry) fn new(spans: Spans) -> Self {
        Self(spans)
    }

    /// What it wants to hear of.
    pub(in crate::telemetry) fn wants(metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return matches!(metadata.name(), "session" | "attempt");
        }
        metadata.fields().field("record").is_some()
    }
}

/// A span under way.
struct Open {
    span: Span,
    sampled: bool,
}

impl Open {
    fn context(&self) -> Context {
        Context { trace: self.span.trace, id: self.span.id }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, within: Within<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let open = match attributes.metadata().name() {
            "session" => self.session(fields),
            "attempt" => self.attempt(fields),
            _ => return,
        };
        if let Some(span) = within.span(id) {
            span.extensions_mut().insert(open);
        }
    }

    fn on_event(&self, event: &Event<'_>, within: Within<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Some(record) = fields.take_text("record") else { return };
        let mut inner = None;
        for span in within.event_scope(event).into_iter().flatten() {
            let mut extensions = span.extensions_mut();
            let Some(open) = extensions.get_mut::<Open>() else { continue };
            if record == "attempt" {
                return happened(open, fields);
            }
            inner = Some(open.context());
            break;
        }
        let span = match record.as_str() {
            "reception" => self.reception(fields, inner),
            "decision" => self.decision(fields, inner),
            "bounce" => self.bounce(fields, inner),
            _ => return,
        };
        if let Some(span) = span.filter(|span| self.0.samples(&span.trace)) {
            self.0.push(span);
        }
    }

    fn on_close(&self, id: Id, within: Within<'_, S>) {
        let Some(span) = within.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        if open.sampled {
            self.0.push(Span { end: now(), ..open.span });
        }
    }
}

impl Layer {
    /// A trace of its own.
    fn session(&self, mut fields: Fields) -> Open {
        let session = fields.text("session").unwrap_or_default();
        let hash = self.0.hash("session", &session);
        let context = Context { trace: super::part(&hash, 0), id: super::part(&hash, 16) };
        fields.rename(&[
            ("client", "client.address"),
            ("listener", "waypost.listener"),
            ("session", "waypost.session"),
        ]);
        let mut span = span("SMTP session", Kind::Server, context, None, fields);
        span.attributes.push(("network.protocol.name".to_owned(), Value::Text("smtp".to_owned())));
        Open { sampled: self.0.samples(&span.trace), span }
    }

    /// Of its message's trace, below the reception, which may have been long ago: the link says so to those who look for it.
    fn attempt(&self, mut fields: Fields) -> Open {
        let reception = self.0.reception(&fields.text("queue_id").unwrap_or_default());
        let context = Context { trace: reception.trace, id: fastrand::u64(1..).to_be_bytes() };
        fields.rename(&[("queue_id", "messaging.message.id"), ("next_hop", "waypost.next_hop")]);
        let mut span = span("SMTP delivery", Kind::Client, context, Some(reception.id), fields);
        span.attributes.push(("messaging.operation.type".to_owned(), Value::Text("send".to_owned())));
        span.links.push(reception);
        Open { sampled: self.0.samples(&span.trace), span }
    }

    /// The first span of a message's trace.
    fn reception(&self, mut fields: Fields, session: Option<Context>) -> Option<Span> {
        let reception = self.0.reception(&fields.text("queue_id")?);
        let took = fields.take_number("took_ms").unwrap_or_default();
        let outcome = fields.text("outcome").unwrap_or_default();
        fields.rename(&[
            ("queue_id", "messaging.message.id"),
            ("size", "messaging.message.envelope.size"),
            ("recipients", "waypost.recipients"),
            ("sender", "waypost.sender"),
            ("outcome", "waypost.outcome"),
            ("reply", "waypost.reply"),
            ("held", "waypost.held"),
        ]);
        let mut span = span("SMTP reception", Kind::Server, reception, None, fields);
        span.attributes.push(("messaging.operation.type".to_owned(), Value::Text("receive".to_owned())));
        span.start = span.end.saturating_sub(took.saturating_mul(1_000_000));
        span.links.extend(session);
        if !matches!(outcome.as_str(), "accepted" | "discarded") {
            span.fail(&outcome);
        }
        Some(span)
    }

    /// Below the attempt or the reception that it was about; else below the session.
    fn decision(&self, mut fields: Fields, inner: Option<Context>) -> Option<Span> {
        let message = fields.text("queue_id").map(|id| self.0.reception(&id));
        let above = match (message, inner) {
            // An attempt is of the trace of its message.
            (Some(message), Some(inner)) if inner.trace == message.trace => inner,
            (Some(message), _) => message,
            (None, Some(inner)) => inner,
            (None, None) => return None,
        };
        let took = fields.take_number("wall_us").unwrap_or_default();
        let (hook, plugin) = (fields.text("hook").unwrap_or_default(), fields.text("plugin").unwrap_or_default());
        let failure = fields.text("failure");
        fields.rename(&[
            ("queue_id", "messaging.message.id"),
            ("hook", "waypost.hook"),
            ("plugin", "waypost.plugin"),
            ("version", "waypost.plugin.version"),
            ("generation", "waypost.generation"),
            ("verdict", "waypost.verdict"),
            ("failure", "waypost.failure"),
            ("cpu_us", "waypost.cpu_us"),
            ("session", "waypost.session"),
        ]);
        let context = Context { trace: above.trace, id: fastrand::u64(1..).to_be_bytes() };
        let mut span = span(&format!("{hook} {plugin}"), Kind::Internal, context, Some(above.id), fields);
        span.start = span.end.saturating_sub(took.saturating_mul(1000));
        if let Some(failure) = failure {
            span.fail(&failure);
        }
        Some(span)
    }

    /// The first span of the notice's own trace; it links to the attempt that it is about.
    fn bounce(&self, mut fields: Fields, attempt: Option<Context>) -> Option<Span> {
        let context = self.0.reception(&fields.text("notice")?);
        fields.rename(&[
            ("notice", "messaging.message.id"),
            ("queue_id", "waypost.about"),
            ("to", "waypost.recipient"),
            ("action", "waypost.action"),
        ]);
        let mut span = span("notice", Kind::Internal, context, None, fields);
        span.links.extend(attempt);
        Some(span)
    }
}

/// What became of one recipient.
fn happened(open: &mut Open, mut fields: Fields) {
    let outcome = fields.take_text("outcome").unwrap_or_default();
    let remote = fields.text("remote");
    for name in ["queue_id", "next_hop", "remote", "message"] {
        fields.0.retain(|(key, _)| key != name);
    }
    if let Some(remote) = remote
        && !open.span.attributes.iter().any(|(key, _)| key == "server.address")
    {
        open.span.attributes.push(("server.address".to_owned(), Value::Text(remote)));
    }
    if outcome != "delivered" {
        open.span.fail(&outcome);
    }
    if open.span.events.len() < EVENTS_MAX {
        let attributes = fields.0.into_iter().map(|(key, value)| (format!("waypost.{key}"), value)).collect();
        open.span.events.push(Happened { at: now(), name: outcome, attributes });
    }
}

fn span(name: &str, kind: Kind, Context { trace, id }: Context, parent: Option<[u8; 8]>, fields: Fields) -> Span {
    let now = now();
    let mut attributes = fields.0;
    attributes.retain(|(key, _)| key != "message");
    let (events, links, failed) = (Vec::new(), Vec::new(), None);
    Span { trace, id, parent, name: name.to_owned(), kind, start: now, end: now, attributes, events, links, failed }
}

impl Span {
    fn fail(&mut self, why: &str) {
        if self.failed.is_none() {
            self.attributes.push(("error.type".to_owned(), Value::Text(why.to_owned())));
            self.failed = Some(why.to_owned());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "spans are for receivers that compare them with those of other machines")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Fields as they are logged.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    fn take_text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn take_number(&mut self, name: &str) -> Option<u64> {
        match self.take(name)? {
            Value::Number(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// To the names of the semantic conventions, where there are any, and of this service else.
    fn rename(&mut self, names: &[(&str, &str)]) {
        for (key, _) in &mut self.0 {
            if let Some((_, new)) = names.iter().find(|(old, _)| old == key) {
                (*new).clone_into(key);
            }
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.0.push((field.name().to_owned(), value));
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        if text.len() > VALUE_MAX {
            let end = (0..=VALUE_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            text.truncate(end);
        }
        self.put(field, Value::Text(text));
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Flag(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, format!("{value:?}"));
    }
}
