//! What clients may take of the relay, met from outside: budgets, bans, deadlines, slow answers, stress, floods.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Relay, Smtp, wait_for};

/// Tests come from loopback, which is exempt from most rules unless somebody says otherwise.
fn relay(limits: &str) -> Relay {
    Relay::start(&format!("[limits]\nexempt = []\n{limits}\n[routing]\ndefault = \"smtp://127.0.0.1:1\"\n"))
}

fn starts(reply: &str, start: &str) {
    assert!(reply.starts_with(start), "expected {start}, got {reply:?}");
}

#[test]
fn who_errs_too_often_is_banned_until_an_operator_says_otherwise() {
    let relay = relay("[limits.tarpit]\ndelay = \"0s\"\n[limits.ban]\nerrors = 3\ntime = \"1h\"");
    let mut client = relay.smtp();
    for _ in 0..4 {
        starts(&client.say("NONSENSE"), "500 5.5.2");
    }
    starts(&client.reply(), "421 4.7.0 too many errors from your address");
    assert!(client.is_closed());
    starts(relay.smtp().greeting(), "421 4.7.0 Too many errors");
    let bans = relay.json(&["ban", "list"]);
    assert_eq!(bans[0]["network"], "127.0.0.1/32", "{bans}");
    assert_eq!(bans[0]["rule"], "limits.ban.errors");
    assert!(relay.command(&["ban", "remove", "127.0.0.1"]).status.success());
    starts(relay.smtp().greeting(), "220 ");
    assert!(relay.command(&["ban", "add", "127.0.0.0/8", "--for", "1h"]).status.success());
    starts(relay.smtp().greeting(), "421 4.7.0");
    assert!(relay.command(&["ban", "remove", "127.0.0.0/8"]).status.success());
    assert!(!relay.command(&["ban", "remove", "127.0.0.0/8"]).status.success());
    starts(relay.smtp().greeting(), "220 ");
    let status = relay.json(&["status"]);
    assert_eq!((&status["load"]["shed"]["ban"], &status["load"]["banned"]), (&2.into(), &0.into()), "{status}");
    let log = relay.log();
    assert!(log.contains("limits.ban.errors") && log.contains("refused commands"), "{log}");
}

#[test]
fn errors_behind_a_front_end_are_those_of_the_client_it_named() {
    let relay = relay(
        "[limits.tarpit]\ndelay = \"0s\"\n[limits.ban]\nerrors = 3\ntime = \"1h\"\n\
         [listeners.front]\naddress = \"127.0.0.1:0\"\nxclient-from = [\"127.0.0.1\"]",
    );
    let behind = |client: &str| {
        let mut front = Smtp::connect(relay.listener("front"));
        starts(&front.say("EHLO front.test"), "250");
        let banner = front.say(&format!("XCLIENT ADDR={client}"));
        (front, banner)
    };
    let (mut client, banner) = behind("192.0.2.1");
    starts(&banner, "220 ");
    for _ in 0..4 {
        starts(&client.say("NONSENSE"), "500 5.5.2");
    }
    starts(&client.reply(), "421 4.7.0 too many errors from your address");
    let bans = relay.json(&["ban", "list"]);
    assert_eq!((&bans[0]["network"], &bans[1]), (&"192.0.2.1/32".into(), &serde_json::Value::Null), "{bans}");
    let (mut again, banner) = behind("192.0.2.1");
    starts(&banner, "421 4.7.0 Too many errors from your address");
    assert!(again.is_closed());
    starts(&behind("192.0.2.2").1, "220 ");
    starts(&behind("[UNAVAILABLE]").1, "220 ");
    let status = relay.json(&["status"]);
    assert_eq!(status["load"]["shed"]["ban"], 1, "{status}");
}

#[test]
fn messages_and_recipients_over_the_rate_are_put_off() {
    let relay = relay("messages-per-minute = 2\nrecipients-per-minute = 3");
    let mut client = relay.smtp();
    let mail = "Subject: a\r\n\r\nb\r\n";
    client.deliver("a@there.test", &["b@there.test", "c@there.test"], mail);
    starts(&client.say("MAIL FROM:<a@there.test>"), "250 2.1.0");
    starts(&client.say("RCPT TO:<b@there.test>"), "250 2.1.5");
    starts(&client.say("RCPT TO:<c@there.test>"), "451 4.7.1 Too many recipients");
    starts(&client.data(mail), "250 2.0.0");
    starts(&client.say("MAIL FROM:<a@there.test>"), "451 4.7.1 Too many messages");
    starts(&client.say("NOOP"), "250");
    let mut another = relay.smtp();
    starts(&another.say("EHLO client.test"), "250");
    starts(&another.say("MAIL FROM:<a@there.test>"), "451 4.7.1");
}

