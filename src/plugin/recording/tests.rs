//! Calls recorded by one set of plugins and run again, against the same component and against others.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::hooks::fixtures::{mailbox, subject};
use crate::hooks::{AuthAttempt, Hooks as _, SessionVerdict};
use crate::mail::Recipient;
use crate::plugin::testing::probe::{Arg, Call as Asked, Place, Times, probe};
use crate::plugin::testing::{ENGINE, Fixture, Zone, answering, guest, misbehaving, saying};
use crate::plugin::{DnsGrant, Grants, KvQuota, PluginConfig};
use crate::routing::{Answer, RecordData, RecordKind};
use crate::time::Manual;

fn at_rcpt() -> Subject {
    let to = mailbox("dave", "example.net");
    let candidate = Recipient { index: 2, mailbox: to.clone(), original: to, params: Vec::new() };
    Subject { candidate: Some(candidate), ..subject() }
}

fn with_kv(component: &[u8]) -> Fixture {
    let grants = Grants { kv: Some(KvQuota { bytes: 1000, keys: 10 }), ..Grants::default() };
    Fixture::new().with_config("p", component, PluginConfig { grants, ..PluginConfig::default() })
}

fn start(fixture: &Fixture, wanted: u32, address: Option<&str>) -> PathBuf {
    let host = HostConfig { path: fixture.dir.path().join("host"), ..HostConfig::default() };
    let now = fixture.services.clock.now();
    fixture.services.recordings.start(&host, "p", wanted, address, now).unwrap().path
}

async fn replayed(recording: &Path, component: &[u8]) -> Result<Replay, ReplayError> {
    let fixture = Fixture::new();
    let path = fixture.path("other");
    std::fs::write(&path, component).unwrap();
    replay(&ENGINE, &fixture.services, recording, &path, None).await
}

fn lines(recording: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(recording).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Counts in kv: two recipients are taken, the third is refused.
async fn three_calls(fixture: &Fixture) -> PathBuf {
    let set = fixture.build().await;
    let recording = start(fixture, 3, None);
    for expected in [false, false, true, true] {
        assert_eq!(matches!(set.rcpt(at_rcpt()).await.1, SessionVerdict::Reject(_)), expected);
    }
    recording
}

#[tokio::test]
async fn the_same_component_does_the_same_without_the_relays_services() {
    let fixture = with_kv(&misbehaving("count"));
    let recording = three_calls(&fixture).await;
    let lines = lines(&recording);
    let calls: Vec<_> = lines.iter().filter_map(|line| line.get("call")).collect();
    assert_eq!(calls.len(), 3, "the fourth was not asked for");
    assert_eq!(calls[2]["tape"][0]["call"], "kv.increment");
    assert_eq!(calls[2]["tape"][0]["answer"], json!({"Ok": 3}));
    assert_eq!(calls[2]["question"]["mailbox"]["local_part"], "dave");
    assert_eq!(lines[5]["end"]["calls"], 3);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&recording), mode(recording.parent().unwrap())), (0o600, 0o700));
    let replay = replayed(&recording, &misbehaving("count")).await.unwrap();
    assert_eq!(replay, Replay { calls: 3, differences: Vec::new() });
}

#[tokio::test]
async fn another_component_shows_what_it_does_otherwise() {
    let fixture = with_kv(&misbehaving("count"));
    let recording = three_calls(&fixture).await;
    // One that asks nothing and refuses everybody.
    let replay = replayed(&recording, &answering(Hook::Rcpt, &saying(2, 554, "no"))).await.unwrap();
    let whats: Vec<_> = replay.differences.iter().map(|d| (d.call, d.parts[0].what)).collect();
    assert_eq!(whats, [(1, "questions"), (2, "questions"), (3, "questions")]);
    let got = replay.differences[0].parts[0].got.as_str().unwrap();
    assert!(got.starts_with("the recording goes on with kv.increment [\"own\",\"seen\",1,60]"), "{got}");
    let trap = replayed(&recording, &misbehaving("trap")).await.unwrap();
    let part = &trap.differences[2].parts[0];
    assert_eq!((part.what, part.got["failed"]["kind"].as_str()), ("verdict", Some("trap")));
    // It has no on-rcpt at all.
    let other = replayed(&recording, &answering(Hook::Mail, &saying(0, 0, ""))).await.unwrap();
    assert_eq!((other.calls, other.differences.len()), (3, 3));
}

#[tokio::test]
async fn what_asks_nothing_is_compared_by_verdict_and_edits() {
    let fixture = Fixture::new().with("p", &answering(Hook::Rcpt, &saying(2, 550, "no")));
    let set = fixture.build().await;
    let recording = start(&fixture, 1, Some("dave@EXAMPLE.net"));
    set.rcpt(at_rcpt()).await;
    assert!(replayed(&recording, &answering(Hook::Rcpt, &saying(2, 550, "no"))).await.unwrap().differences.is_empty());
    let replay = replayed(&recording, &answering(Hook::Rcpt, &saying(2, 550, "yes"))).await.unwrap();
    let part = &replay.differences[0].parts[0];
    assert_eq!((part.what, &part.expected["reject"]["lines"][0]), ("verdict", &json!("no")));
    assert_eq!(part.got["reject"]["lines"][0], "yes");
}

