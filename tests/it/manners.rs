//! Limits, back-off and sources as an operator meets them: the program, its command line, a next hop that complains.

use serde_json::Value;

use crate::harness::{Relay, Sink, wait_for};

const CONTENT: &str = "Subject: manners\r\n\r\nbody\r\n";

/// Everything to the sink, from two sources, one of which is no address of this host; a rule for the sink.
fn configuration(sink: &Sink) -> String {
    format!(
        r#"
        [routing]
        default = {{ hops = ["smtp://{}"], tls = "off", source = "both" }}
        [sources.good]
        addresses = ["127.0.0.1"]
        ehlo = "out.relay.test"
        [sources.broken]
        addresses = ["192.0.2.77"]
        [pools.both]
        members = {{ good = 1, broken = 1 }}
        [[shaping.rules]]
        name = "the sink"
        mx = "127.0.0.1"
        connections = 3
        per-hour = 100000
        "#,
        sink.address()
    )
}

fn limit<'a>(told: &'a Value, name: &str) -> (&'a str, &'a str) {
    let limits = told["limits"].as_array().unwrap();
    let found = limits.iter().find(|limit| limit["setting"] == name).unwrap();
    (found["value"].as_str().unwrap(), found["because"].as_str().unwrap())
}

#[test]
fn the_way_of_mail_is_explained_with_and_without_a_relay() {
    let sink = Sink::start();
    let mut relay = Relay::start(&configuration(&sink));
    for n in 0..6 {
        relay.smtp().deliver(&format!("a{n}@client.test"), &["b@there.test"], CONTENT);
    }
    for _ in 0..6 {
        sink.next();
    }
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));

    let told = relay.json(&["explain", "there.test"]);
    assert_eq!(told["live"], true);
    assert_eq!(told["route"]["because"], "routing.default");
    assert!(told["route"]["source-because"].as_str().unwrap().starts_with("one of the pool both"), "{told}");
    assert_eq!(limit(&told, "connections"), ("3", "the sink"));
    assert_eq!(limit(&told, "recipients"), ("50", "default"));
    let states = told["states"].as_array().unwrap();
    assert!(states.iter().any(|state| state["source"] == "good" && state["state"] == "ready"), "{told}");
    let sites = relay.json(&["destinations"]);
    assert!(sites.as_array().unwrap().iter().any(|site| site["limit"] == 3 && site["source"] == "good"), "{sites}");
    let shown = String::from_utf8(relay.command(&["explain", "user@there.test"]).stdout).unwrap();
    assert!(shown.contains("connections") && shown.contains("the sink"), "{shown}");

    relay.stop();
    let told = relay.json(&["explain", "there.test"]);
    assert_eq!((&told["live"], limit(&told, "connections")), (&Value::Bool(false), ("3", "the sink")));
    assert!(!relay.command(&["explain", "no domain"]).status.success());
    assert!(!relay.command(&["destinations"]).status.success(), "there is nobody to ask");
}

#[test]
fn a_next_hop_that_complains_is_worked_less_hard_and_says_why() {
    let sink = Sink::start();
    sink.answer("MAIL", "421 4.7.0 Too many concurrent connections from your host", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    sink.next();
    let sites = relay.json(&["destinations"]);
    assert_eq!((&sites[0]["state"], &sites[0]["backoff"]), (&"slow".into(), &"too-many-connections".into()), "{sites}");
    wait_for("the log says so", || relay.log().contains("too-many-connections").then_some(()));
}

#[test]
fn the_day_of_a_source_in_warm_up_goes_on_after_a_restart() {
    let sink = Sink::start();
    // Whatever the time zone and however late: today is one of these days.
    let start = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48)).strftime("%Y-%m-%d");
    let mut relay = Relay::start(&format!(
        "[routing]\ndefault = {{ hops = [\"smtp://{}\"], tls = \"off\", source = \"new\" }}\n\
         [sources.new]\naddresses = [\"127.0.0.1\"]\n\
         [sources.new.warm-up]\nstart = \"{start}\"\nplan = [9, 9, 9, 9, 9]\n",
        sink.address()
    ));
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    sink.next();
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    let note = |relay: &Relay| relay.json(&["explain", "there.test"])["notes"][0].clone();
    assert_eq!(note(&relay), "the source new has sent 1 of 9 messages there today");
    relay.stop_and_restart();
    assert_eq!(note(&relay), "the source new has sent 1 of 9 messages there today");
}
