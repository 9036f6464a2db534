//! Every committed component against the host as a library: what it is, and that it loads with settings of its kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use waypost::hooks::{Hook, Hooks as _};
use waypost::plugin::{Build, Config, Engine, Grants, KvQuota, LoadError, PluginConfig, PluginSet, Services, inspect};
use waypost::routing::Hickory;
use waypost::store::{Sled, Spool, Store};
use waypost::time::{Manual, Timestamp};

/// Name in its manifest, where it lies, its hooks, whether it has `lifecycle`, settings it takes.
fn guests() -> Vec<(&'static str, &'static str, Vec<Hook>, bool, Value)> {
    let routes = json!({"domains": {".example.org": "smtp://mail.example.org", "old.example": {"fail": "gone"}}});
    let fields = json!({"stamp": "{id}", "remove": ["X-Internal"], "limits": [{"name": "From", "at-most": 1}]});
    let queue = [Hook::DeliveryAttempt, Hook::DeliveryResult, Hook::Bounce];
    vec![
        ("greylist", "plugins/components/greylist.wasm", vec![Hook::Rcpt], true, json!({"delay-seconds": 60})),
        ("domain-routes", "plugins/components/domain-routes.wasm", vec![Hook::Route], true, routes),
        ("header-policy", "plugins/components/header-policy.wasm", vec![Hook::Message], true, fields),
        ("bench-plugin", "benches/relay/bench.wasm", Hook::ALL.to_vec(), false, json!({})),
        (
            "courier",
            "tests/components/guests/courier.wasm",
            [&[Hook::Helo, Hook::Auth][..], &queue[..]].concat(),
            false,
            json!({"elsewhere": "127.0.0.1:25"}),
        ),
        ("fetcher", "tests/components/guests/fetcher.wasm", vec![Hook::Rcpt], false, json!({})),
        (
            "doorman",
            "tests/components/guests/doorman.wasm",
            vec![Hook::Connect, Hook::Mail, Hook::Rcpt, Hook::Message],
            false,
            json!({"count": true}),
        ),
    ]
}

#[tokio::test]
async fn a_shipped_plugin_names_the_grant_that_it_lacks() {
    let path = file("plugins/components/greylist.wasm");
    let plugin = PluginConfig { path, ..PluginConfig::default() };
    let errors = load(&Engine::new().unwrap(), "greylist", plugin).await.map(|_| ()).unwrap_err();
    let text = errors[0].to_string();
    assert!(text.ends_with("add to [plugins.greylist.grants] `kv = {}`"), "{text}");
}

/// What the manifests ask for; those without asks take what they get.
fn grants(name: &str) -> Grants {
    let asks_for_nothing = matches!(name, "domain-routes" | "header-policy" | "fetcher");
    let kv = (!asks_for_nothing).then_some(KvQuota { bytes: 1 << 20, keys: 1000 });
    Grants { kv, ..Grants::default() }
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names(hooks: &[Hook]) -> BTreeSet<&'static str> {
    hooks.iter().map(|hook| hook.interface()).collect()
}

async fn load(engine: &Engine, name: &str, plugin: PluginConfig) -> Result<PluginSet, Vec<LoadError>> {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&dir.path().join("store"), 1 << 20).unwrap());
    let spool = Spool::open(&dir.path().join("spool"), 0, Arc::clone(&store)).unwrap();
    let clock = Arc::new(Manual::new(Timestamp::from_secs(1_795_474_200)));
    // No plugin of these looks anything up: nobody listens there.
    let resolver = Arc::new(Hickory::with_servers(&[([127, 0, 0, 1], 9).into()]).unwrap());
    let services = Services::new(store, spool, clock, resolver, 1 << 20);
    let config = Config { plugins: [(Arc::from(name), plugin)].into(), ..Config::default() };
    PluginSet::build(engine, &config, &services, 1, Build::Strict).await
}

#[test]
fn each_component_is_what_its_manifest_says() {
    let engine = Engine::new().unwrap();
    for (name, path, hooks, lifecycle, _) in guests() {
        let inspection = inspect(&engine, &fs::read(file(path)).unwrap()).unwrap();
        assert_eq!(inspection.name.as_deref(), Some(name));
        assert!(inspection.version.is_some(), "{name}");
        assert_eq!(inspection.sources.map(|digest| digest.len()), Some(64), "{name}");
        assert_eq!(inspection.hooks.iter().copied().collect::<BTreeSet<_>>(), names(&hooks), "{name}");
        assert_eq!(inspection.lifecycle, lifecycle, "{name}");
        let foreign: Vec<_> = inspection.imports.iter().filter(|i| !i.starts_with("waypost:plugin/")).collect();
        let wasi = name == "fetcher" && foreign.iter().all(|i| i.starts_with("wasi:"));
        assert!(wasi != foreign.is_empty(), "{name} imports {foreign:?}");
    }
}

#[tokio::test]
async fn each_component_loads_with_its_settings() {
    let engine = Engine::new().unwrap();
    for (name, path, hooks, _, config) in guests() {
        let plugin = PluginConfig { path: file(path), grants: grants(name), config, ..PluginConfig::default() };
        let set = load(&engine, name, plugin).await.unwrap();
        for hook in Hook::ALL {
            assert_eq!(set.listens(hook), hooks.contains(&hook), "{name} at {}", hook.interface());
        }
    }
}

#[tokio::test]
async fn a_shipped_plugin_says_what_is_wrong_with_its_settings() {
    let engine = Engine::new().unwrap();
    for (name, path, _, _, _) in guests().into_iter().filter(|(_, _, _, lifecycle, _)| *lifecycle) {
        let config = json!({"no-such-setting": 1});
        let plugin = PluginConfig { path: file(path), grants: grants(name), config, ..PluginConfig::default() };
        let errors = load(&engine, name, plugin).await.map(|_| ()).unwrap_err();
        let text: String = errors.iter().map(ToString::to_string).collect();
        assert!(text.contains("unknown field `no-such-setting`"), "{name}: {text}");
    }
}
