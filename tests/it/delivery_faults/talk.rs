//! What next hops offer, and what is made of it: extensions used where they are there, and where they are not, the mail goes
//! without them or comes back.

use super::{CONTENT, is_done, relay_knowing};
use crate::harness::assert_starts;
use crate::network::{Network, Peer};

/// What becomes of a message.
enum Comes {
    /// The next hop gets it, with these words in MAIL and RCPT, and without those.
    So(&'static [&'static str], &'static [&'static str]),
    /// It comes back with this status, and the next hop hears nothing of it.
    Back(&'static str),
}

use Comes::{Back, So};

const EIGHT: &str = "Subject: a test\r\n\r\nGr\u{fc}\u{df}e\r\n";
const UTF8: &str = "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n";

/// A next hop's offer; parameters of MAIL, the recipient's local part and parameters; the content; what becomes of it.
const TABLE: &[(&str, &str, &str, &str, &str, Comes)] = &[
    ("PIPELINING", "", "b", "", CONTENT, So(&[], &["SIZE", "BODY", "SMTPUTF8"])),
    ("SIZE 10000", "", "b", "", CONTENT, So(&["SIZE="], &[])),
    ("SIZE 100", "", "b", "", CONTENT, Back("5.3.4")),
    ("8BITMIME", " BODY=8BITMIME", "b", "", EIGHT, So(&["BODY=8BITMIME"], &[])),
    ("SIZE", " BODY=8BITMIME", "b", "", CONTENT, So(&[], &["BODY"])),
    ("SIZE", " BODY=8BITMIME", "b", "", EIGHT, Back("5.6.3")),
    ("SIZE", "", "b", "", EIGHT, So(&[], &["BODY"])),
    ("8BITMIME, SMTPUTF8", " SMTPUTF8", "b\u{fc}", "", UTF8, So(&["SMTPUTF8", "<b\u{fc}@"], &[])),
    ("8BITMIME", " SMTPUTF8", "b\u{fc}", "", CONTENT, Back("5.6.7")),
    ("8BITMIME", " SMTPUTF8 BODY=8BITMIME", "b", "", UTF8, Back("5.6.7")),
    ("8BITMIME", " SMTPUTF8", "b", "", CONTENT, So(&[], &["SMTPUTF8"])),
    (
        "DSN",
        " RET=HDRS ENVID=e+3D1",
        "b",
        " NOTIFY=DELAY,FAILURE ORCPT=rfc822;o@client.test",
        CONTENT,
        So(&["RET=HDRS", "ENVID=e+3D1", "NOTIFY=DELAY,FAILURE", "ORCPT=rfc822;o@client.test"], &[]),
    ),
    ("SIZE", " RET=HDRS ENVID=e", "b", " NOTIFY=FAILURE", CONTENT, So(&[], &["RET", "ENVID", "NOTIFY"])),
];

#[test]
fn extensions_are_used_where_they_are_offered_and_missed_where_they_are_needed() {
    let network = Network::new();
    let listen = |(offer, ..): &(&str, &str, &str, &str, &str, Comes)| {
        network.listen("peer", network.address().into(), &format!("offer {offer}"))
    };
    let peers: Vec<Peer> = TABLE.iter().map(listen).collect();
    let home = network.listen("client.test", network.address().into(), "");
    let mut ways: Vec<(String, &Peer)> =
        peers.iter().enumerate().map(|(n, peer)| (format!("d{n}.test"), peer)).collect();
    ways.push(("client.test".to_owned(), &home));
    let relay = relay_knowing(&network, &ways, "");
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    let mut wrong = Vec::new();
    for (n, (row, peer)) in TABLE.iter().zip(&peers).enumerate() {
        let (_, mail, local, rcpt, content, comes) = row;
        assert_starts(&client.say(&format!("MAIL FROM:<a@client.test>{mail}")), "250");
        assert_starts(&client.say(&format!("RCPT TO:<{local}@d{n}.test>{rcpt}")), "250");
        assert_starts(&client.data(content), "250");
        match comes {
            So(with, without) => {
                let message = peer.next();
                let envelope = message.envelope.join(" ");
                let as_said = with.iter().all(|word| envelope.contains(word));
                if !as_said || without.iter().any(|word| envelope.contains(word)) || !message.text().ends_with(content)
                {
                    wrong.push(format!("{n}: {envelope}"));
                }
            }
            Back(status) => {
                let bounce = home.next().text();
                if !bounce.contains(&format!("Status: {status}"))
                    || peer.said().iter().any(|line| line.starts_with("MAIL"))
                {
                    wrong.push(format!("{n}: {bounce} {:?}", peer.said()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    is_done(&relay);
}

#[test]
fn binary_content_goes_in_chunks_or_comes_back() {
    let network = Network::new();
    let chunks = network.listen("chunks", network.address().into(), "offer CHUNKING, BINARYMIME");
    let none = network.listen("none", network.address().into(), "offer CHUNKING");
    let home = network.listen("client.test", network.address().into(), "");
    let ways =
        [("chunks.test".to_owned(), &chunks), ("none.test".to_owned(), &none), ("client.test".to_owned(), &home)];
    let relay =
        relay_knowing(&network, &ways, "[listeners.binary]\naddress = \"127.0.0.1:0\"\noffer = [\"BINARYMIME\"]\n");
    let content = b"Subject: a test\r\nMIME-Version: 1.0\r\n\r\n\x00\x01.\n\r.\r\n\xff";
    let mut client = crate::harness::Smtp::connect(relay.listener("binary"));
    client.say("EHLO client.test");
    for domain in ["chunks.test", "none.test"] {
        assert_starts(&client.say("MAIL FROM:<a@client.test> BODY=BINARYMIME"), "250");
        assert_starts(&client.say(&format!("RCPT TO:<b@{domain}>")), "250");
        client.write(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
        client.write(content);
        assert_starts(&client.reply(), "250");
    }
    let message = chunks.next();
    assert!(message.chunked && message.content.ends_with(content), "{:?}", message.text());
    assert!(home.next().text().contains("Status: 5.6.3"));
    is_done(&relay);
}
