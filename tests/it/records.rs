//! What is logged of a message has the fields that `docs/logs.md` says, and nothing of its content; the same goes to a
//! receiver of traces, as spans that belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;

use crate::harness::{Relay, Sink, component, towards, wait_for};

const SECRET: &str = "correct-horse-battery-staple";
const CANARY: &str = "zq-canary-of-the-content";

fn plugin() -> String {
    let config = "config = { add = [{ name = \"X-Policy\", value = \"seen\" }] }";
    format!("[plugins.header-policy]\npath = {:?}\n{config}\n", component("header-policy"))
}

/// Fields of each record, as the page has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md")).unwrap();
    let (mut record, mut found) = (String::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("### `") {
            record = title.trim_end_matches('`').to_owned();
        } else if let Some((field, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")) {
            found.entry(record.clone()).or_default().insert(field.to_owned());
        }
    }
    found
}

/// Records of the log; fields that all lines have are left out.
fn records(relay: &Relay) -> Vec<(String, BTreeMap<String, Value>)> {
    let usual = ["timestamp", "level", "message", "target", "span", "record"];
    let lines = relay.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).ok());
    let record = |mut line: BTreeMap<String, Value>| {
        let name = line.get("record")?.as_str()?.to_owned();
        usual.iter().for_each(|key| drop(line.remove(*key)));
        Some((name, line))
    };
    lines.filter_map(record).collect()
}

#[test]
fn records_have_the_fields_of_the_page_and_nothing_of_the_content() {
    let sink = Sink::start();
    let log = "[log]\nformat = \"json\"\nlevel = \"warn,waypost=trace,decision=trace,plugin=trace\"\n";
    let listener = "[listeners.auth]\naddress = \"127.0.0.1:0\"\nallow-plaintext-auth = true\n[auth]\ncredentials = \"DIR/accounts\"\n";
    let tables = towards(&sink) + log + &plugin() + listener;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("accounts"), relay_password()).unwrap();
    let tables = tables.replace("DIR/accounts", dir.path().join("accounts").to_str().unwrap());
    let mut relay = Relay::start(&tables);

    let mut client = crate::harness::Smtp::connect(relay.listener("auth"));
    client.say("EHLO client.test");
    let plain = STANDARD.encode(format!("\0ann\0{SECRET}"));
    assert!(client.say(&format!("AUTH PLAIN {plain}")).starts_with("235"), "the account is good");
    client.say("AUTH PLAIN");
    client.say("QUIT");
    let mut client = crate::harness::Smtp::connect(relay.listener("auth"));
    client.say("EHLO client.test");
    let wrong = STANDARD.encode(format!("\0ann\0{SECRET}-wrong"));
    assert!(client.say(&format!("AUTH PLAIN {wrong}")).starts_with("535"));
    let mut client = crate::harness::Smtp::connect(relay.listener("auth"));
    client.say("EHLO client.test");
    client.say("AUTH LOGIN");
    client.say(&STANDARD.encode("ann"));
    assert!(client.say(&STANDARD.encode(SECRET)).starts_with("235"));

    let content = format!("From: <a@client.test>\r\nSubject: {CANARY}\r\nX-{CANARY}: x\r\n\r\n{CANARY}\r\n");
    let id = relay.smtp().deliver("a@client.test", &["b@there.test"], &content);
    let _ = sink.next();
    wait_for("the attempt is logged", || records(&relay).iter().any(|(name, _)| name == "attempt").then_some(()));
    relay.stop();
    let (found, page) = (records(&relay), documented());
    for name in ["reception", "attempt", "decision"] {
        assert!(found.iter().any(|(record, _)| record == name), "no {name}");
    }
    for (record, fields) in &found {
        let known = page.get(record).unwrap_or_else(|| panic!("docs/logs.md has no {record}"));
        let others: Vec<_> = fields.keys().filter(|key| !known.contains(*key)).collect();
        assert!(others.is_empty(), "{record}: {others:?} are not in docs/logs.md");
    }
    let reception = &found.iter().find(|(record, _)| record == "reception").unwrap().1;
    assert_eq!((reception["queue_id"].as_str(), reception["outcome"].as_str()), (Some(id.as_str()), Some("accepted")));
    let attempt = &found.iter().find(|(record, _)| record == "attempt").unwrap().1;
    assert_eq!((attempt["outcome"].as_str(), attempt["attempts"].as_u64()), (Some("delivered"), Some(1)));

    let log = relay.log();
    for secret in [SECRET, CANARY, &plain, &wrong, &STANDARD.encode(SECRET), &STANDARD.encode(CANARY)] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// A line of accounts for ann.
