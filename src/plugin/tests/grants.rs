//! For every capability: who was not granted it can't use it, from no place and by no function; who was can.

use std::net::Ipv4Addr;

use super::*;
use crate::plugin::testing::probe::{Arg, Call, Place, Times, places, probe};
use crate::plugin::testing::{Zone, component};
use crate::plugin::{Access, Build, DnsGrant, Grants, KvQuota, Limits, PluginConfig, PluginSet};
use crate::routing::{Answer, RecordData, RecordKind, ResolveError};

use Arg::{Current, Float, Number, Pairs, Some as Given, Text};

const fn call(interface: &'static str, function: &'static str, args: &'static [Arg], payload: u32) -> Call {
    Call { interface, function, args, payload }
}

/// No value in an `option` of so many core values.
const NONE: Arg = Number(0);

/// Every function of kv, on the bucket of its own.
const OWN: [Call; 8] = [
    call("kv", "set", &[Text("own"), Text("k"), Text("1"), NONE, NONE], 4),
    call("kv", "get", &[Text("own"), Text("k")], 8),
    call("kv", "set-text", &[Text("own"), Text("k"), Text("1"), NONE, NONE], 4),
    call("kv", "get-text", &[Text("own"), Text("k")], 4),
    call("kv", "increment", &[Text("own"), Text("n"), Number(1), NONE, NONE], 8),
    call("kv", "compare-and-set", &[Text("own"), Text("c"), NONE, NONE, NONE, Text("1"), NONE, NONE], 4),
    call("kv", "keys", &[Text("own"), Text(""), NONE, NONE, NONE, Number(9)], 4),
    call("kv", "delete", &[Text("own"), Text("k")], 4),
];

/// The same on a shared bucket.
const SHARED: [Call; 8] = [
    call("kv", "set", &[Text("rep"), Text("k"), Text("1"), NONE, NONE], 4),
    call("kv", "get", &[Text("rep"), Text("k")], 8),
    call("kv", "set-text", &[Text("rep"), Text("k"), Text("1"), NONE, NONE], 4),
    call("kv", "get-text", &[Text("rep"), Text("k")], 4),
    call("kv", "increment", &[Text("rep"), Text("n"), Number(1), NONE, NONE], 8),
    call("kv", "compare-and-set", &[Text("rep"), Text("c"), NONE, NONE, NONE, Text("1"), NONE, NONE], 4),
    call("kv", "keys", &[Text("rep"), Text(""), NONE, NONE, NONE, Number(9)], 4),
    call("kv", "delete", &[Text("rep"), Text("k")], 4),
];

const SECRET: Call = call("config", "secret", &[Text("api-key")], 4);
const LOOKUP: Call = call("dns", "lookup", &[Text("a.example.org"), Number(0)], 4);
const LISTED: Call = call("dns", "list-lookup", &[Text("192.0.2.1"), Text("bl.example.org")], 4);
const ADD: Call = call("metrics", "add", &[Text("seen"), Number(1), Pairs(&[("hook", "mail")])], 4);
const OBSERVE: Call = call("metrics", "observe", &[Text("score"), Float(1.5), Pairs(&[])], 4);
const TAKE: Call = call("rate-limits", "take", &[Text("k"), Number(5), Number(1), Number(60_000), Number(1)], 4);

/// Not in the manifest.
const UNKNOWN: Call = call("metrics", "add", &[Text("lost"), Number(1), Pairs(&[])], 4);
const UNSEEN: Call = call("metrics", "observe", &[Text("seen"), Float(1.5), Pairs(&[])], 4);
const LABEL: Call = call("metrics", "add", &[Text("seen"), Number(1), Pairs(&[("color", "red")])], 4);

/// Everything that needs a grant or a manifest.
fn everything() -> Vec<Call> {
    [&OWN[..], &SHARED, &[SECRET, LOOKUP, LISTED, ADD, OBSERVE, TAKE]].concat()
}

fn zone() -> Zone {
    let address = RecordData::Address(Ipv4Addr::new(127, 0, 0, 2).into());
    let answer = Answer { records: vec![address], ttl: 60, secure: false };
    Zone::default().with("a.example.org", RecordKind::A, Some(Ok(answer.clone()))).with(
        "1.2.0.192.bl.example.org",
        RecordKind::A,
        Some(Ok(answer)),
    )
}

