//! What is loaded, what is refused, and in which words.

use super::*;
use crate::plugin::testing::{ENGINE, component, misbehaving, with_section};
use crate::plugin::{Build, Grants, PluginConfig, inspect};

/// Why a component is refused.
async fn refusal(component: &[u8], config: PluginConfig) -> String {
    let fixture = Fixture::new().with_config("p", component, config);
    let errors = fixture.try_build(1, Build::Strict).await.unwrap_err();
    errors.iter().map(|e| e.to_string()).collect()
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let good = answering(Hook::Rcpt, &saying(0, 0, ""));
    let core = wat::parse_str("(module)").unwrap();
    let old_line = wat::parse_str(r#"(component (import "waypost:plugin/log@0.9.0" (instance)))"#).unwrap();
    let kv = wat::parse_str(r#"(component (import "wasi:keyvalue/store@0.2.0" (instance)))"#).unwrap();
    let wasi = wat::parse_str(r#"(component (import "wasi:cli/stdout@0.3.0" (instance)))"#).unwrap();
    let waiting = wat::parse_str(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func (export "f") async (result u32) (canon lift (core func $i "f"))))"#,
    );
    let new_hook =
        wat::parse_str(r#"(component (instance $i) (export "waypost:plugin/on-party@0.1.9" (instance $i)))"#);
    let hookless = wat::parse_str("(component)").unwrap();
    let wrong_type = wat::parse_str(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $h (export "handle" (func $f)))
            (export "waypost:plugin/on-connect@0.1.0" (instance $h)))"#,
    );
    let lying = with_section(&good, "waypost:manifest", br#"{"hooks":["on-mail"]}"#);
    let one = with_section(&good, "waypost:manifest", b"{}");
    let table = [
        (b"hello".to_vec(), "no WebAssembly component"),
        (core, "wasm-tools component new"),
        (ENGINE.wasmtime().precompile_component(&good).unwrap(), "precompiled"),
        (old_line, "rebuild the plugin"),
        (kv, "build it without the interfaces of others"),
        (wasi, "components of WASI 0.2"),
        (waiting.unwrap(), "synchronous components"),
        (new_hook.unwrap(), "newer relay"),
        (hookless, "exports no hook"),
        (wrong_type.unwrap(), "not of the contract's type"),
        (lying, "manifest names the hooks on-mail"),
        (with_section(&one, "waypost:manifest", b"{}"), "more than one `waypost:manifest` section"),
        (with_section(&good, "waypost:manifest", b"no JSON"), "section can't be read"),
        (good[..good.len() / 2].to_vec(), "cut off, or damaged"),
        (good[..8].to_vec(), "exports no hook"),
        (vec![0, b'a', b's', b'm', 9, 9, 9, 9], "of a version that the relay does not know"),
        (vec![0; (64 << 20) + 1], "larger than 64 MiB"),
        (misbehaving("refuse-config"), "refuses its configuration: no table"),
    ];
    for (component, words) in table {
        let said = refusal(&component, PluginConfig::default()).await;
        assert!(said.contains("plugin `p`") && said.contains(words), "{said}");
    }
    let pinned = PluginConfig { sha256: Some([7; 32]), ..PluginConfig::default() };
    assert!(refusal(&good, pinned).await.contains("0707"));
    let elsewhere = PluginConfig { hooks: Some(vec![Hook::Mail]), ..PluginConfig::default() };
    assert!(refusal(&good, elsewhere).await.contains("names on-mail"));
}

#[tokio::test]
async fn manifests_and_configurations_must_fit() {
    let good = answering(Hook::Rcpt, &saying(0, 0, ""));
    let with = |manifest: &str| with_section(&good, "waypost:manifest", manifest.as_bytes());
    let table = [
        (r#"{"asks": {"required": ["dns"]}}"#, "add to [plugins.p.grants] `dns = {}`"),
        (r#"{"asks": {"optional": ["telepathy"]}}"#, "asks for \"telepathy\""),
        (r#"{"config-schema": {"required": ["delay"]}}"#, "\"delay\" is a required property"),
        (r#"{"config-schema": {"$ref": "https://example.com/"}}"#, "config-schema in its manifest can't be used"),
        (r#"{"metrics": {"counters": {"a b": []}}}"#, "metric \"a b\""),
        (r#"{"limits": {"wall-ms": {"on-party": 1}}}"#, "no hook"),
    ];
    for (manifest, words) in table {
        let said = refusal(&with(manifest), PluginConfig::default()).await;
        assert!(said.contains("plugin `p`") && said.contains(words), "{said}");
    }
    let relay = PluginConfig { grants: Grants { relay: true, ..Grants::default() }, ..PluginConfig::default() };
    let unasked = Fixture::new().with_config("p", &with(r#"{"asks": {}}"#), relay.clone());
    let unasked = unasked.try_build(1, Build::Strict).await.unwrap();
    assert!(unasked.list()[0].warnings[0].contains("remove it from [plugins.p.grants]"));
    assert!(!unasked.may_authorize(), "what is not asked for is not given");
    let asked = Fixture::new().with_config("p", &good, relay).try_build(1, Build::Strict).await.unwrap();
    assert!(asked.may_authorize(), "no manifest");
    // What is refused is known by its hooks: others go on.
    let lenient = Fixture::new().with("p", &with(table[0].0)).try_build(1, Build::Lenient).await.unwrap();
    assert!(lenient.listens(Hook::Rcpt) && !lenient.listens(Hook::Connect));
}

#[tokio::test]
async fn a_manifest_of_a_nested_component_is_nobodys() {
    // What is nested is a part that somebody else made: what its author says is not said of the whole.
    let lying = with_section(&wat::parse_str("(component)").unwrap(), "waypost:manifest", br#"{"hooks":["on-mail"]}"#);
    let size = u8::try_from(lying.len()).unwrap();
    assert!(size < 0x80, "one octet of LEB128");
    let mut outer = answering(Hook::Rcpt, &saying(2, 550, "nested"));
    outer.extend([4, size]);
    outer.extend(lying);
    let set = Fixture::new().with("p", &outer).build().await;
    assert_eq!(set.list()[0].hooks, ["on-rcpt"]);
    assert_eq!(set.list()[0].version.len(), 12, "of the digest, not of a manifest");
}

#[tokio::test]
async fn all_errors_are_reported_together() {
    let mut fixture = Fixture::new().with("a", b"x").with("b", b"y");
    fixture
        .config
        .plugins
        .insert("c".into(), PluginConfig { path: fixture.path("missing"), ..PluginConfig::default() });
    let errors = fixture.try_build(1, Build::Strict).await.unwrap_err();
    let names: Vec<_> = errors.iter().filter_map(|e| e.plugin.as_deref()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_reload_compiles_only_what_changed() {
    let fixture = Fixture::new().with("p", &answering(Hook::Rcpt, &saying(1, 0, "only once")));
    let first = fixture.build().await;
    let began = std::time::Instant::now();
    for generation in 2..52 {
        let next = fixture.try_build(generation, Build::Strict).await.unwrap();
        assert_eq!(next.generation(), generation);
        assert_eq!(next.list()[0].sha256, first.list()[0].sha256);
    }
    let digest = crate::plugin::load::digest_of(&std::fs::read(fixture.path("p")).unwrap());
    assert!(ENGINE.known(&digest).is_some());
    drop(first);
    assert!(ENGINE.known(&digest).is_none(), "freed with the last generation; {:?}", began.elapsed());
}

#[tokio::test]
async fn chains_are_ordered_by_number_then_name() {
    let place = |order| PluginConfig { order, ..PluginConfig::default() };
    let fixture = Fixture::new()
        .with_config("b", &answering(Hook::Rcpt, &saying(2, 550, "b")), place(0))
        .with_config("a", &answering(Hook::Rcpt, &saying(2, 551, "a")), place(0))
        .with_config("z", &answering(Hook::Rcpt, &saying(2, 552, "z")), place(-1));
    let set = fixture.build().await;
    let names: Vec<_> = set.list().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["z", "a", "b"]);
    assert!(matches!(set.rcpt(at_rcpt()).await.1, SessionVerdict::Reject(reply) if reply.code == 552));
}

#[tokio::test]
async fn hooks_can_be_left_out() {
    let two = component(
        r#"(module (memory (export "memory") 1)
            (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32) (i32.const 1024))
            (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))"#,
    );
    let config = PluginConfig { hooks: Some(vec![Hook::Message]), ..PluginConfig::default() };
    let set = Fixture::new().with_config("p", &two, config).build().await;
    assert!(set.listens(Hook::Message) && !set.listens(Hook::Connect));
    assert_eq!(set.list()[0].hooks, ["on-message"]);
}

#[test]
fn inspection_tells_what_a_component_is() {
    let manifest = br#"{"name":"guard","version":"1.2.0","hooks":["on-rcpt"],"sources":"abcd"}"#;
    let component = with_section(&misbehaving("count"), "waypost:manifest", manifest);
    let seen = inspect(&ENGINE, &component).unwrap();
    assert_eq!((seen.hooks, seen.lifecycle), (vec!["on-rcpt"], false));
    assert_eq!((seen.name.as_deref(), seen.version.as_deref()), (Some("guard"), Some("1.2.0")));
    assert_eq!(seen.sources.as_deref(), Some("abcd"));
    assert!(seen.imports.contains(&"waypost:plugin/kv@0.1.0".to_owned()), "{:?}", seen.imports);
    assert_eq!((seen.sha256.len(), seen.size), (64, component.len() as u64));
    assert!(inspect(&ENGINE, b"no").is_err());
}
