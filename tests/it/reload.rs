//! New settings while mail flows, good ones and bad ones.

use crate::harness::{Relay, Sink, towards, wait_for};

const CONTENT: &str = "Subject: a test\r\n\r\nbody\r\n";

#[test]
fn a_good_configuration_takes_over() {
    let (before, after) = (Sink::start(), Sink::start());
    let relay = Relay::start_towards(&before);
    relay.smtp().deliver("a@client.test", &["1@there.test"], CONTENT);
    assert_eq!(before.next().recipients, ["1@there.test"]);
    relay.rewrite(&towards(&after));
    let output = relay.command(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    relay.smtp().deliver("a@client.test", &["2@there.test"], CONTENT);
    assert_eq!(after.next().recipients, ["2@there.test"]);
    assert_eq!(before.waiting(), 0);
}

#[test]
fn a_signal_does_the_same() {
    let (before, after) = (Sink::start(), Sink::start());
    let relay = Relay::start_towards(&before);
    let generation = |relay: &Relay| relay.json(&["status"])["generation"].as_u64();
    let first = generation(&relay);
    relay.rewrite(&towards(&after));
    relay.hang_up();
    wait_for("a new generation", || (generation(&relay) > first).then_some(()));
    relay.smtp().deliver("a@client.test", &["2@there.test"], CONTENT);
    assert_eq!(after.next().recipients, ["2@there.test"]);
}

#[test]
fn a_bad_configuration_leaves_the_old_one_serving_and_says_why() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let bad = [
        ("syntax", "[routing\n", "waypost.toml"),
        ("a key that does not exist", "[routing]\ndefaults = \"mx\"\n", "defaults"),
        ("a component that does not exist", "[plugins.ghost]\npath = \"DIR/ghost.wasm\"\n", "ghost"),
        ("a component that is none", "[plugins.ghost]\npath = \"DIR/waypost.toml\"\n", "ghost"),
    ];
    for (what, tables, named) in bad {
        relay.rewrite(tables);
        let output = relay.command(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{what} was taken");
        assert!(said.contains(named), "{what}: {said}");
        relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
        assert_eq!(sink.next().recipients, ["b@there.test"], "{what}");
    }
}

#[test]
fn a_session_under_way_is_not_disturbed() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    relay.rewrite(&towards(&sink));
    assert!(relay.command(&["reload"]).status.success());
    assert!(client.say("RCPT TO:<b@there.test>").starts_with("250"));
    assert!(client.data(CONTENT).starts_with("250"));
    assert_eq!(sink.next().recipients, ["b@there.test"]);
}