fn fixture(component: &[u8], config: PluginConfig) -> Fixture {
    let mut fixture = Fixture::new().with_config("p", component, config);
    std::fs::write(fixture.dir.path().join("key"), "hunter2\n").unwrap();
    for secret in fixture.config.plugins.values_mut().flat_map(|plugin| plugin.grants.secrets.values_mut()) {
        *secret = fixture.dir.path().join("key");
    }
    fixture.config.host.shared_kv.insert("rep".into(), KvQuota { bytes: 1 << 20, keys: 100 });
    fixture.services.resolver = Arc::new(zone());
    fixture
}

fn granted(grants: Grants) -> PluginConfig {
    PluginConfig { grants, ..PluginConfig::default() }
}

fn all() -> Grants {
    Grants {
        kv: Some(KvQuota { bytes: 1 << 20, keys: 100 }),
        kv_shared: [("rep".into(), Access::Write)].into(),
        secrets: [("api-key".into(), "key".into())].into(),
        dns: Some(DnsGrant { lookups: 16, zones: vec!["example.org".into()] }),
        ..Grants::default()
    }
}

const MANIFEST: &[u8] = br#"{"metrics": {"counters": {"seen": ["hook"]}, "histograms": {"score": []}}}"#;

fn declaring(component: &[u8]) -> Vec<u8> {
    crate::plugin::testing::with_section(component, "waypost:manifest", MANIFEST)
}

/// What a probe tells at a hook, by its place: the lines of its answer, or a number.
async fn ask(set: &PluginSet, hook: Hook) -> Vec<String> {
    let lines = |reply: crate::smtp::Reply| reply.lines.iter().map(ToString::to_string).collect();
    let told = |verdict| match verdict {
        SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) => lines(reply),
        other => vec![format!("{other:?}")],
    };
    match hook {
        Hook::Connect => told(set.connect(subject()).await.1),
        Hook::Helo => told(set.helo(subject(), "client.example".into()).await.1),
        Hook::Mail => told(set.mail(subject()).await.1),
        Hook::Rcpt => told(set.rcpt(at_rcpt()).await.1),
        Hook::Auth => match set.auth(subject(), attempt()).await.1 {
            AuthVerdict::Failure(reply) => lines(reply),
            other => vec![format!("{other:?}")],
        },
        Hook::Message => match set.message(subject()).await.1 {
            MessageVerdict::Reject(reply) => lines(reply),
            other => vec![format!("{other:?}")],
        },
        Hook::Route => match set.route(subject(), RoutingPhase::Arrival).await.1 {
            RoutingVerdict::Reject(reply) => lines(reply),
            other => vec![format!("{other:?}")],
        },
        Hook::DeliveryAttempt => match set.delivery_attempt(at_delivery()).await.1 {
            AttemptVerdict::HoldSeconds(denied) => vec![denied.to_string()],
            other => vec![format!("{other:?}")],
        },
        Hook::DeliveryResult => {
            let (_, made) = set.delivery_result(at_delivery(), outcomes()).await;
            made.iter().map(|d| format!("{:?}", d.action)).collect()
        }
        Hook::Bounce => match set.bounce(at_delivery(), outcomes()).await.1 {
            BounceVerdict::Suppress(letters) => vec![letters.to_string()],
            other => vec![format!("{other:?}")],
        },
    }
}

