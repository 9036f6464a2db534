//! Mail from programs on the same machine, by `waypost sendmail`; and the queue saved while the relay runs, and brought back.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{Relay, Sink, towards, wait_for};

const MESSAGE: &str = "To: b@there.test\nBcc: hidden@there.test\nSubject: local\n\nfirst\n.\nnever\n";

/// A listener of its own, and a folder.
const LOCAL: &str = "[listeners.sendmail]\naddress = \"unix:DIR/local.sock\"\nrelay = true\nsubmission = true\n\
                     [sendmail]\nfolder = \"DIR/maildrop\"\n";

fn start(sink: &Sink, more: &str) -> Relay {
    let relay = Relay::start(&format!("{}{LOCAL}{more}", towards(sink)));
    let folder = relay.folder().join("maildrop");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o3733)).unwrap();
    relay
}

fn sendmail(folder: &Path, words: &[&str], message: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .arg("--config")
        .arg(folder.join("waypost.toml"))
        .arg("sendmail")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading: wrong usage.
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    child.wait_with_output().unwrap()
}

fn waiting(relay: &Relay) -> usize {
    fs::read_dir(relay.folder().join("maildrop")).unwrap().count()
}

#[test]
fn a_program_hands_its_mail_over_as_a_client_that_is_known() {
    let sink = Sink::start();
    let relay = start(&sink, "");
    let done = sendmail(relay.folder(), &["-t", "-f", "ann@client.test", "-F", "Ann Lee"], MESSAGE);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let taken = sink.next();
    let mut recipients = taken.recipients.clone();
    if recipients.len() < 2 {
        recipients.extend(sink.next().recipients);
    }
    recipients.sort();
    assert_eq!(recipients, ["b@there.test", "hidden@there.test"]);
    let own = rustix::process::getuid().as_raw();
    assert!(taken.content.contains(&format!("(unix socket uid={own})")), "{}", taken.content);
    assert!(taken.content.contains("From: \"Ann Lee\" <ann@client.test>\r\n"), "{}", taken.content);
    assert!(taken.content.ends_with("\r\n\r\nfirst\r\n") && !taken.content.contains("hidden"), "{}", taken.content);
    assert_eq!(waiting(&relay), 0);
}

#[test]
fn exit_statuses_are_those_that_programs_know() {
    let sink = Sink::start();
    let mut relay = start(&sink, "[smtp]\nmax-message-size = \"64 KiB\"\n");
    let status = |words: &[&str], message: &str| sendmail(relay.folder(), words, message).status.code();
    assert_eq!(status(&[], MESSAGE), Some(64), "nobody is named");
    assert_eq!(status(&["-C", "/etc/passwd", "b@there.test"], MESSAGE), Some(64));
    assert_eq!(status(&["a b@there.test"], MESSAGE), Some(67));
    assert_eq!(status(&["b@there.test"], &"line\n".repeat(20_000)), Some(65));
    assert_eq!(status(&["-bi"], ""), Some(0));
    assert_eq!(status(&["-q30m"], ""), Some(0));
    relay.stop();
    fs::remove_dir(relay.folder().join("maildrop")).unwrap();
    let done = sendmail(relay.folder(), &["b@there.test"], MESSAGE);
    assert_eq!(done.status.code(), Some(75), "nowhere to keep it");
    assert!(String::from_utf8_lossy(&done.stderr).contains("maildrop"), "says what is missing");
}

