//! What operators do to the queue, with a running relay and a next hop that answers.

use crate::harness::{Relay, Sink, towards, wait_for};

const CONTENT: &str = "Subject: waiting\r\n\r\nbody\r\n";

fn said(relay: &Relay, words: &[&str]) -> String {
    let output = relay.command(words);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(output.status.success(), "{words:?}: {text}");
    text
}

#[test]
fn a_bounce_by_filter_ends_only_the_recipients_that_match_and_tells_the_sender() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<x@", "451 4.2.0 not now", 1000);
    sink.answer("RCPT TO:<y@", "451 4.2.0 not now", 1000);
    let relay = Relay::start_towards(&sink);
    let id = relay.smtp().deliver("a@client.test", &["x@gone.test", "y@there.test"], CONTENT);
    sink.hears("RCPT TO:<y@", 1);
    wait_for("both are deferred", || {
        relay.messages().iter().any(|m| m["attempts"].as_u64() > Some(0) && m["waiting"] == 2).then_some(())
    });
    let refused = relay.command(&["queue", "bounce", "domain = gone.test"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && why.contains("1 message, 1 recipient") && why.contains("--yes"), "{why}");
    let dry = said(&relay, &["queue", "bounce", "domain = gone.test", "--dry-run"]);
    assert!(dry.contains("would be bounced") && dry.contains(&id), "{dry}");
    said(&relay, &["queue", "bounce", "domain = gone.test", "--reason", "closed down", "--yes"]);
    let report = sink.find(|taken| taken.recipients == ["a@client.test"]).expect("a report");
    assert!(report.content.contains("closed down") && report.content.contains("x@gone.test"), "{}", report.content);
    assert!(!report.content.contains("y@there.test"), "{}", report.content);
    wait_for("the other one is left", || relay.messages().iter().any(|m| m["waiting"] == 1).then_some(()));
    let shown = said(&relay, &["queue", "show", &id]);
    assert!(shown.contains("y@there.test") && !shown.contains("x@gone.test"), "{shown}");
    assert!(shown.contains("tried ") && shown.contains("451 4.2.0 not now"), "{shown}");
    assert!(said(&relay, &["queue", "cat", &id]).ends_with(CONTENT));
    let history = said(&relay, &["history", &id]);
    assert!(history.contains("x@gone.test: permanent: 554 5.3.0 closed down"), "{history}");
}

#[test]
fn what_is_suspended_waits_over_a_restart_until_it_is_resumed() {
    let sink = Sink::start();
    let mut relay = Relay::start_towards(&sink);
    let rule = relay.json(&["queue", "suspend", "domain = there.test", "--reason", "they asked"]);
    assert_eq!((rule["number"].as_u64(), rule["kind"].as_str()), (Some(1), Some("suspend")));
    let id = relay.smtp().deliver("a@client.test", &["x@there.test", "y@else.test"], CONTENT);
    assert_eq!(sink.next().recipients, ["y@else.test"]);
    wait_for("it waits", || relay.messages().iter().any(|m| m["suspended"] == 1).then_some(()));
    relay.stop_and_restart();
    let shown = said(&relay, &["queue", "show", &id]);
    assert!(shown.contains("suspended by rule 1: they asked") && shown.contains("0 attempts"), "{shown}");
    said(&relay, &["queue", "retry", "all"]);
    wait_for("it waits again", || relay.messages().iter().any(|m| m["suspended"] == 1).then_some(()));
    assert_eq!(sink.waiting(), 0);
    assert!(said(&relay, &["queue", "suspensions"]).contains("they asked"));
    said(&relay, &["queue", "resume", "1"]);
    assert_eq!(sink.next().recipients, ["x@there.test"]);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn who_retries_mail_has_a_dead_next_hop_looked_at_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let relay = Relay::start_whole(&format!(
        "hostname = \"relay.test\"\n[listeners.smtp]\naddress = \"127.0.0.1:0\"\n\
         [relay]\nnetworks = [\"127.0.0.0/8\"]\n[queue]\npath = \"DIR/spool\"\nmin-free = \"1 MiB\"\n\
         [admin]\nsocket = \"DIR/admin.sock\"\n[process]\nallow-root = true\n\
         [retry]\nfirst = \"1h\"\n[delivery]\ncool-down = \"1h\"\n\
         [routing]\ndefault = {{ hops = [\"smtp://{address}\"], tls = \"off\" }}\n"
    ));
    relay.smtp().deliver("a@client.test", &["x@there.test"], CONTENT);
    wait_for("nobody is there", || relay.messages().iter().any(|m| m["attempts"] == 1).then_some(()));
    let id = relay.smtp().deliver("a@client.test", &["y@there.test"], CONTENT);
    wait_for("it is left alone", || {
        said(&relay, &["queue", "show", &id]).contains("could not be reached a moment ago").then_some(())
    });
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    said(&relay, &["queue", "retry", &id]);
    wait_for("it is looked at again", || listener.accept().ok());
}