/// The letters of some calls in a place, and the words of the last error where the place has room for them. A number of
/// denied calls where it has none for letters either.
async fn tell(place: Place, calls: &[Call], config: PluginConfig) -> (String, String) {
    let component = declaring(&probe(place, calls, Times::Once));
    let fixture = fixture(&component, config);
    match place {
        Place::Hook(hook) => {
            let set = fixture.build().await;
            let mut lines = ask(&set, hook).await.into_iter();
            (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
        }
        _ => {
            let refused = fixture.try_build(1, Build::Strict).await.unwrap_err();
            let problem = refused[0].problem.to_string();
            let letters = problem.rsplit(' ').next().unwrap_or_default();
            (letters.to_owned(), problem.clone())
        }
    }
}

/// What a place tells of these letters.
fn in_place(place: Place, letters: &str) -> String {
    let denied = letters.matches('D').count();
    match place {
        Place::Hook(Hook::DeliveryAttempt) => denied.to_string(),
        Place::Hook(Hook::DeliveryResult) => format!("RetryAfterSeconds({denied})"),
        _ => letters.to_owned(),
    }
}

#[tokio::test]
async fn nothing_ungranted_works_anywhere() {
    for place in places() {
        let calls = [&everything()[..], &[UNKNOWN, UNSEEN, LABEL]].concat();
        let (letters, words) = tell(place, &calls, PluginConfig::default()).await;
        assert_eq!(letters, in_place(place, "DDDDDDDDDDDDDDDDDDD...III"), "{place:?}: {words}");
    }
}

#[tokio::test]
async fn everything_granted_works_everywhere() {
    for place in places() {
        // One more that is denied, for the places that tell a number.
        let calls = [&everything()[..], &[call("config", "secret", &[Text("other")], 4)]].concat();
        let config = PluginConfig { instances: Some(crate::plugin::Instances::Warm), ..granted(all()) };
        let (letters, words) = tell(place, &calls, config).await;
        assert_eq!(letters, in_place(place, "......................D"), "{place:?}: {words}");
    }
}

#[tokio::test]
async fn one_grant_opens_no_other() {
    let own = Grants { kv: all().kv, ..Grants::default() };
    let shared = Grants { kv_shared: all().kv_shared, ..Grants::default() };
    let secrets = Grants { secrets: all().secrets, ..Grants::default() };
    let dns = Grants { dns: all().dns, ..Grants::default() };
    for (grants, expected) in [
        (own, "........DDDDDDDDDDD..."),
        (shared, "DDDDDDDD........DDD..."),
        (secrets, "DDDDDDDDDDDDDDDD.DD..."),
        (dns, "DDDDDDDDDDDDDDDDD....."),
    ] {
        for place in [Place::SelfTest, Place::Hook(Hook::Rcpt), Place::Hook(Hook::Bounce)] {
            let (letters, _) = tell(place, &everything(), granted(grants.clone())).await;
            assert_eq!(letters, expected, "{place:?} {grants:?}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_may_be_read_can_not_be_written() {
    let grants = Grants { kv_shared: [("rep".into(), Access::Read)].into(), ..Grants::default() };
    for place in [Place::Init, Place::Validate, Place::SelfTest, Place::Hook(Hook::Mail), Place::Hook(Hook::Bounce)] {
        let (letters, words) = tell(place, &SHARED, granted(grants.clone())).await;
        // Set, get, set-text, get-text, increment, compare-and-set, keys, delete.
        assert_eq!(letters, "D.D.DD.D", "{place:?}: {words}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_line_to_add() {
    const OTHER: Call = call("kv", "get", &[Text("odd \"one\""), Text("k")], 8);
    const NOTE: Call =
        call("sessions", "[method]smtp-session.note", &[Current("session"), Given("greylist"), Text("k")], 4);
    let own = || Grants { kv: all().kv, ..Grants::default() };
    let reading = || Grants { kv_shared: [("rep".into(), Access::Read)].into(), ..Grants::default() };
    let table = [
        (OWN[0], Grants::default(), "add `kv = {}` to"),
        (OWN[0], reading(), "add `kv = {}` to [plugins.p.grants]"),
        (SHARED[1], own(), "add `kv-shared = { rep = \"read\" }` to [plugins.p.grants]"),
        (SHARED[0], reading(), "add `kv-shared = { rep = \"write\" }` to [plugins.p.grants]"),
        (OTHER, own(), r#"add `kv-shared = { "odd \"one\"" = "read" }`"#),
        (SECRET, Grants::default(), "add `secrets = { api-key = \"FILE\" }` to [plugins.p.grants]"),
        (NOTE, Grants::default(), "add `notes-of = [\"greylist\"]` to [plugins.p.grants]"),
        (UNKNOWN, Grants::default(), "counter \"lost\" is not declared: add it under `metrics.counters`"),
        (LABEL, Grants::default(), "add it to `metrics.counters.seen`"),
    ];
    for (call, grants, expected) in table {
        let (letters, words) = tell(Place::Hook(Hook::Connect), &[call], granted(grants)).await;
        assert!(words.contains(expected), "{letters} {words}");
    }
}

#[tokio::test]
async fn look_ups_are_counted_and_kept_to_their_zones() {
    let dns =
        |lookups, zone: &str| Grants { dns: Some(DnsGrant { lookups, zones: vec![zone.into()] }), ..Grants::default() };
    const BAD: Call = call("dns", "lookup", &[Text("a b"), Number(0)], 4);
    let table = [
        (dns(2, "example.org"), vec![LOOKUP, LOOKUP, LOOKUP, LISTED], "..DD"),
        (dns(9, "a.example.org"), vec![LOOKUP, LISTED], ".D"),
        (dns(9, "bl.example.org"), vec![LOOKUP, LISTED], "D."),
        (dns(9, "ample.org"), vec![LOOKUP, LISTED], "DD"),
        (dns(1, "example.org"), vec![BAD, LOOKUP], "V."),
    ];
    for (grants, calls, expected) in table {
        let component = probe(Place::Hook(Hook::Connect), &calls, Times::Once);
        let set = fixture(&component, granted(grants)).build().await;
        assert_eq!(ask(&set, Hook::Connect).await[0], expected);
        assert_eq!(ask(&set, Hook::Connect).await[0], expected, "the next call has all of them again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_resolver_says_reaches_the_guest() {
    const CALLS: [Call; 6] = [
        call("dns", "lookup", &[Text("none"), Number(3)], 4),
        call("dns", "lookup", &[Text("empty"), Number(3)], 4),
        call("dns", "lookup", &[Text("broken"), Number(3)], 4),
        call("dns", "lookup", &[Text("silent"), Number(3)], 4),
        call("dns", "list-lookup", &[Text("192.0.2.1"), Text("bl")], 4),
        call("dns", "list-lookup", &[Text("192.0.2"), Text("bl")], 4),
    ];
    let grants = Grants { dns: Some(DnsGrant { lookups: 16, zones: Vec::new() }), ..Grants::default() };
    let mut fixture = fixture(&probe(Place::Hook(Hook::Message), &CALLS, Times::Once), granted(grants));
    let zone = Zone::default()
        .with("none", RecordKind::Txt, Some(Err(ResolveError::NoSuchName)))
        .with("empty", RecordKind::Txt, Some(Err(ResolveError::NoData)))
        .with("broken", RecordKind::Txt, Some(Err(ResolveError::Temporary("refused".into()))))
        .with("silent", RecordKind::Txt, None)
        .with("1.2.0.192.bl", RecordKind::A, Some(Err(ResolveError::NoSuchName)));
    fixture.services.resolver = Arc::new(zone);
    let set = fixture.build().await;
    assert_eq!(ask(&set, Hook::Message).await[0], "NEST.O");
}

#[tokio::test]
async fn notes_and_annotations_of_others_need_a_grant() {
    const OF: [Arg; 2] = [Given("greylist"), Text("k")];
    const NOTE: Call = call("sessions", "[method]smtp-session.note", &[Current("session"), OF[0], OF[1]], 4);
    const ANNOTATION: Call =
        call("transactions", "[method]mail-transaction.annotation", &[Current("transaction"), OF[0], OF[1]], 4);
    const DELIVERED: Call = call("deliveries", "[method]delivery.annotation", &[Current("delivery"), OF[0], OF[1]], 4);
    let reading = Grants { notes_of: ["greylist".into()].into(), ..Grants::default() };
    for (grants, letter) in [(Grants::default(), "D"), (reading, ".")] {
        for hook in [Hook::Connect, Hook::Helo, Hook::Auth, Hook::Mail, Hook::Rcpt, Hook::Message, Hook::Route] {
            let (told, _) = tell(Place::Hook(hook), &[NOTE], granted(grants.clone())).await;
            assert_eq!(told, letter, "note at {hook:?}");
        }
        for hook in [Hook::Mail, Hook::Rcpt, Hook::Message, Hook::Route] {
            let (told, _) = tell(Place::Hook(hook), &[ANNOTATION], granted(grants.clone())).await;
            assert_eq!(told, letter, "annotation at {hook:?}");
        }
        let (told, _) = tell(Place::Hook(Hook::Bounce), &[DELIVERED], granted(grants.clone())).await;
        assert_eq!(told, letter, "annotation at bounce");
    }
}

#[tokio::test]
async fn a_password_is_seen_only_by_who_was_granted_it() {
    // Fails whom it sees the password of: the tenth value is the discriminant of `secret`.
    let looking = component(&format!(
        r#"(module (memory (export "memory") 2)
            (data (i32.const 1024) "\00\00\00\00\02\00\00\00\17\02")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/on-auth@0.1.0#handle") (param{}) (result i32)
                (if (result i32) (local.get 9) (then (i32.const 1024)) (else (i32.const 0)))))"#,
        " i32".repeat(12)
    ));
    let blind = Fixture::new().with("p", &looking).build().await;
    assert_eq!(blind.auth(subject(), attempt()).await.1, AuthVerdict::Proceed);
    let grants = Grants { auth_secrets: true, ..Grants::default() };
    let seeing = Fixture::new().with_config("p", &looking, granted(grants)).build().await;
    assert!(matches!(seeing.auth(subject(), attempt()).await.1, AuthVerdict::Failure(_)));
    assert_eq!(seeing.list()[0].instances_idle, 0, "its instances are not used again");
}

#[tokio::test]
async fn who_calls_on_and_on_is_stopped() {
    const READ: Call = call("messages", "[method]message.read-body", &[Current("message"), Number(0), Number(1)], 4);
    const HEADERS: Call = call("messages", "[method]message.headers", &[Current("message")], 4);
    const NAMED: Call = call("messages", "[method]message.headers-named", &[Current("message"), Text("Subject")], 4);
    const RECIPIENTS: Call = call("transactions", "[method]mail-transaction.recipients", &[Current("transaction")], 4);
    let grants = Grants { dns: Some(DnsGrant { lookups: 1000, zones: Vec::new() }), ..all() };
    let config = PluginConfig { limits: Limits { host_calls: 50, ..Limits::default() }, ..granted(grants) };
    let endless = OWN.into_iter().chain([SECRET, LOOKUP, LISTED, ADD, OBSERVE, TAKE, READ, HEADERS, NAMED, RECIPIENTS]);
    for call in endless {
        let component = declaring(&probe(Place::Hook(Hook::Message), &[call], Times::Forever));
        let fixture = fixture(&component, config.clone());
        let set = fixture.build().await;
        let facts = crate::hooks::MessageFacts {
            received_at: Timestamp::from_secs(1),
            header: crate::mail::Header::parse(bytes::Bytes::from_static(b"Subject: x\r\n")),
            separator: true,
            body: fixture.services.spool.draft().finish().await.unwrap(),
        };
        let (_, verdict) = set.message(Subject { message: Some(Arc::new(facts)), ..subject() }).await;
        assert!(matches!(verdict, MessageVerdict::Tempfail(_)), "{call:?}: {verdict:?}");
        assert_eq!(set.list()[0].failures, [("trap", 1)].into(), "{call:?}");
    }
    let at_load = probe(Place::SelfTest, &[TAKE], Times::Forever);
    let refused = fixture(&at_load, config).try_build(1, Build::Strict).await.unwrap_err();
    assert!(refused[0].to_string().contains("more than 50 times in one call (`limits.host-calls`)"), "{}", refused[0]);
}

#[tokio::test]
async fn handles_are_bounded_in_a_call_and_over_calls() {
    const CURRENT: Call = call("context", "current-session", &[], 4);
    let config = PluginConfig { limits: Limits { handles: 16, ..Limits::default() }, ..PluginConfig::default() };
    let (letters, words) = tell(Place::Hook(Hook::Connect), &[CURRENT; 17], config.clone()).await;
    assert_eq!(letters, format!("{}X", ".".repeat(16)));
    assert!(words.contains("limits.handles"), "{words}");
    // Ten are kept by each call: the second one has room for six.
    let keeping = probe(Place::Hook(Hook::Connect), &[CURRENT; 10], Times::Once);
    let set = fixture(&keeping, config).build().await;
    assert_eq!(ask(&set, Hook::Connect).await[0], ".".repeat(10));
    ask(&set, Hook::Connect).await;
    assert_eq!(set.list()[0].failures, [("trap", 1)].into());
}

#[tokio::test]
async fn tables_are_bounded() {
    // Rejects when its table can't grow to eleven entries.
    let growing = component(
        r#"(module (memory (export "memory") 2) (table $t 1 funcref)
            (data (i32.const 1024) "\00\00\00\00\02\00\00\00\26\02")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32)
                (if (result i32) (i32.eq (table.grow $t (ref.null func) (i32.const 10)) (i32.const -1))
                    (then (i32.const 1024)) (else (i32.const 0)))))"#,
    );
    for (table, refused) in [(10, true), (11, false)] {
        let limits = Limits { table, ..Limits::default() };
        let set = Fixture::new().with_config("p", &growing, PluginConfig { limits, ..PluginConfig::default() });
        let (_, verdict) = set.build().await.connect(subject()).await;
        assert_eq!(matches!(verdict, SessionVerdict::Reject(_)), refused, "{table}");
    }
}
