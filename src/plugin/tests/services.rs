//! Host services through real components.

use tokio::time::Instant;

use super::*;
use crate::hooks::CallError;
use crate::plugin::breaker::Pass;
use crate::plugin::calls::Plugin;
use crate::plugin::granted::Granted;
use crate::plugin::load::{self, Linked};
use crate::plugin::questions;
use crate::plugin::role::{self, Role};
use crate::plugin::testing::probe::{Arg, Call, Place, Times, probe};
use crate::plugin::testing::{ENGINE, misbehaving, with_section};
use crate::plugin::{Access, Build, Grants, HostConfig, KvQuota, PluginConfig};

async fn refused(set: &crate::plugin::PluginSet) -> bool {
    matches!(set.rcpt(at_rcpt()).await.1, SessionVerdict::Reject(_))
}

#[tokio::test]
async fn kv_needs_its_grant_and_counts_over_generations() {
    let count = misbehaving("count");
    let ungranted = Fixture::new().with("count", &count).build().await;
    assert!(refused(&ungranted).await, "denied");

    let kv = Some(KvQuota { bytes: 1000, keys: 10 });
    let fixture = Fixture::new().with_config(
        "count",
        &count,
        PluginConfig { grants: Grants { kv, ..Grants::default() }, ..PluginConfig::default() },
    );
    let first = fixture.build().await;
    assert!(!refused(&first).await && !refused(&first).await);
    let second = fixture.build().await;
    assert!(refused(&second).await, "the third");
    let later = fixture.services.clock.now().plus(std::time::Duration::from_secs(3600));
    second.sweep(later);
    assert!(!refused(&second).await, "its ttl was 60 s");
}

/// Two plugins that share a bucket see one another's values, and what is shared expires once.
#[tokio::test]
async fn a_shared_bucket_is_one() {
    const SET: Call = Call {
        interface: "kv",
        function: "set",
        args: &[Arg::Text("rep"), Arg::Text("k"), Arg::Text("1"), Arg::Number(1), Arg::Number(60)],
        payload: 4,
    };
    // Creates what is not there: false, which is ok as well, where the other one was faster.
    const INCREMENT: Call = Call {
        interface: "kv",
        function: "increment",
        args: &[Arg::Text("rep"), Arg::Text("k"), Arg::Number(1), Arg::Number(0), Arg::Number(0)],
        payload: 8,
    };
    let at = Place::Hook(Hook::Connect);
    let granted = |access| PluginConfig {
        grants: Grants { kv_shared: [("rep".into(), access)].into(), ..Grants::default() },
        ..PluginConfig::default()
    };
    let mut fixture = Fixture::new()
        .with_config("a", &probe(at, &[SET], Times::Once), granted(Access::Write))
        .with_config("b", &probe(Place::Hook(Hook::Helo), &[INCREMENT], Times::Once), granted(Access::Write));
    let nowhere = fixture.try_build(1, Build::Strict).await.unwrap_err();
    assert_eq!(nowhere.len(), 2);
    assert!(nowhere[0].to_string().contains("add a section [plugin-host.kv.rep]"), "{}", nowhere[0]);
    fixture.config.host.shared_kv.insert("rep".into(), KvQuota { bytes: 1000, keys: 10 });
    let set = fixture.build().await;
    set.connect(subject()).await;
    set.helo(subject(), "x".into()).await;
    let tree = |key: &[u8]| fixture.services.store.get("kv-shared:rep", key).unwrap();
    assert_eq!(&tree(b"k").unwrap()[16..], b"2");
    set.sweep(fixture.services.clock.now().plus(std::time::Duration::from_secs(61)));
    assert_eq!(tree(b"k"), None);
}

const TAKE: Call = Call {
    interface: "rate-limits",
    function: "take",
    args: &[Arg::Text("k"), Arg::Number(2), Arg::Number(1), Arg::Number(60_000), Arg::Number(1)],
    payload: 4,
};
const ADD: Call = Call {
    interface: "metrics",
    function: "add",
    args: &[Arg::Text("seen"), Arg::Number(3), Arg::Pairs(&[])],
    payload: 4,
};

