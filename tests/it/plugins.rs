//! The shipped components at their hooks.

use crate::harness::{Relay, Sink, Smtp, component, towards, wait_for};

const CONTENT: &str = "From: <a@client.test>\r\nX-Internal: secret\r\nSubject: a test\r\n\r\nbody\r\n";

/// A `[plugins.NAME]` table with the shipped component.
fn plugin(name: &str, rest: &str) -> String {
    format!("[plugins.{name}]\npath = {:?}\n{rest}\n", component(name))
}

/// RCPT in a transaction of its own; the reply.
fn rcpt(client: &mut Smtp, recipient: &str) -> String {
    client.say("RSET");
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<{recipient}>"))
}

const GREYLIST: &str = "grants.kv = { bytes = \"1 MiB\", keys = 1000 }\n\
    config = { delay-seconds = 1, exempt-relay-clients = false, exempt-domains = [\"exempt.test\"] }";

#[test]
fn header_policy_removes_and_adds_what_it_is_told_to_and_nothing_else() {
    let sink = Sink::start();
    let settings = "config = { remove = [\"X-Internal\"], add = [{ name = \"X-Policy\", value = \"seen\" }] }";
    let relay = Relay::start(&(towards(&sink) + &plugin("header-policy", settings)));
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let taken = sink.next();
    assert!(taken.content.starts_with("Received: "), "the trace field is on top: {}", taken.content);
    assert_eq!(
        taken.below("X-Policy:"),
        "X-Policy: seen\r\n".to_owned() + &CONTENT.replace("X-Internal: secret\r\n", "")
    );
}

#[test]
fn header_policy_refuses_what_it_is_told_to() {
    let sink = Sink::start();
    let settings = "config = { refuse = [{ name = \"Subject\", contains = \"A TEST\", text = \"no tests here\" }] }";
    let relay = Relay::start(&(towards(&sink) + &plugin("header-policy", settings)));
    let reply = relay.smtp().send("a@client.test", &["b@there.test"], CONTENT);
    assert!(reply.starts_with("550 5.7.1") && reply.contains("no tests here"), "{reply}");
    assert_eq!((relay.queued(), sink.waiting()), (0, 0));
}

#[test]
fn greylist_turns_a_new_sender_away_and_takes_it_when_it_comes_back() {
    let sink = Sink::start();
    let relay = Relay::start(&(towards(&sink) + &plugin("greylist", GREYLIST)));
    let mut client = relay.smtp();
    let reply = rcpt(&mut client, "b@there.test");
    assert!(reply.starts_with("451 4.7.1"), "{reply}");
    assert!(rcpt(&mut client, "b@exempt.test").starts_with("250"));
    wait_for("the sender passes", || rcpt(&mut client, "b@there.test").starts_with("250").then_some(()));
    assert!(rcpt(&mut client, "other@there.test").starts_with("451"), "another recipient is another matter");
}

#[test]
fn what_a_plugin_keeps_outlives_a_restart() {
    let sink = Sink::start();
    let mut relay = Relay::start(&(towards(&sink) + &plugin("greylist", GREYLIST)));
    let mut client = relay.smtp();
    wait_for("the sender passes", || rcpt(&mut client, "b@there.test").starts_with("250").then_some(()));
    client.say("QUIT");
    relay.stop_and_restart();
    let reply = rcpt(&mut relay.smtp(), "b@there.test");
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn domain_routes_sends_each_domain_its_way() {
    let (sink, special) = (Sink::start(), Sink::start());
    let settings = format!(
        "[plugins.domain-routes.config.domains]\n\".special.test\" = {{ hops = [\"smtp://{}\"], tls = \"off\" }}\n\
         \"old.test\" = {{ fail = \"550 5.1.6 moved away\" }}\n",
        special.address(),
    );
    let relay = Relay::start(&(towards(&sink) + &plugin("domain-routes", &settings)));
    relay.smtp().deliver("a@client.test", &["b@x.special.test", "c@there.test"], CONTENT);
    assert_eq!(special.next().recipients, ["b@x.special.test"]);
    assert_eq!(sink.next().recipients, ["c@there.test"]);
    // Alone it is refused; among others it is reported.
    let refused = relay.smtp().send("a@client.test", &["d@old.test"], CONTENT);
    assert!(refused.starts_with("550 5.1.6 moved away"), "{refused}");
    relay.smtp().deliver("a@client.test", &["d@old.test", "b@x.special.test"], CONTENT);
    assert_eq!(special.next().recipients, ["b@x.special.test"]);
    let report = sink.next();
    assert_eq!((report.sender.as_str(), report.recipients.as_slice()), ("", &["a@client.test".to_owned()][..]));
    assert!(report.content.contains("5.1.6"), "{}", report.content);
}

#[test]
fn all_three_together_and_listed() {
    let sink = Sink::start();
    let tables = towards(&sink)
        + &plugin("greylist", GREYLIST)
        + &plugin("domain-routes", "config = { domains = { \"nowhere.test\" = \"mx\" } }")
        + &plugin("header-policy", "config = { stamp = \"{id}\" }");
    let relay = Relay::start(&tables);
    let listed = relay.command(&["plugin", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in ["greylist", "domain-routes", "header-policy"] {
        assert!(listed.contains(name), "{name} in {listed}");
    }
    let id = relay.smtp().deliver("a@client.test", &["b@exempt.test"], CONTENT);
    assert_eq!(sink.next().below("X-Waypost:"), format!("X-Waypost: {id}\r\n{CONTENT}"));
}

#[test]
fn settings_that_a_plugin_does_not_like_stop_the_reload() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    relay.rewrite(
        &(towards(&sink) + &plugin("greylist", "grants.kv = {}\nconfig = { delay-seconds = 0, no-such = 1 }")),
    );
    let output = relay.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("greylist"), "{said}");
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    assert_eq!(sink.next().recipients, ["b@there.test"]);
}