#[test]
fn mail_to_come_is_held_and_mail_is_sent_another_way() {
    let (sink, other) = (Sink::start(), Sink::start());
    let relay = Relay::start_towards(&sink);
    said(&relay, &["queue", "hold", "sender ~ news@", "--coming", "--reason", "to be looked at"]);
    let id = relay.smtp().deliver("news@client.test", &["x@there.test"], CONTENT);
    let held = relay.messages();
    assert_eq!((held.len(), held[0]["held"].as_str()), (1, Some("to be looked at")));
    let route = format!("smtp://{}", other.address());
    said(&relay, &["queue", "reroute", "reason ~ looked", "--to", &route]);
    assert!(said(&relay, &["queue", "show", &id]).contains(&format!("goes to {route}")));
    let wrong = relay.command(&["queue", "reroute", "all", "--to", "destination:nowhere"]);
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("there is no [destinations.nowhere]"));
    assert_eq!(
        said(&relay, &["queue", "count", "held"]),
        "1 message, 1 recipient, 243 B\n".replace("243 B", &size(&relay))
    );
    said(&relay, &["queue", "release", "held"]);
    assert_eq!(other.next().recipients, ["x@there.test"]);
    assert_eq!(sink.waiting(), 0);
}

fn size(relay: &Relay) -> String {
    format!("{} B", relay.messages()[0]["size"])
}

#[test]
fn who_is_suppressed_gets_nothing_and_the_sender_is_told() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    said(&relay, &["suppress", "add", "x@there.test", "--reason", "asked us to stop"]);
    assert!(said(&relay, &["suppress", "check", "X@there.test"]).contains("asked us to stop"));
    relay.smtp().deliver("a@client.test", &["x@there.test", "y@there.test"], CONTENT);
    let taken = [sink.next(), sink.next()];
    let report = taken.iter().find(|taken| taken.recipients == ["a@client.test"]).expect("a report");
    assert!(report.content.contains("5.7.1") && !report.content.contains("asked us to stop"), "{}", report.content);
    assert!(taken.iter().any(|taken| taken.recipients == ["y@there.test"]));
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    let failed = relay.json(&["history", "--failed"]);
    assert_eq!(failed[0]["recipients"][0]["address"], "x@there.test");
}

#[test]
fn the_history_has_what_was_said_where_it_failed() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<x@", "550 5.1.1 who is that", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("a@client.test", &["x@there.test"], CONTENT);
    sink.find(|taken| taken.recipients == ["a@client.test"]).expect("a report");
    let failed = relay.json(&["history", "--recipient", "x@there"]);
    let dialogue: Vec<&str> =
        failed[0]["dialogue"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    let has = |start: &str| dialogue.iter().any(|line| line.starts_with(start));
    assert!(has("C: RCPT TO:<x@there.test>") && has("S: 550 5.1.1 who is that"), "{dialogue:?}");
    assert!(!dialogue.iter().any(|line| line.contains("body")), "{dialogue:?}");
}

#[test]
fn a_sender_domain_that_has_too_much_waiting_is_put_off_and_others_are_not() {
    let sink = Sink::start();
    let tables = |most: u32| {
        let senders = format!("[queue.quotas.senders]\nper = \"sender-domain\"\nmax-messages = {most}\n");
        let there = "[queue.quotas.there]\nper = \"domain\"\nonly = [\"there.test\"]\nmax-bytes = \"1 KiB\"\n";
        format!("{}\n{senders}{there}", towards(&sink))
    };
    let mut relay = Relay::start(&tables(1));
    said(&relay, &["queue", "suspend", "--all", "--reason", "so that it waits"]);
    relay.smtp().deliver("a@client.test", &["x@there.test"], CONTENT);
    let mail = |relay: &Relay| {
        let mut client = relay.smtp();
        client.say("EHLO client.test");
        client.say("MAIL FROM:<b@Client.test>")
    };
    assert_eq!(mail(&relay), "452 4.3.1 Too much mail of this sender domain is waiting here, try again later");
    let large = format!("Subject: large\r\n\r\n{}", format!("{}\r\n", "x".repeat(70)).repeat(20));
    relay.smtp().deliver("a@second.test", &["y@there.test"], &large);
    let refused = relay.smtp().send("a@third.test", &["z@there.test", "z@else.test"], CONTENT);
    assert_eq!(refused, "452 4.3.1 Too much mail of this recipient domain is waiting here, try again later");
    relay.smtp().deliver("a@third.test", &["z@else.test"], CONTENT);
    let status = said(&relay, &["status"]);
    assert!(status.contains("quota senders: 1 message put off\nquota there: 1 message put off\n"), "{status}");
    assert!(relay.log().contains("quota there: 1"), "{}", relay.log());

    relay.rewrite(&tables(2));
    assert!(said(&relay, &["reload"]).contains("quotas"));
    relay.smtp().deliver("a@client.test", &["x@else.test"], CONTENT);
    relay.stop_and_restart();
    assert!(mail(&relay).starts_with("452 4.3.1 "), "counted anew");
    said(&relay, &["queue", "resume", "--all"]);
    (0..4).for_each(|_| drop(sink.next()));
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    relay.smtp().deliver("b@client.test", &["x@there.test"], CONTENT);
    assert_eq!(sink.next().recipients, ["x@there.test"]);
}
