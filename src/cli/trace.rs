//! `waypost trace`: what happens, as it happens, from the relay's stream of events.

use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::Common;
use super::render::clean;
use super::{Failure, connect};
use crate::admin::EventsForm;

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
    fn form(&self) -> EventsForm {
        let names: Vec<_> = self.kinds.iter().filter_map(|kind| kind.to_possible_value()).collect();
        let names: Vec<_> = names.iter().map(|name| name.get_name().to_owned()).collect();
        EventsForm {
            kinds: (!names.is_empty()).then(|| names.join(",")),
            client: self.client.map(|client| client.to_string()),
            address: self.address.clone(),
        }
    }
}

/// Follows them until the relay ends the stream, or so many have come.
pub(super) async fn trace(common: &Common, which: Trace, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut client, mut seen) = (connect(common).await?, 0);
    let show = |kind: &str, data: Value| {
        writeln!(out, "{}", event(kind, data, common.json))?;
        out.flush()?;
        seen += 1;
        let enough = which.limit.is_some_and(|limit| seen >= limit);
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    client.events(&which.form(), show).await?;
    if which.limit.is_some_and(|limit| seen >= limit) {
        return Ok(());
    }
    Err(Failure::NotReachable("waypost: the relay ended the stream".to_owned()))
}

/// `10:22:31 reception accepted queue_id=… sender=…`; as JSON, the same object with its kind.
fn event(kind: &str, data: Value, json: bool) -> String {
    let Value::Object(mut fields) = data else { return clean(&format!("{kind} {data}")) };
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
    use std::path::PathBuf;

    use clap::Parser as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::args::{Cli, Command};
    use super::*;

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        2a\r\n: here\n\nevent: session\nid: 1\ndata: {\"time\"\r\n\
        5d\r\n:\"2026-11-27T10:22:31.5Z\",\"event\":\"begins\",\"client\":\"192.0.2.1\",\"helo\":\"\\u001b[2Jx\",\"a\":null}\r\n\
        2\r\n\n\n\r\n20\r\nevent: lost\ndata: {\"count\": 3}\n\n\r\n0\r\n\r\n";

    /// Answers every request at a socket with these octets; what was asked comes back first.
    fn answering(octets: &'static [u8]) -> (tempfile::TempDir, PathBuf, tokio::sync::mpsc::Receiver<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (tell, told) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                let _ = tell.send(String::from_utf8_lossy(&buffer[..read]).into_owned()).await;
                let _ = stream.write_all(octets).await;
            }
        });
        (dir, path, told)
    }

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
        let target = "/api/v1/events?kinds=session%2Cdelivery&client=192.0.2.1&address=ann%40x";
        assert!(asked.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{asked}");
        let (json, failure, asked) = followed(STREAM, &["--json", "--limit", "1"]).await;
        let event: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((event["kind"].as_str(), event["client"].as_str()), (Some("session"), Some("192.0.2.1")));
        assert!(failure.is_none() && asked.starts_with("GET /api/v1/events HTTP"));
    }

    #[tokio::test]
    async fn refusals_are_told() {
        let (_, failure, _) = followed(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 74\r\n\r\n\
              {\"type\":\"about:blank\",\"title\":\"Bad\",\"status\":400,\"reasons\":[\"no address\"]}",
            &[],
        )
        .await;
        assert_eq!(failure.unwrap().to_string(), "no address");
        let (_, failure, _) = followed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", &[]).await;
        assert_eq!(failure.unwrap().to_string(), "the relay's answer broke off: status 404 Not Found");
    }
}
