//! The relay as a process: what it says while it runs, and how it ends.

use std::fs;

use crate::harness::{Relay, Sink, towards, wait_for};

const CONTENT: &str = "Subject: logged\r\n\r\nbody\r\n";

#[test]
fn the_log_is_on_standard_output_up_to_the_last_line() {
    let sink = Sink::start();
    let mut relay = Relay::start_towards(&sink);
    let id = relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    sink.next();
    relay.stop();
    let log = fs::read_to_string(relay.folder().join("log")).unwrap();
    let taken = format!("accepted queue_id={id}");
    for line in ["listening listener=smtp", &taken, "delivered", "stopped"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
}

#[test]
fn who_is_refused_and_why_is_in_the_log() {
    let sink = Sink::start();
    let mut relay = Relay::start_for_strangers(&towards(&sink));
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say("RCPT TO:<b@elsewhere.test>");
    client.say("NONSENSE");
    relay.stop();
    let log = fs::read_to_string(relay.folder().join("log")).unwrap();
    for line in [
        "recipient refused sender=<a@client.test> recipient=\"b@elsewhere.test\" reply=\"550 5.7.1 relay access denied\"",
        "refused reply=\"500 5.5.2 command not recognized\"",
    ] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
}

#[test]
fn the_log_file_is_opened_anew_at_every_reload() {
    let sink = Sink::start();
    let relay = Relay::start(&format!("{}\n[log]\noutput = \"DIR/relay.log\"\n", towards(&sink)));
    let (log, old) = (relay.folder().join("relay.log"), relay.folder().join("relay.log.1"));
    wait_for("the log is written", || fs::read_to_string(&log).ok().filter(|text| text.contains("listening")));
    fs::rename(&log, &old).unwrap();
    assert!(relay.command(&["reload"]).status.success());
    wait_for("the new file is written", || fs::read_to_string(&log).ok().filter(|text| text.contains("reloaded")));
    fs::rename(&log, &old).unwrap();
    relay.hang_up();
    wait_for("the new file is written", || fs::read_to_string(&log).ok().filter(|text| text.contains("reloaded")));
}

#[test]
fn a_half_open_handshake_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()]).unwrap();
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    // Longer than the harness waits: what is not in a transaction is not waited for at all.
    let tables = format!("[limits]\ndrain = \"10m\"\n[tls]\ncertificate = {chain:?}\nkey = {key:?}\n");
    let mut relay = Relay::start(&tables);
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    assert!(client.say("STARTTLS").starts_with("220"));
    client.write(b"\x16\x03\x01");
    relay.stop();
    assert!(client.is_closed());
}
