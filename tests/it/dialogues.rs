//! What a client may and may not do, on the wire.

use crate::harness::{Relay, Sink, Smtp, towards};

/// Says each line and compares the start of each reply.
fn dialogue(client: &mut Smtp, lines: &[(&str, &str)]) {
    for (line, start) in lines {
        let reply = client.say(line);
        assert!(reply.starts_with(start), "{line} expected {start}, got {reply:?}");
    }
}

#[test]
fn a_stranger_may_send_to_our_domains_only() {
    let sink = Sink::start();
    let relay = Relay::start_for_strangers(&towards(&sink));
    let mut client = relay.smtp();
    assert!(client.greeting().starts_with("220 relay.test "), "{}", client.greeting());
    dialogue(
        &mut client,
        &[
            ("EHLO client.test", "250-"),
            ("MAIL FROM:<a@client.test>", "250 2.1.0"),
            ("RCPT TO:<b@elsewhere.test>", "550 5.7.1"),
            ("RCPT TO:<b@ours.test.elsewhere.test>", "550 5.7.1"),
            ("RCPT TO:<@ours.test:b@elsewhere.test>", "5"),
            ("RCPT TO:<b%elsewhere.test@ours.test>", "250 2.1.5"),
            ("RCPT TO:<b@OURS.test>", "250 2.1.5"),
        ],
    );
    assert!(client.data("Subject: for us\r\n\r\nhello\r\n").starts_with("250 2.0.0"));
    assert_eq!(sink.next().recipients, ["b%elsewhere.test@ours.test", "b@ours.test"]);
}

#[test]
fn what_ehlo_offers_is_what_is_there() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let reply = relay.smtp().say("EHLO client.test");
    for keyword in ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE ", "ENHANCEDSTATUSCODES"] {
        assert!(reply.contains(keyword), "{keyword} in {reply:?}");
    }
    for keyword in ["STARTTLS", "AUTH"] {
        assert!(!reply.contains(keyword), "no certificate and no credentials, yet {keyword} in {reply:?}");
    }
}

#[test]
fn commands_out_of_order_cost_only_themselves() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    dialogue(
        &mut client,
        &[
            ("MAIL FROM:<a@client.test>", "503 5.5.1"),
            ("EHLO client.test", "250-"),
            ("RCPT TO:<b@there.test>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("NONSENSE", "5"),
            ("MAIL FROM:<a@client.test>", "250"),
            ("MAIL FROM:<a@client.test>", "503 5.5.1"),
            ("DATA", "5"),
            ("RSET", "250"),
            ("NOOP", "250"),
        ],
    );
    assert!(client.send("a@client.test", &["b@there.test"], "Subject: after all\r\n\r\nx\r\n").starts_with("250"));
    assert_eq!(client.say("QUIT").get(..3), Some("221"));
    assert!(client.is_closed());
    assert!(sink.next().content.contains("Subject: after all"));
}

#[test]
fn a_bare_line_feed_ends_neither_a_line_nor_the_data() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    for smuggled in ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n"] {
        let mut client = relay.smtp();
        client.say("EHLO client.test");
        client.say("MAIL FROM:<a@client.test>");
        client.say("RCPT TO:<b@there.test>");
        assert!(client.say("DATA").starts_with("354"));
        client.write(format!("Subject: first\r\n\r\ntext{smuggled}MAIL FROM:<evil@client.test>\r\n").as_bytes());
        let reply = client.say(".");
        assert!(reply.starts_with('5'), "{smuggled:?} was answered {reply:?}");
    }
    assert_eq!((relay.queued(), sink.waiting()), (0, 0), "nothing of it was taken");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.write(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@there.test>\r\nRCPT TO:<>\r\nDATA\r\n");
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!((codes[0], codes[1], &codes[2][..1], codes[3]), ("250", "250", "5", "354"), "{replies:?}");
    client.write(b"Subject: piped\r\n\r\nx\r\n.\r\nQUIT\r\n");
    assert!(client.reply().starts_with("250 2.0.0"));
    assert!(client.reply().starts_with("221"));
    assert!(sink.next().content.contains("Subject: piped"));
}