#[tokio::test]
async fn a_failure_is_recorded_and_comes_again() {
    let fixture = Fixture::new().with("p", &misbehaving("trap"));
    let set = fixture.build().await;
    let recording = start(&fixture, 1, None);
    assert!(matches!(set.rcpt(at_rcpt()).await.1, SessionVerdict::Tempfail(_)));
    assert_eq!(lines(&recording)[2]["call"]["result"]["failed"]["kind"], "trap");
    assert!(replayed(&recording, &misbehaving("trap")).await.unwrap().differences.is_empty());
    let mended = replayed(&recording, &answering(Hook::Rcpt, &saying(0, 0, ""))).await.unwrap();
    assert_eq!(mended.differences[0].parts[0].what, "failure");
}

#[tokio::test]
async fn only_what_was_asked_for_is_recorded() {
    let fixture = Fixture::new().with("p", &answering(Hook::Rcpt, &saying(0, 0, "")));
    let set = fixture.build().await;
    let recording = start(&fixture, 5, Some("erin@example.net"));
    let host = HostConfig { path: fixture.dir.path().join("host"), ..HostConfig::default() };
    let now = fixture.services.clock.now();
    let again = fixture.services.recordings.start(&host, "p", 1, None, now).unwrap_err();
    assert!(again.to_string().contains("being recorded already"), "{again}");
    set.rcpt(at_rcpt()).await;
    let info = fixture.services.recordings.stop("p").unwrap().unwrap();
    assert_eq!((info.recorded, info.skipped, info.wanted), (0, 0, 5));
    assert_eq!(replayed(&recording, &misbehaving("trap")).await.unwrap().calls, 0);
    assert!(fixture.services.recordings.stop("p").unwrap().is_none());
}

#[tokio::test]
async fn a_password_is_never_written_down() {
    let attempt = || AuthAttempt {
        mechanism: "PLAIN".into(),
        name: "ann".into(),
        acts_as: None,
        details: Vec::new(),
        secret: Some("s3cret".into()),
    };
    let component = answering(Hook::Auth, &saying(2, 535, "no"));
    for auth_secrets in [false, true] {
        let grants = Grants { auth_secrets, ..Grants::default() };
        let config = PluginConfig { grants, ..PluginConfig::default() };
        let fixture = Fixture::new().with_config("p", &component, config);
        let set = fixture.build().await;
        let recording = start(&fixture, 1, None);
        set.auth(subject(), attempt()).await;
        let info = fixture.services.recordings.stop("p").unwrap();
        assert_eq!(info.map(|info| (info.recorded, info.skipped)), auth_secrets.then_some((0, 1)));
        assert!(!std::fs::read_to_string(&recording).unwrap().contains("s3cret"));
        let replay = replayed(&recording, &component).await.unwrap();
        assert_eq!((replay.calls, replay.differences), (usize::from(!auth_secrets), Vec::new()));
    }
}

#[tokio::test]
async fn a_changed_recording_is_not_replayed() {
    let fixture = with_kv(&misbehaving("count"));
    let recording = three_calls(&fixture).await;
    let good = std::fs::read_to_string(&recording).unwrap();
    std::fs::write(&recording, good.replacen("dave", "eve", 1)).unwrap();
    let error = replayed(&recording, &misbehaving("count")).await.unwrap_err().to_string();
    assert!(error.contains("changed after it was made"), "{error}");
    std::fs::write(&recording, &good[..good.len() / 2]).unwrap();
    let error = replayed(&recording, &misbehaving("count")).await.unwrap_err().to_string();
    assert!(error.contains("cut off after 1 whole call") || error.contains("cut off after 2 whole calls"), "{error}");
    let error = replayed(&recording.with_extension("none"), &misbehaving("count")).await.unwrap_err().to_string();
    assert!(error.contains("can't be read"), "{error}");
    std::fs::write(&recording, good).unwrap();
    let error = replayed(&recording, b"no component").await.unwrap_err().to_string();
    assert!(error.contains("the component: "), "{error}");
}

const fn call(interface: &'static str, function: &'static str, args: &'static [Arg], payload: u32) -> Asked {
    Asked { interface, function, args, payload }
}

/// No value in an `option` of one core value, which follows.
const NONE: Arg = Arg::Number(0);

