//! Binary content (RFC 3030): from one relay to the next by BDAT, octet by octet the same.

use std::fs;

use crate::harness::{Relay, Sink, assert_starts, towards, wait_for};

const OFFER: &str = "[smtp]\noffer = [\"BINARYMIME\"]\n";

#[test]
fn binary_content_passes_two_relays_as_it_is() {
    let last = Relay::start(&format!(
        "{OFFER}[routing]\ndefault = \"destination:mail\"\n[destinations.mail]\nmaildir = \"DIR/mail/{{domain}}/{{local}}\"\n"
    ));
    let next = last.listener("smtp");
    let first = Relay::start(&format!("{OFFER}[routing]\ndefault = {{ hops = [\"smtp://{next}\"], tls = \"off\" }}\n"));
    let mut client = first.smtp();
    client.say("EHLO client.test");
    assert_starts(&client.say("MAIL FROM:<a@client.test> BODY=BINARYMIME"), "250");
    assert_starts(&client.say("RCPT TO:<b@there.test>"), "250");
    let body: Vec<u8> = (0..=255).chain(*b"\n.\n\r.\r\r\n.\r\n").cycle().take(100_000).collect();
    let content = [b"Subject: octets\r\n\r\n", &body[..]].concat();
    for (number, chunk) in content.chunks(30_000).enumerate() {
        let end = if number == 3 { " LAST" } else { "" };
        client.write(format!("BDAT {}{end}\r\n", chunk.len()).as_bytes());
        client.write(chunk);
        assert_starts(&client.reply(), "250 2.0.0");
    }
    let folder = last.folder().join("mail/there.test/b/new");
    let path = wait_for("a file in new", || fs::read_dir(&folder).ok()?.next()?.ok()).path();
    // A Maildir's lines end in LF.
    let (stored, mut wanted) = (fs::read(path).unwrap(), Vec::new());
    for octet in content {
        if octet == b'\n' && wanted.last() == Some(&b'\r') {
            wanted.pop();
        }
        wanted.push(octet);
    }
    assert!(stored.ends_with(&wanted), "{} octets of {}", stored.len(), wanted.len());
}

#[test]
fn what_the_next_hop_can_not_take_comes_back() {
    let sink = Sink::start();
    let relay = Relay::start(&format!("{OFFER}{}", towards(&sink)));
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test> BODY=BINARYMIME");
    client.say("RCPT TO:<b@there.test>");
    client.write(b"BDAT 8 LAST\r\nA: b\r\n\r\n");
    assert_starts(&client.reply(), "250 2.0.0");
    let report = sink.next();
    assert!(report.content.contains("5.6.3"), "{}", report.content);
}
