//! The record on a real disk: what is written, what is kept, what is found.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::hooks::fixtures::{mailbox, subject};
use crate::hooks::{Binding, CallError, Cost, Edit, FailurePolicy, Hook, Scope, Subject};
use crate::ledger::Shared;
use crate::ledger::segments::{self, Segments};
use crate::mail::{HeaderEdit, Recipient};
use crate::time::{Manual, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_795_473_060);
const DAY: Duration = Duration::from_secs(86400);

fn keep(time: Duration, bytes: u64) -> Keep {
    Keep { time, bytes }
}

fn config(keep: Duration, bytes: u64) -> DecisionsConfig {
    DecisionsConfig { record: true, keep, bytes }
}

fn host(path: &Path) -> HostConfig {
    HostConfig { path: path.to_owned(), ..HostConfig::default() }
}

fn binding(plugin: &str) -> Binding {
    Binding {
        plugin: plugin.into(),
        version: "1.0".into(),
        digest: if plugin == "greylist" { "00ff".into() } else { "".into() },
        on_failure: FailurePolicy::Tempfail,
        mandatory: false,
        scope: Scope::default(),
        relay: false,
    }
}

/// At rcpt, about one of these.
fn about(recipient: &str) -> Subject {
    let to = mailbox(recipient, "example.net");
    let candidate = Recipient { index: 2, mailbox: to.clone(), original: to, params: Vec::new() };
    Subject { candidate: Some(candidate), ..subject() }
}

struct Said<'a> {
    hook: Hook,
    plugin: &'a str,
    word: &'static str,
    told: &'a str,
    subject: Subject,
    edits: &'a [Edit],
    failure: Option<CallError>,
}

fn said<'a>(plugin: &'a str, word: &'static str, told: &'a str, subject: Subject) -> Said<'a> {
    Said { hook: Hook::Rcpt, plugin, word, told, subject, edits: &[], failure: None }
}

impl Said<'_> {
    fn with<T>(&self, hear: impl FnOnce(&Decision<'_>) -> T) -> T {
        let binding = binding(self.plugin);
        hear(&Decision {
            hook: self.hook,
            generation: 3,
            binding: &binding,
            subject: &self.subject,
            word: self.word,
            told: &|| self.told.to_owned(),
            verdict: &|json| serde_json::to_writer(json, &serde_json::json!({ (self.word): self.told })).unwrap(),
            edits: self.edits,
            failure: self.failure.as_ref(),
            cost: Cost {
                wall: Duration::from_micros(12),
                cpu: Duration::from_micros(11),
                host_calls: 2,
                ..Cost::default()
            },
        })
    }

    fn line(&self) -> String {
        String::from_utf8(self.with(|decision| record::line(decision, NOW))).unwrap()
    }
}

