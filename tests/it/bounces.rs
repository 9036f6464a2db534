//! Reports of failed deliveries (RFC 3464).

use crate::harness::{Relay, Sink, wait_for};

const CONTENT: &str = "From: <a@client.test>\r\nSubject: doomed\r\n\r\nthe body\r\n";

#[test]
fn a_permanent_failure_is_reported_to_the_sender() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<nobody@", "550 5.1.1 no such mailbox", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("a@client.test", &["nobody@there.test", "b@there.test"], CONTENT);
    let (first, second) = (sink.next(), sink.next());
    let (report, mail) = if first.sender.is_empty() { (first, second) } else { (second, first) };
    assert_eq!(mail.recipients, ["b@there.test"]);
    assert_eq!((report.sender.as_str(), report.recipients.as_slice()), ("", &["a@client.test".to_owned()][..]));
    for part in [
        "multipart/report",
        "report-type=delivery-status",
        "Reporting-MTA: dns; relay.test",
        "Final-Recipient: rfc822; nobody@there.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such mailbox",
        "Subject: doomed",
    ] {
        assert!(report.content.contains(part), "{part} in {}", report.content);
    }
    assert!(!report.content.contains("Final-Recipient: rfc822; b@"), "{}", report.content);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn the_null_reverse_path_gets_no_report() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<nobody@", "550 5.1.1 no such mailbox", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("", &["nobody@there.test"], CONTENT);
    sink.hears("RCPT TO:<nobody@", 1);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    assert_eq!(sink.waiting(), 0);
}

#[test]
fn what_outlives_its_give_up_time_is_reported() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<full@", "452 4.2.2 mailbox full", 1000);
    let relay = Relay::start(&format!(
        "[routing]\ndefault = {{ hops = [\"smtp://{}\"], tls = \"off\", retry = \"short\" }}\n\
         [retry.short]\nfirst = \"1s\"\nlongest = \"1s\"\ngive-up-after = \"2s\"\n",
        sink.address(),
    ));
    relay.smtp().deliver("a@client.test", &["full@there.test"], CONTENT);
    let report = sink.next();
    assert_eq!((report.sender.as_str(), report.recipients.as_slice()), ("", &["a@client.test".to_owned()][..]));
    for part in ["Action: failed", "Final-Recipient: rfc822; full@there.test"] {
        assert!(report.content.contains(part), "{part} in {}", report.content);
    }
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn notify_never_is_honoured() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<nobody@", "550 5.1.1 no such mailbox", 1);
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    assert!(client.say("RCPT TO:<nobody@there.test> NOTIFY=NEVER").starts_with("250"));
    assert!(client.data(CONTENT).starts_with("250"));
    sink.hears("RCPT TO:<nobody@", 1);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    assert_eq!(sink.waiting(), 0);
}
