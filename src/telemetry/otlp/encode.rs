//! Spans as the protocol's protobuf messages (OTLP 1, `ExportTraceServiceRequest`).

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Wire, Status};
use prost::Message as _;

use super::{Happened, Kind, Span, Value};

/// One request; `service` is what this service is called, `host` this relay's name.
pub fn encode(spans: &[Span], service: &str, host: &str) -> Vec<u8> {
    let text = |key: &str, text: &str| attribute(key, &Value::Text(text.to_owned()));
    let resource = Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", host),
            text("host.name", host),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "waypost".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.iter().map(wire).collect();
    let scoped = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let whole = ResourceSpans { resource: Some(resource), scope_spans: vec![scoped], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![whole] }.encode_to_vec()
}

fn wire(span: &Span) -> Wire {
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let link =
        |link: &super::Context| Link { trace_id: link.trace.to_vec(), span_id: link.id.to_vec(), ..Link::default() };
    let status = span.failed.as_ref().map(|why| Status { message: why.clone(), code: StatusCode::Error.into() });
    Wire {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        // Sampled (W3C Trace Context).
        flags: 1,
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end.max(span.start),
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        status,
        ..Wire::default()
    }
}

fn event(happened: &Happened) -> Event {
    Event {
        time_unix_nano: happened.at,
        name: happened.name.clone(),
        attributes: attributes(&happened.attributes),
        ..Event::default()
    }
}

fn attributes(attributes: &[(String, Value)]) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(text.clone()),
        Value::Number(number) => Any::IntValue(*number),
        Value::Flag(flag) => Any::BoolValue(*flag),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