fn relay_password() -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["password", "ann", "--argon2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{SECRET}\n").as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A receiver of traces: bodies of requests, decoded.
struct Receiver {
    port: u16,
    heard: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut octets = Vec::new();
                let mut piece = [0; 4096];
                let body = loop {
                    let read = stream.read(&mut piece).unwrap_or(0);
                    octets.extend_from_slice(&piece[..read]);
                    let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&octets[..at]).to_ascii_lowercase();
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                    let length = length.unwrap_or(0);
                    assert!(head.contains("application/x-protobuf"), "{head}");
                    if octets.len() >= at + 4 + length || read == 0 {
                        break octets.split_off(at + 4);
                    }
                };
                kept.lock().unwrap().push(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { port, heard }
    }

    fn spans(&self) -> Vec<Span> {
        let heard = self.heard.lock().unwrap();
        let scopes = heard.iter().flat_map(|request| &request.resource_spans).flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn a_message_is_one_trace_over_a_restart() {
    let (sink, receiver) = (Sink::start(), Receiver::start());
    let traces = format!(
        "[telemetry.otlp]\nendpoint = \"http://127.0.0.1:{}\"\ninterval = \"100ms\"\nservice = \"test-relay\"\n",
        receiver.port
    );
    let dead = "[routing.domains]\n\"dead.test\" = \"smtp://127.0.0.1:1\"\n";
    let mut relay = Relay::start(&(towards(&sink) + dead + &plugin() + &traces));
    let content = format!("From: <a@client.test>\r\nSubject: {CANARY}\r\n\r\n{CANARY}\r\n");
    let id = relay.smtp().deliver("a@client.test", &["b@there.test"], &content);
    let _ = sink.next();
    let delivery = wait_for("the delivery is told", || receiver.named("SMTP delivery").first().cloned());
    let session = wait_for("the session is told", || receiver.named("SMTP session").first().cloned());
    let reception = receiver.named("SMTP reception").first().cloned().unwrap();
    assert_eq!(delivery.trace_id, reception.trace_id);
    assert_eq!(delivery.parent_span_id, reception.span_id);
    assert_eq!(delivery.links[0].span_id, reception.span_id);
    assert_eq!(
        (reception.links[0].trace_id.clone(), reception.links[0].span_id.clone()),
        (session.trace_id.clone(), session.span_id.clone())
    );
    assert!(reception.parent_span_id.is_empty() && session.trace_id != reception.trace_id);
    let hook = receiver.spans().into_iter().find(|span| span.name == "on-message header-policy").unwrap();
    assert_eq!(
        (hook.parent_span_id.clone(), hook.trace_id.clone()),
        (reception.span_id.clone(), reception.trace_id.clone())
    );
    assert_eq!(attribute(&reception, "messaging.message.id"), Some(id.clone()));
    assert_eq!(attribute(&session, "client.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(&session, "network.protocol.name").as_deref(), Some("smtp"));
    assert!(attribute(&delivery, "server.address").is_some(), "{delivery:?}");
    assert_eq!(delivery.events[0].name, "delivered");
    assert!(reception.end_time_unix_nano >= reception.start_time_unix_nano && reception.start_time_unix_nano > 0);
    let service = receiver.heard.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    assert!(format!("{service:?}").contains("test-relay"));
    assert!(!format!("{:?}", receiver.spans()).contains(CANARY), "content is told");

    // Attempts after a restart are of the same trace: nothing of it is kept but the queue id.
    let later = relay.smtp().deliver("a@client.test", &["c@dead.test"], &content);
    let failed = |id: &str| {
        let all = receiver.named("SMTP delivery");
        all.into_iter()
            .filter(|span| attribute(span, "messaging.message.id").as_deref() == Some(id))
            .collect::<Vec<_>>()
    };
    wait_for("an attempt that fails", || (!failed(&later).is_empty()).then_some(()));
    let before = failed(&later).len();
    relay.stop_and_restart();
    let spans = wait_for("another one", || Some(failed(&later)).filter(|spans| spans.len() > before));
    assert!(
        spans.iter().all(|span| span.trace_id == spans[0].trace_id && span.parent_span_id == spans[0].parent_span_id)
    );
    assert!(spans.iter().all(|span| span.status.as_ref().is_some_and(|status| status.message == "deferred")));
}
