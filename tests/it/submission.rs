//! What people's mail programs submit: made whole, and theirs to send (RFC 6409).

use std::fs;

use crate::harness::{Relay, Sink, Smtp, assert_starts, towards};

/// A relay at which a front end says who clients are.
fn relay(sink: &Sink, senders: &str) -> (Relay, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("senders");
    fs::write(&path, senders).unwrap();
    let tables = format!(
        "{}[listeners.submission]\naddress = \"127.0.0.1:0\"\nsubmission = true\nxclient-from = [\"127.0.0.1\"]\n\
         [auth]\nsenders = {path:?}\n",
        towards(sink)
    );
    (Relay::start_for_strangers(&tables), folder)
}

/// A client that a front end vouches for.
fn client(relay: &Relay, name: &str) -> Smtp {
    let mut client = Smtp::connect(relay.listener("submission"));
    client.say("EHLO front.test");
    assert_starts(&client.say(&format!("XCLIENT ADDR=192.0.2.1 LOGIN={name}")), "220");
    client.say("EHLO client.test");
    client
}

#[test]
fn a_submitted_message_gets_what_it_lacks() {
    let sink = Sink::start();
    let (relay, _folder) = relay(&sink, "ann: ann@ours.test\n");
    let mut ann = client(&relay, "ann");
    assert_starts(
        &ann.send("ann@ours.test", &["bob@there.test"], "From: ann@ours.test\r\nSubject: a\r\n\r\nx\r\n"),
        "250",
    );
    let content = sink.next().content;
    for field in ["\r\nDate: ", "\r\nMessage-ID: <", "@relay.test>\r\n"] {
        assert!(content.contains(field), "{field:?} in {content}");
    }
    assert!(!content.contains("Sender:"), "{content}");
    let whole = "Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <a@b>\r\nFrom: ann@ours.test\r\n\r\nx\r\n";
    assert_starts(&ann.send("ann@ours.test", &["bob@there.test"], whole), "250");
    assert!(sink.next().content.ends_with(whole), "what was whole is as it was");
}

#[test]
fn nobody_writes_as_somebody_else() {
    let sink = Sink::start();
    let (relay, _folder) = relay(&sink, "ann: ann@ours.test\nrobot: *\n");
    let mut ann = client(&relay, "ann");
    assert_starts(&ann.say("MAIL FROM:<eve@ours.test>"), "553 5.7.1");
    assert_starts(&ann.send("ann@ours.test", &["bob@there.test"], "From: eve@ours.test\r\n\r\nx\r\n"), "550 5.7.1");
    // Readers differ in whom they take for the author of these.
    for from in [
        "From: eve@ours.test\r\nFrom: ann@ours.test",
        "From: ann@ours.test\r\nFROM : eve@ours.test",
        "From: Eve <eve@ours.test>, ann@ours.test",
        "From: <eve@ours.test.>",
    ] {
        let message = format!("{from}\r\n\r\nx\r\n");
        assert_starts(&ann.send("ann@ours.test", &["bob@there.test"], &message), "550 5.7.1");
    }
    let mut robot = client(&relay, "robot");
    assert_starts(&robot.send("eve@ours.test", &["bob@there.test"], "From: eve@ours.test\r\n\r\nx\r\n"), "250");
    sink.next();
    assert_starts(&client(&relay, "unknown").say("MAIL FROM:<ann@ours.test>"), "553 5.7.1");
    assert_eq!((relay.queued(), sink.waiting()), (0, 0), "nothing of what was refused went on");
}
