//! `waypost trace`: what happens, as it happens, from the relay's stream of events.

use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::Common;
use super::http::{Answer, escaped};
use super::render::clean;
use super::{Failure, socket};

/// What is followed; all that is given must hold.
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// Of this client.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// With a sender or recipient that contains this.
    #[arg(long, value_name = "TEXT")]
    address: Option<String>,
    /// Only these.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// End after so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Sessions that begin, go on and end.
    Session,
    /// Mail that was taken or refused.
    Reception,
    /// Attempts to deliver.
    Delivery,
    /// What becomes of plugins.
    Plugin,
    /// Changes that people made.
    Audit,
}

impl Trace {
    fn target(&self) -> String {
        let mut query = Vec::new();
        if !self.kinds.is_empty() {
            let names: Vec<_> = self.kinds.iter().filter_map(|kind| kind.to_possible_value()).collect();
            let names: Vec<_> = names.iter().map(|name| name.get_name().to_owned()).collect();
            query.push(format!("kinds={}", names.join(",")));
        }
        query.extend(self.client.map(|client| format!("client={}", escaped(&client.to_string()))));
        query.extend(self.address.as_ref().map(|address| format!("address={}", escaped(address))));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/api/v1/events{mark}{}", query.join("&"))
    }
}

/// Follows them until the relay ends the stream, or so many have come.
pub(super) async fn trace(common: &Common, which: Trace, out: &mut dyn Write) -> Result<(), Failure> {
    let mut answer = Answer::get(&socket(common)?, &which.target()).await?;
    if answer.status != 200 {
        return Err(refused(answer.status, &answer.whole().await?));
    }
    let (mut kind, mut data, mut seen) = (String::new(), String::new(), 0);
    while let Some(line) = answer.line().await? {
        if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut kind);
        } else if let Some(more) = line.strip_prefix("data:") {
            data.push_str(more.strip_prefix(' ').unwrap_or(more));
        } else if line.is_empty() && !data.is_empty() {
            // An empty line ends an event; comments, which only keep the connection open, have no data.
            writeln!(out, "{}", event(&kind, &data, common.json))?;
            out.flush()?;
            seen += 1;
            if which.limit.is_some_and(|limit| seen >= limit) {
                return Ok(());
            }
            (kind, data) = (String::new(), String::new());
        }
    }
    Err(Failure::NotReachable("waypost: the relay ended the stream".to_owned()))
}

/// What the relay says against it (RFC 9457).
pub(super) fn refused(status: u16, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let reasons = problem.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let reasons: Vec<String> = reasons.iter().filter_map(Value::as_str).map(|why| format!("waypost: {why}")).collect();
    if reasons.is_empty() {
        Failure::refused(format!("waypost: the relay answers {status}"))
    } else {
        Failure::Refused(reasons)
    }
}

/// `10:22:31 reception accepted queue_id=… sender=…`; as JSON, the same object with its kind.
fn event(kind: &str, data: &str, json: bool) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(data) else { return clean(&format!("{kind} {data}")) };
    if json {
        fields.insert("kind".to_owned(), kind.into());
        return Value::Object(fields).to_string();
    }
    let mut text = String::new();
    for name in ["time", "at"] {
        if let Some(Value::String(time)) = fields.shift_remove(name) {
            // Of RFC 3339, what people who look at it do not know.
            text.push_str(time.get(11..19).unwrap_or(&time));
            text.push(' ');
        }
    }
    text.push_str(kind);
    for name in ["event", "what", "message"] {
        if let Some(Value::String(what)) = fields.shift_remove(name) {
            text.push(' ');
            text.push_str(&what);
        }
    }
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        // Infallible for a String.
        let _ = write!(text, " {key}={value}");
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::super::http::testing::answering;
    use super::*;

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        2a\r\n: here\n\nevent: session\nid: 1\ndata: {\"time\"\r\n\
        5d\r\n:\"2026-11-27T10:22:31.5Z\",\"event\":\"begins\",\"client\":\"192.0.2.1\",\"helo\":\"\\u001b[2Jx\",\"a\":null}\r\n\
        2\r\n\n\n\r\n20\r\nevent: lost\ndata: {\"count\": 3}\n\n\r\n0\r\n\r\n";

    async fn followed(octets: &'static [u8], args: &[&str]) -> (String, Option<Failure>, String) {
        let (_dir, path, mut told) = answering(octets);
        let socket = path.to_str().unwrap();
        let cli = Cli::try_parse_from(["waypost", "trace", "--socket", socket].iter().chain(args)).unwrap();
        let Command::Trace(which) = cli.command else { panic!("trace") };
        let mut out = Vec::new();
        let done = trace(&cli.common, which, &mut out).await;
        (String::from_utf8(out).unwrap(), done.err(), told.recv().await.unwrap())
    }

    #[tokio::test]
    async fn events_are_shown_as_they_come() {
        let (shown, failure, asked) =
            followed(STREAM, &["--client", "192.0.2.1", "--address", "ann@x", "--kinds", "session,delivery"]).await;
        assert_eq!(shown, "10:22:31 session begins client=192.0.2.1 helo=\u{fffd}[2Jx\nlost count=3\n");
        assert_eq!(failure.unwrap().code(), 3, "the relay is gone");
        let target = "/api/v1/events?kinds=session,delivery&client=192.0.2.1&address=ann%40x";
        assert!(asked.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{asked}");
        let (json, failure, asked) = followed(STREAM, &["--json", "--limit", "1"]).await;
        let event: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((event["kind"].as_str(), event["client"].as_str()), (Some("session"), Some("192.0.2.1")));
        assert!(failure.is_none() && asked.starts_with("GET /api/v1/events HTTP"));
    }

    #[tokio::test]
    async fn refusals_are_told() {
        let (_, failure, _) = followed(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 40\r\n\r\n{\"title\":\"Bad\",\"reasons\":[\"no address\"]}",
            &[],
        )
        .await;
        assert_eq!(failure.unwrap().to_string(), "waypost: no address");
        let (_, failure, _) = followed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", &[]).await;
        assert_eq!(failure.unwrap().to_string(), "waypost: the relay answers 404");
    }
}
