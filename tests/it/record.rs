//! Calls of a plugin recorded in a running relay, and replayed without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{Relay, Sink, component, towards, wait_for};

const CONTENT: &str = "From: <a@client.test>\r\nX-Internal: secret\r\nSubject: a test\r\n\r\nbody\r\n";

const GREYLIST: &str = "grants.kv = { bytes = \"1 MiB\", keys = 1000 }\n\
    config = { delay-seconds = 1, exempt-relay-clients = false }";

const POLICY: &str = "config = { remove = [\"X-Internal\"], add = [{ name = \"X-Policy\", value = \"seen\" }] }";

fn tables(sink: &Sink) -> String {
    let plugin = |name: &str, rest: &str| format!("[plugins.{name}]\npath = {:?}\n{rest}\n", component(name));
    towards(sink) + &plugin("greylist", GREYLIST) + &plugin("header-policy", POLICY)
}

fn record(relay: &Relay, words: &[&str]) -> PathBuf {
    relay.json(&[&["plugin", "record"], words].concat())["path"].as_str().unwrap().into()
}

/// Without a relay or a configuration.
fn replay(recording: &Path, component: &Path, rest: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(["plugin", "replay"]).arg(recording).arg(component).args(rest).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// One recipient until it is taken, and the message.
fn mail(relay: &Relay) {
    let mut client = relay.smtp();
    wait_for("the sender passes", || {
        for line in ["RSET", "EHLO client.test", "MAIL FROM:<a@client.test>"] {
            client.say(line);
        }
        client.say("RCPT TO:<b@there.test>").starts_with("250").then_some(())
    });
    client.say("QUIT");
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
}

#[test]
fn a_recorded_session_replays_the_same_and_a_changed_plugin_shows_the_difference() {
    let sink = Sink::start();
    let mut relay = Relay::start(&tables(&sink));
    let greylist = record(&relay, &["greylist", "--calls", "1000", "--address", "b@there.test"]);
    let policy = record(&relay, &["header-policy", "--calls", "1"]);
    assert!(!relay.command(&["plugin", "record", "greylist"]).status.success(), "it is being recorded already");
    assert!(!relay.command(&["plugin", "record", "nobody"]).status.success());
    mail(&relay);
    let taken = sink.next();
    assert_eq!(
        taken.below("X-Policy:"),
        "X-Policy: seen\r\n".to_owned() + &CONTENT.replace("X-Internal: secret\r\n", "")
    );

    let stopped = relay.json(&["plugin", "record", "greylist", "--stop"]);
    assert!(stopped["recorded"].as_u64() >= Some(2), "{stopped}");
    // Neither a relay nor what it knew.
    relay.stop();

    let (code, text) = said(&replay(&greylist, &component("greylist"), &[]));
    assert!(code == Some(0) && text.contains("0 different"), "{text}");
    let (code, text) = said(&replay(&policy, &component("header-policy"), &[]));
    assert!(code == Some(0) && text.contains("1 call: 1 as recorded, 0 different"), "{text}");

    // Who comes back after a second is too early for this one.
    let settings = "{\"delay-seconds\":600,\"exempt-relay-clients\":false}";
    let (code, text) = said(&replay(&greylist, &component("greylist"), &["--settings", settings]));
    assert!(code == Some(1) && text.contains("on-rcpt: other"), "{text}");
    let settings = "{\"remove\":[\"X-Internal\"],\"add\":[{\"name\":\"X-Policy\",\"value\":\"changed\"}]}";
    let output = replay(&policy, &component("header-policy"), &["--settings", settings, "--json"]);
    let different: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let part = &different["differences"][0]["parts"][0];
    assert_eq!((output.status.code(), &part["what"]), (Some(1), &"edits".into()));
    assert!(part["expected"].to_string().contains("seen") && part["got"].to_string().contains("changed"), "{part}");

    let (code, text) = said(&replay(&greylist, &greylist, &[]));
    assert!(code == Some(2) && text.contains("the component: "), "{text}");
    let recorded = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, recorded.replace("a test", "a toast")).unwrap();
    let (code, text) = said(&replay(&policy, &component("header-policy"), &[]));
    assert!(code == Some(2) && text.contains("it was changed after it was made"), "{text}");
    let half: String = recorded.chars().take(recorded.len() / 2).collect();
    std::fs::write(&policy, half).unwrap();
    let (code, text) = said(&replay(&policy, &component("header-policy"), &[]));
    assert!(code == Some(2) && text.contains("it is cut off after 0 whole calls"), "{text}");
}

#[test]
fn a_recording_ends_with_the_relay() {
    let sink = Sink::start();
    let mut relay = Relay::start(&tables(&sink));
    let policy = record(&relay, &["header-policy"]);
    mail(&relay);
    relay.stop();
    let (code, text) = said(&replay(&policy, &component("header-policy"), &[]));
    assert!(code == Some(0) && text.contains("1 call: 1 as recorded"), "{text}");
}
