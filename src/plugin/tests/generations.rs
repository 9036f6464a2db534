//! Generations on disk, and what serves in place of the configuration.

use std::fs;
use std::path::Path;

use super::*;
use crate::plugin::{Archive, Config, Generation, Override, Overrides, PluginConfig, Side, Version, weakenings};

/// A set of one plugin `p` with a component of these octets.
fn generation(dir: &Path, number: u64, octets: &str) -> Generation {
    let path = dir.join(format!("{octets}.wasm"));
    fs::write(&path, octets).unwrap();
    let version = Version::at_hand(&PluginConfig { path, ..PluginConfig::default() });
    Generation {
        number,
        at: Timestamp::from_secs(i64::try_from(number).unwrap()),
        reason: "reload".into(),
        by: "uid 0".into(),
        taken_back: None,
        brought_back: false,
        plugins: [("p".into(), version)].into(),
    }
}

fn numbers(archive: &Archive) -> Vec<u64> {
    archive.generations().iter().map(|generation| generation.number).collect()
}

#[test]
fn the_last_few_are_kept_with_their_components() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(&dir.path().join("plugins")).unwrap();
    for (number, octets) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        archive.keep(generation(dir.path(), number, octets)).unwrap();
    }
    let first = generation(dir.path(), 1, "a").plugins["p"].clone();
    let held = Override {
        entry: None,
        serves: Some(first.clone()),
        at: Timestamp::from_secs(9),
        reason: "x".into(),
        by: "y".into(),
    };
    assert_eq!(archive.prune(2, &Overrides([("p".into(), held)].into())).len(), 3, "c, d, and a by its override");
    assert_eq!(numbers(&archive), [4, 3]);
    assert!(archive.has(&first), "an override needs it");
    assert_eq!(archive.prune(2, &Overrides::default()).len(), 2);
    assert!(!archive.has(&first));
    fs::remove_file(dir.path().join("d.wasm")).unwrap();
    let (number, good) = archive.last_good("p").unwrap();
    assert_eq!(number, 4);
    let pinned = archive.pinned(&good);
    assert_eq!(fs::read_to_string(&pinned.path).unwrap(), "d");
    assert!(pinned.sha256.is_some());
}

#[test]
fn the_same_again_is_one_generation_with_a_new_number() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    archive.keep(generation(dir.path(), 1, "a")).unwrap();
    let again = Generation { reason: "start".into(), ..generation(dir.path(), 2, "a") };
    let kept = archive.keep(again).unwrap();
    assert_eq!((kept.number, kept.reason.as_str(), kept.at), (2, "reload", Timestamp::from_secs(1)));
    assert_eq!(numbers(&archive), [2]);
    let mut other = generation(dir.path(), 3, "a");
    other.plugins.get_mut("p").unwrap().config.order = 7;
    archive.keep(other).unwrap();
    assert_eq!(numbers(&archive), [3, 2], "other settings are another one");
}

#[test]
fn what_is_damaged_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let kept: Vec<_> = (1..=3).map(|n| archive.keep(generation(dir.path(), n, &n.to_string())).unwrap()).collect();
    let path = dir.path().join("generations/2.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("reload", "relaod")).unwrap();
    assert_eq!(numbers(&archive), [3, 1]);
    fs::copy(dir.path().join("generations/1.json"), &path).unwrap();
    assert_eq!(numbers(&archive), [3, 1], "one under another's number");
    let component = archive.component(kept[2].plugins["p"].sha256.as_deref().unwrap());
    fs::write(component, "changed").unwrap();
    assert!(!archive.has(&kept[2].plugins["p"]));
    assert_eq!(archive.last_good("p").map(|(number, _)| number), Some(1));
    archive.take_back(&kept[0], "it failed").unwrap();
    assert_eq!(archive.last_good("p"), None, "one that was taken back is not good");
    assert!(!generation(dir.path(), 9, "gone").plugins["p"].clone().config.path.as_os_str().is_empty());
}