fn counting() -> Vec<u8> {
    let component = probe(Place::Hook(Hook::Connect), &[TAKE, ADD], Times::Once);
    with_section(&component, "waypost:manifest", br#"{"metrics": {"counters": {"seen": []}}}"#)
}

#[tokio::test]
async fn counters_and_rates_go_on_over_generations() {
    let fixture = Fixture::new().with("p", &counting());
    let first = fixture.build().await;
    first.connect(subject()).await;
    let second = fixture.build().await;
    drop(first);
    second.connect(subject()).await;
    let counted = serde_json::to_value(second.metrics()).unwrap();
    let counters = serde_json::json!([{"name": "seen", "labels": {}, "value": 6}]);
    assert_eq!(counted, serde_json::json!([{"plugin": "p", "counters": counters, "histograms": []}]));
    let quota = crate::plugin::rates::Quota::new(2, 1, 60_000).unwrap();
    let left = fixture.services.rates.of("p").take("k", quota, 0, fixture.services.clock.now());
    assert_eq!(left.remaining, 0);
}

/// The plugin `p` of a fixture, on trial.
fn trial(fixture: &Fixture) -> Plugin {
    let config = &fixture.config.plugins["p"];
    let compiled = load::load(&ENGINE, config, &HostConfig::default()).unwrap();
    let linking = config.grants.linking(&compiled.imports);
    let linked = Arc::new(Linked::of(&ENGINE, compiled, linking).unwrap());
    let host = &fixture.config.host;
    let granted = Granted::open(&fixture.services, host, "p", &config.grants, Role::Shadow).unwrap();
    let place = role::Place { generation: 1, role: Role::Shadow, candidate: true };
    Plugin::new(&ENGINE, &"p".into(), config, linked, &fixture.services, granted, place)
}

#[tokio::test]
async fn a_trial_sees_what_is_there_and_leaves_no_trace() {
    let end = Instant::now() + std::time::Duration::from_secs(30);
    let kv = Some(KvQuota { bytes: 1000, keys: 10 });
    let config = PluginConfig { grants: Grants { kv, ..Grants::default() }, ..PluginConfig::default() };
    let fixture = Fixture::new().with_config("p", &misbehaving("count"), config);
    let set = fixture.build().await;
    assert!(!refused(&set).await, "one");
    let shadow = trial(&fixture);
    let mut said = Vec::new();
    for _ in 0..2 {
        let asked = shadow.call(Pass::free(), questions::Rcpt::of(&at_rcpt()).unwrap(), at_rcpt(), end).await;
        said.push(matches!(asked.outcome.unwrap().0, SessionVerdict::Reject(_)));
    }
    assert_eq!(said, [false, true], "two, three");
    assert!(!refused(&set).await, "two");

    let fixture = Fixture::new().with("p", &counting());
    let set = fixture.build().await;
    let shadow = trial(&fixture);
    for _ in 0..3 {
        assert!(shadow.call(Pass::free(), questions::Connect, subject(), end).await.outcome.is_ok());
    }
    assert_eq!(set.metrics()[0].counters, []);
    let quota = crate::plugin::rates::Quota::new(2, 1, 60_000).unwrap();
    assert_eq!(fixture.services.rates.of("p").take("k", quota, 0, fixture.services.clock.now()).remaining, 2);
}

#[tokio::test]
async fn a_secret_is_handed_over_and_shown_nowhere_else() {
    // Fails with the secret it was given.
    let leaking = crate::plugin::testing::component(
        r#"(module
            (import "waypost:plugin/config@0.1.0" "secret" (func $secret (param i32 i32 i32)))
            (memory (export "memory") 2)
            (data (i32.const 512) "key")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32)
                (call $secret (i32.const 512) (i32.const 3) (i32.const 128))
                (i32.store8 (i32.const 1024) (i32.const 1))
                (i32.store (i32.const 1028) (i32.load (i32.const 132)))
                (i32.store (i32.const 1032) (i32.load (i32.const 136)))
                (i32.const 1024)))"#,
    );
    let mut fixture = Fixture::new();
    let path = fixture.dir.path().join("key");
    std::fs::write(&path, "hunter2\n").unwrap();
    let secrets = [("key".into(), path.clone())].into();
    let config = PluginConfig { grants: Grants { secrets, ..Grants::default() }, ..PluginConfig::default() };
    fixture = fixture.with_config("p", &leaking, config);
    let plugin = trial(&fixture);
    let end = Instant::now() + std::time::Duration::from_secs(30);
    let outcome = plugin.call(Pass::free(), questions::Connect, subject(), end).await.outcome;
    assert_eq!(outcome.unwrap_err(), CallError::Guest("[secret]".to_owned()));
    let listed = format!("{:?} {:?}", fixture.build().await.list(), fixture.config);
    assert!(!listed.contains("hunter2"), "{listed}");
    std::fs::remove_file(&path).unwrap();
    let refused = fixture.try_build(2, Build::Strict).await.unwrap_err();
    assert!(refused[0].to_string().contains(path.to_str().unwrap()), "{}", refused[0]);
}