/// A record in a folder, with what was said in it, a second apart.
fn recorded(folder: &Path, all: &[Said<'_>]) -> Decisions {
    let clock = Arc::new(Manual::new(NOW));
    let decisions = Decisions::new(clock.clone());
    decisions.configure(&host(folder));
    let listener = decisions.listener();
    for said in all {
        said.with(|decision| listener(decision));
        clock.advance(Duration::from_secs(1));
    }
    decisions
}

#[test]
fn a_line_has_all_there_is_to_know_and_nothing_that_a_terminal_obeys() {
    let edits = [
        Edit::Annotate { key: "k".into(), value: Some("v\u{1b}[2J".into()) },
        Edit::Header(HeaderEdit::Remove { index: 1 }),
    ];
    let subject = about("dave");
    let refused = Said { edits: &edits, ..said("greylist", "tempfail", "451 4.7.1 later\r\n", subject) };
    insta::assert_snapshot!(refused.line());
    let failed = Said { failure: Some(CallError::Cpu(20)), ..said("p", "tempfail", "451 4.3.0 no", about("dave")) };
    let failed: Value = serde_json::from_str(&failed.line()).unwrap();
    let expected =
        serde_json::json!({"kind": "cpu", "detail": "used up its CPU budget of 20 ms", "policy": "tempfail"});
    assert_eq!(failed["failure"], expected);
    for octet in refused.line().trim_end().bytes() {
        assert!(octet >= b' ', "{octet}");
    }
}

#[test]
fn what_is_no_opinion_costs_one_short_line() {
    let line = said("greylist", "proceed", "nothing", about("dave")).line();
    assert!(line.len() < 400 && !line.contains("nothing") && !line.contains("whole"), "{line}");
    let began = std::time::Instant::now();
    let said = said("greylist", "proceed", "nothing", about("dave"));
    let octets: usize = (0..10_000).map(|_| said.with(|decision| record::line(decision, NOW).len())).sum();
    println!("{} ns for a line of {} octets", began.elapsed().as_nanos() / 10_000, octets / 10_000);
}

#[test]
fn lists_are_cut_and_their_rest_is_counted() {
    let edits: Vec<Edit> = (0..40).map(|n| Edit::Tag(format!("t{n}").into())).collect();
    let mut many = subject();
    let transaction = Arc::make_mut(many.transaction.as_mut().unwrap());
    let first = transaction.recipients[0].clone();
    transaction.recipients = Arc::new((0..25).map(|index| Recipient { index, ..first.clone() }).collect());
    let said = Said { hook: Hook::Message, edits: &edits, ..said("p", "quarantine", "why", many) };
    let line: Value = serde_json::from_str(&said.line()).unwrap();
    assert_eq!(line["recipients"].as_array().map(Vec::len), Some(10));
    assert_eq!((line["more_recipients"].as_u64(), line["more_edits"].as_u64()), (Some(15), Some(8)));
    assert_eq!(line["whole"], serde_json::json!({"quarantine": "why"}));
    assert!(line.get("told").is_none(), "nobody is told of a quarantine");
}

/// One of each kind.
fn five() -> [Said<'static>; 5] {
    let rewritten = {
        let mut subject = about("dave");
        subject.candidate.as_mut().unwrap().mailbox = mailbox("elsewhere", "example.com");
        subject
    };
    let at_connect = Subject { transaction: None, ..subject() };
    [
        Said { hook: Hook::Connect, ..said("other", "proceed", "-", at_connect) },
        said("greylist", "tempfail", "451 4.7.1 later", about("dave")),
        said("greylist", "proceed", "-", about("Erin")),
        said("other", "reject", "550 5.7.1 no", rewritten),
        Said { failure: Some(CallError::Trap("x".into())), ..said("bad", "tempfail", "451", about("frank")) },
    ]
}

#[test]
fn what_is_asked_for_is_found_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let decisions = recorded(dir.path(), &five());
    let find = |query: Query| {
        let found = decisions.find(&query).unwrap();
        let told = |v: &Value| (v["plugin"].as_str().unwrap().to_owned(), v["verdict"].as_str().unwrap().to_owned());
        let found: Vec<_> = found.decisions.iter().map(told).map(|(p, v)| format!("{p} {v}")).collect();
        found.join(", ")
    };
    let some = |text: &str| Some(text.to_owned());
    let none = Query::default;
    let queue_id = subject().transaction.unwrap().id.to_string();
    let secs = |secs| Some(NOW.plus(Duration::from_secs(secs)));
    let everything = "bad tempfail, other reject, greylist proceed, greylist tempfail, other proceed";
    let of_message = "bad tempfail, other reject, greylist proceed, greylist tempfail";
    for (query, expected) in [
        (none(), everything),
        (Query { id: Some(queue_id), ..none() }, of_message),
        (Query { id: some("SESSION-1"), ..none() }, everything),
        (Query { id: some("session"), ..none() }, ""),
        (Query { address: some("DAVE@Example.net"), ..none() }, "other reject, greylist tempfail"),
        (Query { address: some("elsewhere@example.com"), ..none() }, "other reject"),
        (Query { address: some("erin@example.net"), ..none() }, "greylist proceed"),
        (Query { address: some("example.net"), ..none() }, of_message),
        (Query { address: some("@example.com"), ..none() }, "other reject"),
        (Query { address: some("ple.net"), ..none() }, ""),
        (Query { address: some("192.0.2.1"), ..none() }, everything),
        (Query { address: some("<alice@example.org>"), oldest: true, limit: 1, ..none() }, "greylist tempfail"),
        (Query { plugin: some("greylist"), ..none() }, "greylist proceed, greylist tempfail"),
        (Query { plugin: some("grey"), ..none() }, ""),
        (Query { plugin: some("gr\"ey"), ..none() }, ""),
        (Query { hook: some("connect"), ..none() }, "other proceed"),
        (Query { hook: some("on-connect"), verdict: some("reject"), ..none() }, ""),
        (Query { verdict: some("tempfail"), ..none() }, "bad tempfail, greylist tempfail"),
        (Query { failed: true, ..none() }, "bad tempfail"),
        (Query { since: secs(3), ..none() }, "bad tempfail, other reject"),
        (Query { until: secs(0), ..none() }, "other proceed"),
        (Query { since: secs(1), until: secs(2), ..none() }, "greylist proceed, greylist tempfail"),
        (Query { limit: 2, ..none() }, "bad tempfail, other reject"),
        (Query { limit: 2, oldest: true, ..none() }, "other proceed, greylist tempfail"),
    ] {
        assert_eq!(find(query.clone()), expected, "{query:?}");
    }
}