/// Each service that may answer otherwise the next time.
const SERVICES: [Asked; 14] = [
    call("kv", "set", &[Arg::Text("own"), Arg::Text("k"), Arg::Text("1"), NONE, NONE], 4),
    call("kv", "get", &[Arg::Text("own"), Arg::Text("k")], 8),
    call("kv", "set-text", &[Arg::Text("own"), Arg::Text("k"), Arg::Text("1"), NONE, NONE], 4),
    call("kv", "get-text", &[Arg::Text("own"), Arg::Text("k")], 4),
    call("kv", "increment", &[Arg::Text("own"), Arg::Text("n"), Arg::Number(1), NONE, NONE], 8),
    call("kv", "compare-and-set", &[Arg::Text("own"), Arg::Text("c"), NONE, NONE, NONE, Arg::Text("1"), NONE, NONE], 4),
    call("kv", "keys", &[Arg::Text("own"), Arg::Text(""), NONE, NONE, NONE, Arg::Number(9)], 4),
    call("kv", "delete", &[Arg::Text("own"), Arg::Text("k")], 4),
    call("config", "secret", &[Arg::Text("api-key")], 4),
    call("dns", "lookup", &[Arg::Text("a.example.org"), Arg::Number(0)], 4),
    call("dns", "list-lookup", &[Arg::Text("192.0.2.1"), Arg::Text("bl.example.org")], 4),
    call("metrics", "add", &[Arg::Text("seen"), Arg::Number(1), Arg::Pairs(&[])], 4),
    call("metrics", "observe", &[Arg::Text("score"), Arg::Float(1.5), Arg::Pairs(&[])], 4),
    call(
        "rate-limits",
        "take",
        &[Arg::Text("k"), Arg::Number(5), Arg::Number(1), Arg::Number(60_000), Arg::Number(1)],
        4,
    ),
];

#[tokio::test]
async fn each_service_is_answered_from_the_tape() {
    let component = probe(Place::Hook(Hook::Rcpt), &SERVICES, Times::Once);
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("key"), "hunter2hunter2\n").unwrap();
    let grants = Grants {
        kv: Some(KvQuota { bytes: 1000, keys: 10 }),
        dns: Some(DnsGrant { lookups: 9, zones: Vec::new() }),
        secrets: [("api-key".into(), secrets.path().join("key"))].into(),
        ..Grants::default()
    };
    let mut fixture = Fixture::new().with_config("p", &component, PluginConfig { grants, ..PluginConfig::default() });
    let records = vec![RecordData::Address(std::net::Ipv4Addr::LOCALHOST.into())];
    let answer = || Some(Ok(Answer { records: records.clone(), ttl: 60, secure: false }));
    let zone = Zone::default().with("a.example.org", RecordKind::A, answer());
    fixture.services.resolver = Arc::new(zone.with("1.2.0.192.bl.example.org", RecordKind::A, answer()));
    let set = fixture.build().await;
    let recording = start(&fixture, 1, None);
    let SessionVerdict::Reject(reply) = set.rcpt(at_rcpt()).await.1 else { panic!("a probe tells by a reply") };
    // Metrics are not in its manifest.
    assert_eq!(&*reply.lines[0], "...........II.");
    assert!(!std::fs::read_to_string(&recording).unwrap().contains("hunter2"));
    let lines = lines(&recording);
    let tape = lines[2]["call"]["tape"].as_array().unwrap();
    let asked: Vec<_> = tape.iter().map(|note| note["call"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, SERVICES.map(|asked| format!("{}.{}", asked.interface, asked.function)));
    assert_eq!(tape[8]["answer"], json!({"Ok": "<secret>"}));
    // There, nothing is granted, and a resolver that is asked panics.
    assert_eq!(replayed(&recording, &component).await.unwrap(), Replay { calls: 1, differences: Vec::new() });
    let fewer = probe(Place::Hook(Hook::Rcpt), &SERVICES[1..], Times::Once);
    let strayed = &replayed(&recording, &fewer).await.unwrap().differences[0].parts[0];
    assert!(
        strayed
            .got
            .as_str()
            .unwrap()
            .starts_with("the plugin asked kv.get [\"own\",\"k\"] where the recording has kv.set")
    );
}

#[tokio::test]
async fn the_clocks_of_wasi_show_the_time_of_the_recording() {
    let mut fixture = Fixture::new().with("p", &guest("fetcher"));
    fixture.services.clock = Arc::new(Manual::new(Timestamp::from_secs(1_900_000_000)));
    let set = fixture.build().await;
    let recording = start(&fixture, 1, None);
    let mut subject = at_rcpt();
    subject.candidate.as_mut().unwrap().mailbox = mailbox("survey", "example.net");
    let SessionVerdict::Reject(reply) = set.rcpt(subject).await.1 else { panic!("the guest tells by a reply") };
    assert!(reply.to_string().contains("time 1900000000"), "{reply}");
    // The relay's clock shows another time there.
    let replay = replayed(&recording, &guest("fetcher")).await.unwrap();
    assert_eq!(replay, Replay { calls: 1, differences: Vec::new() });
}
