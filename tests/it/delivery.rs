//! From the queue to a next hop or a Maildir, with retries.

use crate::harness::{Relay, Sink, maildir_messages, wait_for};

const CONTENT: &str = "From: <a@client.test>\r\nSubject: a test\r\n\r\n.dot\r\n..\r\nlast line\r\n";

#[test]
fn accepted_mail_reaches_the_next_hop_with_one_trace_field_more() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let id = relay.smtp().deliver("a@client.test", &["b@there.test", "c@there.test"], CONTENT);
    let taken = sink.next();
    assert_eq!((taken.sender.as_str(), taken.recipients.len()), ("a@client.test", 2));
    assert_eq!(taken.below("From:"), CONTENT);
    let trace = taken.content.strip_suffix(CONTENT).unwrap();
    assert!(trace.starts_with("Received: from client.test ") && trace.contains(&id), "{trace:?}");
    assert!(!trace.contains("there.test"), "recipients must not learn of each other: {trace:?}");
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn a_large_body_comes_out_as_it_went_in() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let line = format!("{}\r\n", ".0123456789".repeat(80));
    let content = format!("Subject: large\r\n\r\n{}", line.repeat((3 << 20) / line.len()));
    relay.smtp().deliver("a@client.test", &["b@there.test"], &content);
    assert!(sink.next().below("Subject:") == content, "3 MiB differ somewhere");
}

#[test]
fn a_maildir_gets_a_whole_file_for_each_recipient() {
    let relay = Relay::start(
        r#"
        [routing]
        default = "destination:mailboxes"
        [destinations.mailboxes]
        maildir = "DIR/mail/{domain}/{local}"
        "#,
    );
    relay.smtp().deliver("a@client.test", &["b@there.test", "c@elsewhere.test"], CONTENT);
    for place in ["there.test/b", "elsewhere.test/c"] {
        let maildir = relay.folder().join("mail").join(place);
        let message = wait_for("a file in new", || maildir_messages(&maildir).pop());
        assert!(message.contains("Return-Path: <a@client.test>"), "{message}");
        assert!(message.contains(".dot") && message.contains("last line"), "{message}");
    }
}

#[test]
fn a_local_part_can_not_leave_its_folder() {
    let relay = Relay::start(
        r#"
        [routing]
        default = "destination:mailboxes"
        [destinations.mailboxes]
        maildir = "DIR/mail/{domain}/{local}"
        "#,
    );
    relay.smtp().deliver("a@client.test", &["\"../../../escaped\"@there.test", "ok@there.test"], CONTENT);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    let inside: Vec<_> = std::fs::read_dir(relay.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!inside.iter().any(|name| name == "escaped"), "{inside:?}");
    assert!(!relay.folder().parent().unwrap().join("escaped").exists());
    assert_eq!(maildir_messages(&relay.folder().join("mail/there.test/ok")).len(), 1);
}

#[test]
fn a_deferred_recipient_is_tried_again_and_alone() {
    let sink = Sink::start();
    sink.answer("RCPT TO:<later@", "451 4.2.0 not now", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("a@client.test", &["now@there.test", "later@there.test"], CONTENT);
    assert_eq!(sink.next().recipients, ["now@there.test"]);
    assert_eq!(sink.next().recipients, ["later@there.test"]);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
    assert_eq!(sink.waiting(), 0, "each recipient got it once");
}

#[test]
fn a_connection_lost_before_the_answer_to_the_data_is_a_deferral() {
    let sink = Sink::start();
    sink.answer(".", "421 4.3.2 going away", 1);
    let relay = Relay::start_towards(&sink);
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let taken = sink.next();
    assert_eq!(taken.recipients, ["b@there.test"]);
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn the_most_specific_route_wins() {
    let (general, special) = (Sink::start(), Sink::start());
    let relay = Relay::start(&format!(
        "[routing]\ndefault = {{ hops = [\"smtp://{}\"], tls = \"off\" }}\n\
         [routing.domains]\n\".there.test\" = {{ hops = [\"smtp://{}\"], tls = \"off\" }}\n",
        general.address(),
        special.address(),
    ));
    relay.smtp().deliver("a@client.test", &["b@mail.there.test", "c@there.test"], CONTENT);
    assert_eq!(special.next().recipients, ["b@mail.there.test"]);
    assert_eq!(general.next().recipients, ["c@there.test"]);
}

#[test]
fn the_second_hop_is_tried_when_the_first_is_not_there() {
    let sink = Sink::start();
    // Bound and not listening: the port is ours, and who connects is refused.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let relay = Relay::start(&format!(
        "[routing]\ndefault = {{ hops = [\"smtp://{}\", \"smtp://{}\"], tls = \"off\" }}\n",
        nobody.local_addr().unwrap().as_socket().unwrap(),
        sink.address(),
    ));
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    assert_eq!(sink.next().recipients, ["b@there.test"]);
}
