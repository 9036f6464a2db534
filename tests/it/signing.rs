//! Signatures of the relay's own, on the wire: what is signed and sealed, verified by the relay itself as mail of a stranger.
//!
//! Other programs verify them in `tests/system/signing`.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::harness::{PATIENCE, Relay, Sink, Smtp, in_own_network, serve_names, towards};

const LISTENERS: &str = r#"
[listeners.mx]
address = "127.0.0.1:0"
proxy-from = ["127.0.0.1"]
authentication-results = true

[listeners.own]
address = "unix:DIR/own.sock"
relay = true
"#;

const LETTER: &str = "From: Ann <ann@example.org>\r\nTo: bob@ours.test\r\nSubject: hello\r\n\r\nbody  here\r\n\r\n";

/// A key in a file, made by the program; its line in the DNS.
fn key(folder: &Path, domain: &str, selector: &str) -> (String, (String, String)) {
    let file = folder.join(format!("{selector}.pem"));
    let made = Command::new(env!("CARGO_BIN_EXE_waypost")).args(["dkim", "keygen"]).arg(&file).output().unwrap();
    let record = String::from_utf8(made.stdout).unwrap();
    let record = record.split('"').nth(1).unwrap_or_else(|| panic!("no record: {record}")).to_owned();
    let section = format!("domain = {domain:?}\nselector = {selector:?}\nkey-file = {file:?}\n");
    (section, (format!("{selector}._domainkey.{domain}"), record))
}

fn stranger(relay: &Relay) -> Smtp {
    let mut stream = TcpStream::connect(relay.address_of("mx")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n").unwrap();
    Smtp::over(stream)
}

fn known(relay: &Relay) -> Smtp {
    let stream = UnixStream::connect(relay.folder().join("own.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Smtp::over(stream)
}

fn unfolded(content: &str) -> String {
    content.replace("\r\n\t", " ").replace("\r\n ", " ")
}

#[test]
fn mail_of_known_clients_and_reports_are_signed_and_strangers_are_sealed() {
    in_own_network("signing::mail_of_known_clients_and_reports_are_signed_and_strangers_are_sealed", || {
        let folder = tempfile::tempdir().unwrap();
        let (ann, ann_line) = key(folder.path(), "example.org", "a");
        let (own, own_line) = key(folder.path(), "relay.test", "o");
        serve_names(vec![ann_line, own_line]);
        let sink = Sink::start();
        sink.answer("RCPT TO:<nobody@", "550 5.1.1 no such mailbox", 1);
        let keys = format!("[dkim.ann]\n{ann}[dkim.own]\n{own}[arc]\n{own}listeners = [\"mx\"]\n");
        let relay = Relay::start_for_strangers(&(towards(&sink) + LISTENERS + &keys));

        known(&relay).deliver("ann@example.org", &["bob@ours.test"], LETTER);
        let signed = sink.next().content;
        assert!(signed.starts_with("Received: ") && signed.ends_with(LETTER), "{signed}");
        let start = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=a;";
        assert_eq!(unfolded(&signed).matches(start).count(), 1, "{signed}");
        assert!(!signed.contains("ARC-Seal"), "{signed}");

        // What was signed verifies where it comes in as a stranger's, and gets a seal, but no second signature.
        stranger(&relay).deliver("ann@example.org", &["bob@ours.test"], &signed);
        let sealed = sink.next().content;
        let text = unfolded(&sealed);
        assert!(text.contains("dkim=pass header.d=example.org header.s=a"), "{text}");
        assert!(text.contains("ARC-Authentication-Results: i=1; relay.test; iprev="), "{text}");
        assert!(text.contains("ARC-Seal: i=1; a=ed25519-sha256;") && text.contains("cv=none;"), "{text}");
        assert_eq!(text.matches("DKIM-Signature: ").count(), 1, "{text}");

        stranger(&relay).deliver("ann@example.org", &["bob@ours.test"], &sealed);
        let text = unfolded(&sink.next().content);
        assert!(text.contains("arc=pass smtp.remote-ip=192.0.2.7") && text.contains("ARC-Seal: i=2;"), "{text}");

        // Whoever a stranger says it is.
        stranger(&relay).deliver("ann@example.org", &["bob@ours.test"], LETTER);
        assert!(!sink.next().content.contains("DKIM-Signature"));

        known(&relay).deliver("boss@example.org", &["nobody@ours.test"], LETTER);
        let report = sink.next();
        assert!(
            report.sender.is_empty() && unfolded(&report.content).contains("d=relay.test; s=o;"),
            "{}",
            report.content
        );
        stranger(&relay).deliver("", &["bob@ours.test"], &report.content);
        let text = unfolded(&sink.next().content);
        assert!(text.contains("dkim=pass header.d=relay.test header.s=o"), "{text}");
    });
}

#[test]
fn a_key_that_is_not_there_keeps_the_relay_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("waypost.toml");
    let key = "[dkim.a]\ndomain = 'example.org'\nselector = 'a'\nkey-file = 'lost.pem'\n";
    let rest = "hostname = 'relay.test'\n[listeners.smtp]\naddress = '127.0.0.1:0'\n[admin]\nsocket = 'a.sock'\n";
    std::fs::write(&config, format!("{rest}{key}")).unwrap();
    for command in ["run", "check"] {
        let done =
            Command::new(env!("CARGO_BIN_EXE_waypost")).args([command, "--config"]).arg(&config).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        assert!(!done.status.success() && told.contains("lost.pem"), "{command}: {told}");
    }
}