#[test]
fn mail_waits_while_the_relay_is_down_and_is_taken_once_it_is_back() {
    let sink = Sink::start();
    let mut relay = start(&sink, "");
    relay.stop();
    assert!(sendmail(relay.folder(), &["-i", "b@there.test"], MESSAGE).status.success());
    assert_eq!(waiting(&relay), 1);
    // What is not from there is not looked at: a link leads elsewhere.
    std::os::unix::fs::symlink("/etc/passwd", relay.folder().join("maildrop/x.mail")).unwrap();
    relay.start_again();
    let taken = sink.next();
    assert_eq!(taken.recipients, ["b@there.test"]);
    assert!(
        taken.content.ends_with("first\r\n.\r\nnever\r\n") && !taken.content.contains("root:"),
        "{}",
        taken.content
    );
    wait_for("the folder is empty", || (waiting(&relay) == 0).then_some(()));
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn what_is_refused_later_is_reported_to_its_sender() {
    let sink = Sink::start();
    let mut relay = start(&sink, "");
    relay.stop();
    // One that the relay takes no mail from: the reply can only be told by a report.
    let message = format!("Subject: t\n\n{}", "line\n".repeat(20_000));
    assert!(sendmail(relay.folder(), &["-f", "ann@client.test", "b@there.test"], &message).status.success());
    let config = relay.folder().join("waypost.toml");
    let text = fs::read_to_string(&config).unwrap() + "[smtp]\nmax-message-size = \"64 KiB\"\n";
    fs::write(&config, text).unwrap();
    relay.start_again();
    let report = sink.next();
    assert_eq!(report.recipients, ["ann@client.test"]);
    assert!(report.content.contains("b@there.test") && report.content.contains("5.3.4"), "{}", report.content);
    wait_for("the folder is empty", || (waiting(&relay) == 0).then_some(()));
}

#[test]
fn a_session_on_standard_input_is_one_with_the_listener() {
    let sink = Sink::start();
    let relay = start(&sink, "");
    let session = "EHLO me\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@there.test>\r\nQUIT\r\n";
    // A client waits for the greeting, and does not send its commands ahead of it.
    let mut child = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .arg("--config")
        .arg(relay.folder().join("waypost.toml"))
        .args(["sendmail", "-bs"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut reply = || {
        let mut line = String::new();
        loop {
            line.clear();
            std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    };
    assert!(reply().starts_with("220 "));
    for (command, code) in session.lines().zip(["250", "250", "250", "221"]) {
        input.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let said = reply();
        assert!(said.starts_with(code), "{command}: {said}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_queue_is_saved_while_the_relay_runs_and_comes_back_as_it_was() {
    let sink = Sink::start();
    sink.answer("RCPT", "451 4.2.0 not now", 100_000);
    let relay = Relay::start_towards(&sink);
    let mut client = relay.smtp();
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(30_000));
    let small = client.deliver("a@client.test", &["1@there.test", "2@there.test"], "Subject: small\r\n\r\nbody\r\n");
    let large_id = client.deliver("", &["3@there.test"], &large);
    wait_for("they were tried", || {
        relay.messages().iter().all(|message| message["attempts"].as_u64() > Some(0)).then_some(())
    });
    assert!(relay.command(&["queue", "suspend", "--all"]).status.success());
    let folder = relay.folder().join("backup");
    let path = folder.to_str().unwrap();
    let saved = relay.json(&["backup", path]);
    assert_eq!(saved["messages"], 2);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!relay.command(&["backup", path]).status.success(), "nothing is written over");
    let again = relay.json(&["restore", path]);
    assert_eq!((&again["messages"], &again["present"]), (&0.into(), &2.into()), "they are there, and left alone");
    wait_for("the queue is emptied", || {
        relay.command(&["queue", "drop", "--all", "--yes"]);
        (relay.queued() == 0).then_some(())
    });
    assert_eq!(relay.json(&["restore", path])["messages"], 2);
    let mut ids: Vec<_> = relay.messages().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    let mut expected = vec![small, large_id];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(relay.command(&["queue", "resume", "--all"]).status.success());
    sink.forget_answers();
    let large_again = sink.find(|taken| taken.content.contains("Subject: large")).unwrap();
    assert!(large_again.content.ends_with(&large), "the content is as it was");
    assert!(sink.find(|taken| taken.content.contains("Subject: small")).is_some());
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

#[test]
fn a_damaged_backup_is_told_and_the_rest_is_restored() {
    let sink = Sink::start();
    let relay = Relay::start_towards(&sink);
    relay.command(&["queue", "suspend", "--all"]);
    let mut client = relay.smtp();
    let first = client.deliver("a@client.test", &["1@there.test"], "Subject: 1\r\n\r\nbody\r\n");
    client.deliver("a@client.test", &["2@there.test"], "Subject: 2\r\n\r\nbody\r\n");
    let folder = relay.folder().join("backup");
    let path = folder.to_str().unwrap();
    relay.json(&["backup", path]);
    relay.command(&["queue", "drop", "--all", "--yes"]);
    let file = folder.join(format!("{first}.waypost"));
    let mut octets = fs::read(&file).unwrap();
    let last = octets.len() - 3;
    octets[last] ^= 1;
    fs::write(&file, octets).unwrap();
    let restored = relay.command(&["restore", path]);
    assert_eq!(restored.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&restored.stderr).contains("checksum"), "it says which and why");
    assert_eq!(relay.queued(), 1);
    fs::remove_file(folder.join("backup.json")).unwrap();
    assert_eq!(relay.command(&["restore", path]).status.code(), Some(2), "a backup that was broken off");
}

#[test]
fn a_queue_of_a_later_version_is_refused_and_says_what_to_do() {
    let sink = Sink::start();
    let mut relay = Relay::start_towards(&sink);
    relay.stop();
    assert_eq!(relay.json(&["migrate", "--look"])["rewritten"], 0);
    fs::write(relay.folder().join("spool/form"), "250\n").unwrap();
    for command in ["run", "migrate"] {
        let output = relay.command(&[command]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("later version") && said.contains("form 250"), "{command}: {said}");
    }
}