#[test]
fn an_answer_says_how_much_there_is_and_when() {
    let dir = tempfile::tempdir().unwrap();
    let decisions = recorded(dir.path(), &five());
    let none = Query::default;
    let no_hook = decisions.find(&Query { hook: Some("data".into()), ..none() }).unwrap_err();
    assert_eq!(no_hook.to_string(), "there is no hook `data`");
    let limited = decisions.find(&Query { limit: 4, ..none() }).unwrap();
    let whole = decisions.find(&Query { limit: 5, ..none() }).unwrap();
    assert_eq!((limited.more, whole.more), (true, false));
    assert_eq!(whole.decisions[3]["time"], "2026-11-23T22:31:01.000Z");
    assert_eq!((&whole.decisions[3]["digest"], whole.decisions[4].get("digest")), (&Value::from("00ff"), None));
    let info = decisions.info();
    assert_eq!((info.recording, info.written, info.dropped, info.trouble), (true, 5, 0, None));
}

#[test]
fn the_files_are_the_relays_own_and_the_record_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = recorded(&dir.path().join("host"), &[said("greylist", "proceed", "-", about("dave"))]);
    first.close();
    let folder = dir.path().join("host/decisions");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let segments = segments::list(&folder).unwrap();
    assert_eq!((segments.len(), mode(&folder), mode(&segments[0].path)), (1, 0o700, 0o600));
    // As a crash in the middle of a line leaves it.
    let mut torn = std::fs::read(&segments[0].path).unwrap();
    torn.extend_from_slice(b"{\"at\":1795473060000000,\"plugin\":\"greyl");
    std::fs::write(&segments[0].path, torn).unwrap();
    let second = recorded(&dir.path().join("host"), &[said("greylist", "accept", "-", about("dave"))]);
    let found = second.find(&Query { plugin: Some("greylist".into()), ..Query::default() }).unwrap();
    let verdicts: Vec<_> = found.decisions.iter().map(|decision| decision["verdict"].clone()).collect();
    assert_eq!(verdicts, ["accept", "proceed"]);
    assert_eq!(segments::list(&folder).unwrap().len(), 1);
}

