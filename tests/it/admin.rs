//! The command line against a running relay.

use crate::harness::{Relay, Sink, wait_for};

const CONTENT: &str = "Subject: waiting\r\n\r\nbody\r\n";

#[test]
fn the_queue_can_be_listed_shown_and_worked() {
    let sink = Sink::start();
    sink.answer("RCPT", "451 4.2.0 not now", 1000);
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    let kept = client.deliver("a@client.test", &["kept@there.test"], CONTENT);
    let gone = client.deliver("a@client.test", &["gone@there.test"], CONTENT);
    let listed = relay.messages();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|m| m["id"] == kept.as_str() && m["sender"] == "a@client.test"), "{listed:?}");

    let shown = relay.command(&["queue", "show", &kept]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("kept@there.test") && shown.contains("Subject: waiting"), "{shown}");

    assert!(relay.command(&["queue", "remove", &gone]).status.success());
    assert!(relay.command(&["queue", "hold", &kept]).status.success());
    sink.forget_answers();
    assert!(relay.command(&["queue", "release", &kept]).status.success());
    assert_eq!(sink.next().recipients, ["kept@there.test"]);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    assert_eq!(sink.waiting(), 0, "what was removed never left");
}

#[test]
fn an_unknown_message_is_an_error_with_a_reason() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    for id in ["0000000000000", "no-id"] {
        let output = relay.command(&["queue", "show", id]);
        assert!(!output.status.success());
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn without_a_relay_the_commands_say_so() {
    let sink = Sink::start();
    let mut relay = Relay::start_towards(&sink);
    relay.stop();
    let output = relay.command(&["queue", "list"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("admin.sock"), "it should name the socket: {said}");
}

#[test]
fn what_happens_is_in_the_log_to_the_end() {
    let sink = Sink::start();
    let mut relay = Relay::start_towards(&sink);
    let id = relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    wait_for("the log names the message", || relay.log().contains(&id).then_some(()));
    relay.stop();
    assert!(relay.log().trim_end().ends_with("stopped"), "{}", relay.log());
}

#[test]
fn check_accepts_the_shipped_examples() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_waypost"))
                .args(["check", "--config"])
                .arg(&path)
                .output()
                .unwrap();
            // Certificates and the like are where their operators keep them, not here.
            let said = String::from_utf8_lossy(&output.stderr);
            let elsewhere = said.lines().all(|line| line.contains("there is no file /"));
            assert!(output.status.success() || elsewhere, "{}: {said}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 0, "no examples in {}", examples.display());
}
