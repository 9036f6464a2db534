//! What was accepted outlives the process.

use crate::harness::{Relay, Sink, wait_for};

const CONTENT: &str = "Subject: kept\r\n\r\nbody\r\n";

/// Three messages that the next hop does not take until it is asked a fourth time.
fn deferred(sink: &Sink) -> (Relay, Vec<String>) {
    sink.answer("RCPT", "451 4.2.0 not now", 1000);
    let relay = Relay::start_towards(sink);
    let mut client = relay.smtp();
    let ids = (0..3).map(|n| client.deliver("a@client.test", &[&format!("r{n}@there.test")], CONTENT)).collect();
    sink.hears("RCPT TO:<r2@", 1);
    (relay, ids)
}

fn arrives_after_restart(sink: Sink, relay: Relay, mut ids: Vec<String>) {
    let mut listed: Vec<String> = relay.messages().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids, "the queue is as it was");
    sink.forget_answers();
    let mut recipients: Vec<String> = (0..3).flat_map(|_| sink.next().recipients).collect();
    recipients.sort();
    assert_eq!(recipients, ["r0@there.test", "r1@there.test", "r2@there.test"]);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    assert_eq!(sink.waiting(), 0, "each once");
}

#[test]
fn after_a_crash_the_queue_goes_on_where_it_was() {
    let sink = Sink::start();
    let (mut relay, ids) = deferred(&sink);
    relay.crash_and_restart();
    arrives_after_restart(sink, relay, ids);
}

#[test]
fn after_an_orderly_end_the_queue_goes_on_where_it_was() {
    let sink = Sink::start();
    let (mut relay, ids) = deferred(&sink);
    relay.stop_and_restart();
    arrives_after_restart(sink, relay, ids);
}

#[test]
fn what_is_held_stays_held_over_a_restart() {
    let sink = Sink::start();
    sink.answer("RCPT", "451 4.2.0 not now", 1000);
    let mut relay = Relay::start_towards(&sink);
    let id = relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    assert!(relay.command(&["queue", "hold", &id]).status.success());
    sink.forget_answers();
    relay.crash_and_restart();
    assert_eq!((relay.queued(), sink.waiting()), (1, 0));
    assert!(relay.command(&["queue", "release", &id]).status.success());
    assert_eq!(sink.next().recipients, ["b@there.test"]);
}