#[test]
fn an_override_holds_until_the_configuration_says_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.wasm");
    fs::write(&path, "bad version").unwrap();
    let entry = PluginConfig { path: path.clone(), ..PluginConfig::default() };
    let file = |entry: &PluginConfig| Config { plugins: [("p".into(), entry.clone())].into(), ..Config::default() };
    let serves = PluginConfig { order: 42, ..entry.clone() };
    let held = Override {
        entry: Some(Version::at_hand(&entry)),
        serves: Some(Version::at_hand(&serves)),
        at: Timestamp::from_secs(1),
        reason: "roll-back to 1".into(),
        by: "uid 0".into(),
    };
    let overrides = || Overrides([("p".into(), held.clone())].into());
    let order = |laid: &crate::plugin::Laid| laid.config.plugins.get("p").map(|p| p.order);

    let laid = overrides().over(&file(&entry));
    assert_eq!((order(&laid), laid.ended.len(), laid.overrides == overrides()), (Some(42), 0, true));
    let moved = PluginConfig { path: dir.path().join("q.wasm"), ..entry.clone() };
    fs::copy(&path, &moved.path).unwrap();
    assert_eq!(order(&overrides().over(&file(&moved))), Some(42), "the same component elsewhere is the same");

    let laid = overrides().over(&file(&PluginConfig { mandatory: true, ..entry.clone() }));
    assert_eq!((order(&laid), laid.ended.len()), (Some(0), 1), "other settings");
    assert!(laid.ended[0].contains("plugin p") && laid.ended[0].contains("roll-back to 1"), "{:?}", laid.ended);
    assert_eq!(order(&overrides().over(&Config::default())), None, "no such plugin any more");
    fs::write(&path, "good version").unwrap();
    assert_eq!(order(&overrides().over(&file(&entry))), Some(0), "another component");

    let removed = Override { entry: None, serves: Some(Version::at_hand(&serves)), ..held.clone() };
    let laid = Overrides([("p".into(), removed)].into()).over(&Config::default());
    assert_eq!(order(&laid), Some(42), "one that the configuration does not have");
    let nothing = Override { entry: Some(Version::at_hand(&entry)), serves: None, ..held };
    assert_eq!(order(&Overrides([("p".into(), nothing)].into()).over(&file(&entry))), None, "taken out");
}

#[test]
fn overrides_outlive_the_process_unless_they_are_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    assert_eq!(archive.overrides(), Overrides::default());
    let held = Override { entry: None, serves: None, at: Timestamp::from_secs(1), reason: "r".into(), by: "b".into() };
    let overrides = Overrides([("p".into(), held)].into());
    archive.write_overrides(&overrides).unwrap();
    assert_eq!(Archive::open(dir.path()).unwrap().overrides(), overrides);
    fs::write(dir.path().join("overrides.json"), "{}").unwrap();
    assert_eq!(archive.overrides(), Overrides::default());
}

#[tokio::test]
async fn a_plugin_of_the_last_good_generation_says_so() {
    let mut set = Fixture::new().with("p", &answering(Hook::Rcpt, &saying(2, 550, "good"))).build().await;
    set.mark_last_good("p", "of generation 3".into());
    let info = &set.list()[0];
    assert_eq!((info.state, info.reason.as_deref()), ("last-good", Some("of generation 3")));
}

#[tokio::test]
async fn a_hook_at_which_it_is_not_asked_any_more_is_a_weakening() {
    let two = crate::plugin::testing::component(
        r#"(module (memory (export "memory") 1)
            (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32) (i32.const 1024))
            (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))"#,
    );
    let asked = |hooks| PluginConfig { hooks, ..PluginConfig::default() };
    let wide = Fixture::new().with_config("p", &two, asked(None));
    let narrow = Fixture::new().with_config("p", &two, asked(Some(vec![Hook::Message])));
    let (was, is) = (wide.build().await.list(), narrow.build().await.list());
    let before = Side { config: &wide.config, plugins: &was };
    let after = Side { config: &narrow.config, plugins: &is };
    assert_eq!(weakenings(before, after, Path::new("/kept")), ["plugin p: no longer asked at on-connect"]);
    assert!(weakenings(after, before, Path::new("/kept")).is_empty());
}