/// Reads one reply.
fn reply(reader: &mut impl BufRead) {
    let mut line = String::new();
    while line.is_empty() || line.as_bytes().get(3) == Some(&b'-') {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "closed");
    }
}

/// Says the lines, then one octet after the other for as long as the relay takes them; the last reply.
fn trickle(relay: &Relay, lines: &[&str]) -> String {
    let mut writer = TcpStream::connect(relay.address()).unwrap();
    writer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    // Whoever does not wait for answers is sent away for that.
    reply(&mut reader);
    for line in lines {
        writer.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        reply(&mut reader);
    }
    let writer = thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(100));
        }
    });
    let mut last = String::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => last = line,
        }
    }
    drop(reader);
    writer.join().unwrap();
    last
}

#[test]
fn octets_that_trickle_in_keep_no_connection() {
    let relay = relay("command-timeout = \"1s\"\nmin-rate = \"1 KiB\"\nmin-rate-over = \"1s\"");
    starts(&trickle(&relay, &["EHLO client.test"]), "421 4.4.2");
    let lines = ["EHLO client.test", "MAIL FROM:<a@there.test>", "RCPT TO:<b@there.test>", "DATA"];
    starts(&trickle(&relay, &lines), "421 4.4.2");
    assert!(relay.log().contains("mail data came too slowly"));
}

#[test]
fn a_message_has_to_come_to_an_end() {
    let relay = relay("message-timeout = \"1s\"\nmin-rate = 0");
    let lines = ["EHLO client.test", "MAIL FROM:<a@there.test>", "RCPT TO:<b@there.test>", "DATA"];
    starts(&trickle(&relay, &lines), "421 4.4.2");
}

#[test]
fn who_is_turned_away_is_told_so_even_if_it_talks_first() {
    let relay = relay("connections = 1");
    let first = relay.smtp();
    starts(first.greeting(), "220");
    for _ in 0..50 {
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be gone already; what it said has to be there all the same.
        let _ = stream.write_all(b"EHLO client.test\r\n");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        starts(&line, "421 4.3.2");
    }
    let summary = wait_for("a line for many", || {
        relay.log().lines().find(|line| line.contains("turned away in a second")).map(ToOwned::to_owned)
    });
    assert!(summary.contains("in_all="), "{summary}");
    assert!(relay.log().matches("connection turned away").count() < 10, "{}", relay.log());
}

#[test]
fn errors_are_answered_late_and_a_drain_does_not_wait_for_that() {
    let mut relay = relay("[limits.tarpit]\nafter-errors = 1\ndelay = \"1s\"\ndelay-max = \"5m\"");
    let mut client = relay.smtp();
    let begun = Instant::now();
    starts(&client.say("NONSENSE"), "500");
    assert!(begun.elapsed() < Duration::from_secs(1));
    starts(&client.say("NONSENSE"), "500");
    assert!(begun.elapsed() >= Duration::from_secs(1), "the second one is late");
    // Fourteen at once: fourteen seconds.
    client.write(b"NONSENSE\r\n".repeat(14).as_slice());
    wait_for("they were heard", || (relay.log().matches("not recognized").count() >= 16).then_some(()));
    let begun = Instant::now();
    relay.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn under_stress_the_first_error_closes_and_it_passes() {
    let relay = relay("connections = 10\nstress-at = 20");
    let mut clients: Vec<Smtp> = (0..3).map(|_| relay.smtp()).collect();
    assert_eq!(relay.json(&["status"])["load"]["stressed"], true);
    let mut last = clients.pop().unwrap();
    starts(&last.say("NOOP"), "250");
    starts(&last.say("NONSENSE"), "500");
    starts(&last.reply(), "421 4.7.0");
    drop((last, clients));
    wait_for("it is over", || (relay.json(&["status"])["load"]["stressed"] == false).then_some(()));
    starts(&relay.smtp().say("NONSENSE"), "500");
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for_and_counts_as_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("[tls]\ncertificate = {chain:?}\nkey = {key:?}");
    let relay = relay(&format!("handshake-timeout = \"1s\"\n[limits.ban]\nerrors = 1\n{tls}"));
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    starts(&client.say("STARTTLS"), "220");
    client.write(b"\x16\x03\x01");
    assert!(client.is_closed());
    wait_for("the ban", || relay.log().contains("failed handshakes").then_some(()));
    starts(relay.smtp().greeting(), "421 4.7.0");
}