#[test]
fn nothing_is_written_where_nothing_is_to_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let off = HostConfig { decisions: DecisionsConfig { record: false, ..config(DAY, 1 << 20) }, ..host(dir.path()) };
    let decisions = Decisions::new(Arc::new(Manual::new(NOW)));
    assert!(decisions.find(&Query::default()).is_err(), "there is no record at all");
    decisions.configure(&off);
    let listener = decisions.listener();
    let heard = said("p", "proceed", "-", about("dave"));
    heard.with(|decision| listener(decision));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(!decisions.info().recording);
    // Switched on, off and on again by reloads.
    for (config, expected) in [(host(dir.path()), 1), (off.clone(), 1), (host(dir.path()), 2)] {
        decisions.configure(&config);
        heard.with(|decision| listener(decision));
        assert_eq!(decisions.find(&Query::default()).unwrap().decisions.len(), expected);
    }
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let mut segments = Segments::new(dir.path().join("d"), keep(DAY, 1600));
    let mut now = NOW;
    for round in 0..50 {
        // Larger than a segment, so that it is spread over several.
        let mut batch: Vec<u8> =
            (0..10).flat_map(|n| format!("{round:03} {n} some more text\n").into_bytes()).collect();
        segments.write(&mut batch, now).unwrap();
        assert!(batch.is_empty());
        now = now.plus(Duration::from_millis(1));
        let files = segments::list(&dir.path().join("d")).unwrap();
        assert!(files.iter().map(|file| file.len).sum::<u64>() <= 1600 && files.len() <= 19);
        assert!(files.iter().all(|file| file.len <= 100));
    }
    let files = segments::list(&dir.path().join("d")).unwrap();
    let all: String = files.iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect();
    assert!(all.ends_with("049 9 some more text\n") && !all.contains("\n040"), "{all}");
    assert!(all.lines().count() > 60, "{all}");
    let mut long = format!("{}\n", "x".repeat(500)).into_bytes();
    segments.write(&mut long, now).unwrap();
    assert!(long.is_empty(), "a line larger than a segment has one of its own");
}

#[test]
fn the_oldest_go_when_they_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut segments = Segments::new(dir.path().join("d"), keep(16 * DAY, 1 << 20));
    for day in 0..40 {
        segments.write(&mut format!("day {day}\n").into_bytes(), NOW.plus(DAY * day)).unwrap();
    }
    let names = || {
        let files = segments::list(&dir.path().join("d")).unwrap();
        files.iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect::<String>()
    };
    assert!(names().ends_with("day 39\n") && !names().contains("day 18\n"), "{}", names());
    drop(segments);
    // Of a relay that has nothing to write, too.
    let mut segments = Segments::new(dir.path().join("d"), keep(16 * DAY, 1 << 20));
    segments.prune(NOW.plus(DAY * 100)).unwrap();
    assert_eq!(names(), "");
    assert_eq!(segments.write(&mut b"late\n".to_vec(), NOW).map_err(|e| e.kind()), Ok(()));
}

#[test]
fn trouble_with_the_disk_drops_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("host");
    std::fs::write(&blocked, "a file where the folder should be").unwrap();
    let decisions = recorded(&blocked, &[said("p", "proceed", "-", about("a")), said("p", "proceed", "-", about("b"))]);
    decisions.flush();
    let info = decisions.info();
    assert!(info.dropped == 2 && info.written == 0 && info.trouble.is_some(), "{info:?}");
    std::fs::remove_file(&blocked).unwrap();
    said("p", "proceed", "-", about("c")).with(|decision| decisions.listener()(decision));
    assert_eq!(decisions.find(&Query::default()).unwrap().decisions.len(), 1);
    let info = decisions.info();
    assert!(info.dropped == 2 && info.written == 1 && info.trouble.is_none(), "{info:?}");
}

#[test]
fn what_the_writer_has_no_room_for_is_dropped_and_counted() {
    // Nobody writes.
    let shared = Shared::default();
    let line = [b'x'; 1 << 10];
    (0..5000).for_each(|_| shared.append(&line));
    assert_eq!(shared.info().dropped, 5000 - (4 << 10));
}
