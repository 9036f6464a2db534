//! WASI 0.2 through a real component: there is nothing behind it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::plugin::testing::guest;
use crate::plugin::{Budget, PluginConfig, PluginSet};

async fn fetcher(config: Value, wall: Duration) -> PluginSet {
    let budgets = [(Hook::Rcpt, Budget { cpu: Duration::from_secs(5), wall })].into();
    let config = PluginConfig { config, budgets, ..PluginConfig::default() };
    Fixture::new().with_config("f", &guest("fetcher"), config).build().await
}

/// What the guest says when it is asked for a local part, and its failures since the start.
async fn says(set: &PluginSet, local_part: &str) -> (String, String) {
    let mut subject = at_rcpt();
    if let Some(candidate) = &mut subject.candidate {
        candidate.mailbox = mailbox(local_part, "example.net");
    }
    let said = match set.rcpt(subject).await.1 {
        SessionVerdict::Reject(reply) => reply.lines.join("\n"),
        other => format!("{other:?}"),
    };
    (said, set.list()[0].failures.iter().map(|(kind, n)| format!("{kind} {n}")).collect())
}

const WALL: Duration = Duration::from_secs(5);

#[tokio::test]
async fn there_are_no_files_no_sockets_and_no_environment() {
    let set = fetcher(json!({}), WALL).await;
    let (said, failures) = says(&set, "survey").await;
    let expected = "environment 0, arguments 0, folders 0, input closed, tcp Some(\"access-denied\"), \
                    udp Some(\"access-denied\"), names permanent-resolver-failure, time 1795473060";
    assert_eq!((&*said, &*failures), (expected, ""));
}

#[tokio::test]
async fn exit_ends_the_call_and_not_the_relay() {
    let set = fetcher(json!({}), WALL).await;
    let (said, failures) = says(&set, "exit").await;
    assert!(said.contains("Tempfail"), "{said}");
    assert_eq!(failures, "trap 1");
    assert_eq!(says(&set, "random").await.0, "0", "another instance goes on");
}

#[tokio::test]
async fn sleeping_costs_wall_time() {
    let set = fetcher(json!({"milliseconds": 1}), WALL).await;
    assert_eq!(says(&set, "sleep").await, ("slept".to_owned(), String::new()));
    let set = fetcher(json!({"milliseconds": 600_000}), Duration::from_millis(100)).await;
    let (said, failures) = says(&set, "sleep").await;
    assert!(said.contains("Tempfail"), "{said}");
    assert_eq!(failures, "wall 1");
}

#[tokio::test]
async fn random_numbers_are_bounded() {
    let set = fetcher(json!({"octets": 65_536}), WALL).await;
    assert_eq!(says(&set, "random").await.0, "65536");
    let set = fetcher(json!({"octets": 65_537}), WALL).await;
    assert_eq!(says(&set, "random").await.1, "trap 1");
}

#[tokio::test]
async fn what_is_written_becomes_lines_of_the_log() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG).with_writer(log.clone()).finish(),
    );
    let set = fetcher(json!({}), WALL).await;
    assert_eq!(says(&set, "say").await.0, "said");
    let lines: Vec<String> = log.lines("on-rcpt");
    assert_eq!(lines, ["DEBUG half a line", r"WARN \u{1b}[31mred", "DEBUG and an end"]);
}

/// What was logged, as JSON.
#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

impl Log {
    /// Level and text of the lines of plugins at a hook.
    fn lines(&self, hook: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ours = lines.filter(|line| line["target"] == "plugin" && line["fields"]["hook"] == hook);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ours.map(|line| format!("{} {}", word(&line["level"]), word(&line["fields"]["message"]))).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
