//! What serves over time: taken back by command, kept over restarts, refused where it would weaken, never run from a
//! damaged cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use waypost::plugin::{Compiler, Engine, inspect};

use crate::harness::{Relay, Sink, component, towards, wait_for};
use crate::hostile::encode;

const CONTENT: &str = "Subject: a test\r\n\r\nbody\r\n";

/// A relay whose header-policy stamps what it sends.
struct Stamped {
    sink: Sink,
    relay: Relay,
}

impl Stamped {
    fn start(stamp: &str) -> Self {
        let sink = Sink::start();
        let relay = Relay::start("");
        let this = Self { sink, relay };
        fs::copy(component("header-policy"), this.path()).unwrap();
        this.configure(stamp, "");
        this.must(&["reload"]);
        this
    }

    /// Where the operator keeps the component.
    fn path(&self) -> PathBuf {
        self.relay.folder().join("policy.wasm")
    }

    fn tables(&self, stamp: &str, rest: &str) -> String {
        let host = "[plugin-host]\nprobation = \"1h\"\n";
        let plugin = "[plugins.policy]\npath = \"DIR/policy.wasm\"\n";
        format!("{}{host}{plugin}{rest}\nconfig = {{ stamp = \"{stamp}\" }}\n", towards(&self.sink))
    }

    fn configure(&self, stamp: &str, rest: &str) {
        self.relay.rewrite(&self.tables(stamp, rest));
    }

    fn must(&self, words: &[&str]) -> String {
        let output = self.relay.command(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn must_not(&self, words: &[&str]) -> String {
        let output = self.relay.command(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        said(&output)
    }

    /// The stamp that mail gets now; none: nobody stamps it.
    fn stamp(&self) -> Option<String> {
        self.relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
        let content = self.sink.next().content;
        content.lines().find_map(|line| line.strip_prefix("X-Waypost: ")).map(str::to_owned)
    }

    /// The log is written a moment later than what it tells of.
    fn logs(&self, words: &str) {
        wait_for(words, || self.relay.log().contains(words).then_some(()));
    }

    fn status(&self) -> serde_json::Value {
        self.relay.json(&["plugin", "status", "policy"])
    }

    fn generations(&self) -> Vec<u64> {
        let listed = self.relay.json(&["plugin", "generations"]);
        listed.as_array().unwrap().iter().map(|g| g["generation"].as_u64().unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_roll_back_holds_over_reload_and_restart_until_the_configuration_changes() {
    let mut it = Stamped::start("one");
    assert_eq!(it.stamp().as_deref(), Some("one"));
    it.configure("two", "");
    it.must(&["reload"]);
    assert_eq!(it.stamp().as_deref(), Some("two"));

    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp().as_deref(), Some("one"));
    let status = it.status();
    assert!(status["reason"].as_str().unwrap().starts_with("roll-back to"), "{status}");
    assert!(status["plugins"][0]["override"].as_str().unwrap().contains("by uid "), "{status}");
    it.relay.hang_up();
    let generation = status["generation"].as_u64();
    wait_for("a reload", || (it.status()["generation"].as_u64() > generation).then_some(()));
    assert_eq!(it.stamp().as_deref(), Some("one"), "the file has not changed");
    it.relay.stop_and_restart();
    assert_eq!(it.stamp().as_deref(), Some("one"), "after a restart");

    it.configure("three", "");
    let report = it.must(&["reload"]);
    assert!(report.contains("plugin policy: the configuration or the component it names has changed"), "{report}");
    assert_eq!(it.stamp().as_deref(), Some("three"));
    assert!(it.status()["plugins"][0]["override"].is_null());
    let audited = it.must(&["plugin", "audit"]);
    assert!(audited.contains("roll-back to") && audited.contains("reload by signal"), "{audited}");
}

#[test]
fn a_generation_is_chosen_by_number_and_one_that_was_taken_back_is_not_chosen_by_itself() {
    let it = Stamped::start("zero");
    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp(), None, "back to a time before there was any");
    let listed = it.must(&["plugin", "status"]);
    assert!(listed.contains("not as configured"), "{listed}");
    for stamp in ["one", "two", "three"] {
        it.configure(stamp, "");
        it.must(&["reload"]);
    }
    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp().as_deref(), Some("two"));
    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp().as_deref(), Some("one"), "not forward again to what was taken back");
    let kept = it.generations();
    let missing = it.must_not(&["plugin", "rollback", "999"]);
    assert!(missing.contains("generation 999 is not kept") && missing.contains(&kept[0].to_string()), "{missing}");
    let listed = it.relay.json(&["plugin", "generations"]);
    let third = listed.as_array().unwrap().iter().rfind(|g| !g["taken_back"].is_null()).unwrap();
    it.must(&["plugin", "rollback", &third["generation"].to_string()]);
    assert_eq!(it.stamp().as_deref(), Some("three"), "by number it comes");
}

#[test]
fn a_component_that_can_not_be_loaded_at_the_start_is_served_from_the_last_good_generation() {
    let mut it = Stamped::start("good");
    fs::write(it.path(), "no component").unwrap();
    it.relay.stop_and_restart();
    assert_eq!(it.stamp().as_deref(), Some("good"));
    let plugin = &it.status()["plugins"][0];
    assert_eq!(plugin["state"], "last-good", "{plugin}");
    assert!(plugin["reason"].as_str().unwrap().contains("no WebAssembly component"), "{plugin}");
    it.logs("serves instead");
    assert!(it.must_not(&["reload"]).contains("no WebAssembly component"));
    assert_eq!(it.stamp().as_deref(), Some("good"), "a refused reload changes nothing");
    fs::copy(component("header-policy"), it.path()).unwrap();
    it.must(&["reload"]);
    assert_eq!(it.status()["plugins"][0]["state"], "serving");

    // With nothing to fall back on the failure policy answers, and the relay starts all the same.
    fs::remove_dir_all(it.relay.folder().join("plugins")).unwrap();
    fs::write(it.path(), "no component").unwrap();
    it.relay.stop_and_restart();
    assert_eq!(it.status()["plugins"][0]["state"], "failed");
}

#[test]
fn a_candidate_that_can_not_be_loaded_at_the_start_leaves_the_other_version_alone() {
    let mut it = Stamped::start("good");
    let candidate = it.relay.folder().join("candidate.wasm");
    fs::copy(component("header-policy"), &candidate).unwrap();
    it.configure("good", "candidate = { path = \"DIR/candidate.wasm\" }");
    it.must(&["reload"]);
    fs::write(&candidate, "no component").unwrap();
    it.relay.stop_and_restart();
    assert_eq!((it.status()["plugins"][0]["state"].as_str(), it.stamp().as_deref()), (Some("serving"), Some("good")));
    it.logs("the version that serves goes on alone");
}

#[test]
fn a_version_that_keeps_failing_is_taken_back_without_a_hand() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |component: &str| folder.path().join(format!("{component}.wasm"));
    let tables = |component: &str| format!("{}[plugins.guard]\npath = {:?}\n", towards(&sink), file(component));
    // It proceeds, but the new version traps at every third call.
    let third = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/components/third.wat")).unwrap();
    let never = third.replace("(i32.const 3)", "(i32.const 1000000)");
    fs::write(file("third"), encode(&third)).unwrap();
    fs::write(file("never"), encode(&never)).unwrap();
    let relay = Relay::start(&tables("never"));
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    relay.rewrite(&tables("third"));
    assert!(relay.command(&["reload"]).status.success());
    let taken_back = |relay: &Relay| {
        let status = relay.json(&["plugin", "status"]);
        status["reason"].as_str().is_some_and(|reason| reason.starts_with("automatic roll-back to 1: plugin guard"))
    };
    wait_for("the old version is back", || {
        let mut client = relay.smtp();
        client.say("EHLO client.test");
        client.say("MAIL FROM:<a@client.test>");
        client.say("RCPT TO:<b@there.test>");
        taken_back(&relay).then_some(())
    });
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let status = relay.json(&["plugin", "status", "guard"]);
    assert_eq!((status["by"].as_str(), status["plugins"][0]["state"].as_str()), (Some("automatic"), Some("serving")));
    assert!(relay.command(&["reload"]).status.success());
    assert!(!relay.json(&["plugin", "status"])["plugins"][0]["override"].is_null(), "it stays away");
    // The story is told by the record as well: so many failures of the one set, then answers of the next.
    let decided = relay.json(&["why", "--plugin", "guard"]);
    let of = |generation: u64, failed: bool| {
        let fits = |d: &&serde_json::Value| d["generation"] == generation && d["failure"].is_null() != failed;
        decided.as_array().unwrap().iter().filter(fits).count()
    };
    assert!(of(2, true) >= 5 && of(3, true) == 0 && of(3, false) > 0, "{decided}");
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
}

#[test]
fn what_would_weaken_has_to_be_meant() {
    let it = Stamped::start("strict");
    it.configure("strict", "mandatory = true\non-failure = \"reject\"");
    it.must(&["reload"]);
    it.configure("lax", "on-failure = \"skip\"");
    let refused = it.must_not(&["reload"]);
    for words in ["no longer mandatory", "a failure at on-message is skipped", "--allow-weaken"] {
        assert!(refused.contains(words), "{words:?} in {refused}");
    }
    let before = it.status()["generation"].as_u64();
    it.relay.hang_up();
    wait_for("the signal is refused", || {
        (it.must(&["plugin", "audit"]).matches("reload refused by signal").count() == 1).then_some(())
    });
    assert_eq!((it.status()["generation"].as_u64(), it.stamp().as_deref()), (before, Some("strict")));
    let report = it.must(&["reload", "--allow-weaken"]);
    assert!(report.contains("weaker: plugin policy: no longer mandatory"), "{report}");
    assert_eq!(it.stamp().as_deref(), Some("lax"));
    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp().as_deref(), Some("strict"), "back to what is stricter needs no words");
    let third = it.generations()[1].to_string();
    assert!(it.must_not(&["plugin", "rollback", &third]).contains("no longer mandatory"));
    it.must(&["plugin", "rollback", &third, "--allow-weaken"]);
    // To take a plugin out is an ordinary edit.
    it.relay.rewrite(&towards(&it.sink));
    it.must(&["reload"]);
    assert_eq!(it.stamp(), None);
}

#[test]
fn a_candidate_is_put_on_trial_dropped_and_promoted() {
    let it = Stamped::start("one");
    assert!(it.must_not(&["plugin", "promote", "policy"]).contains("has no candidate"));
    assert!(it.must_not(&["plugin", "promote", "nobody"]).contains("there is no plugin nobody"));
    let file = it.relay.folder().join("new.wasm");
    fs::copy(component("header-policy"), &file).unwrap();
    let file = file.to_str().unwrap();
    let settings = "{\"stamp\": \"two\"}";
    it.must(&["plugin", "try", "policy", file, "--shadow", "--settings", settings]);
    assert_eq!(it.stamp().as_deref(), Some("one"), "a shadow decides nothing");
    it.must(&["plugin", "drop-candidate", "policy"]);
    assert!(it.must_not(&["plugin", "drop-candidate", "policy"]).contains("has no candidate"));
    it.must(&["plugin", "try", "policy", file, "--shadow", "--settings", settings]);
    fs::remove_file(file).unwrap();
    it.must(&["plugin", "promote", "policy"]);
    assert_eq!(it.stamp().as_deref(), Some("two"));
    it.must(&["reload"]);
    assert_eq!(it.stamp().as_deref(), Some("two"), "until the configuration says something else");
    it.must(&["plugin", "rollback"]);
    it.configure("three", "");
    it.must(&["reload"]);
    assert_eq!(it.stamp().as_deref(), Some("three"));
}

#[test]
fn a_damaged_cache_is_compiled_anew() {
    let mut it = Stamped::start("kept");
    let cache = it.relay.folder().join("plugins/cache");
    let files = || -> Vec<PathBuf> { fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let path = files().remove(0);
    let mut octets = fs::read(&path).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 0xff;
    fs::write(&path, &octets).unwrap();
    it.relay.stop_and_restart();
    assert_eq!(it.stamp().as_deref(), Some("kept"));
    it.logs("removed, and compiled anew");
    assert!(files().len() == 1 && fs::read(&path).unwrap() != octets, "kept again");
    it.relay.stop_and_restart();
    assert_eq!(it.relay.log().matches("compiled anew").count(), 1, "and good now");
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "in the way").unwrap();
    it.relay.stop_and_restart();
    assert_eq!(it.stamp().as_deref(), Some("kept"), "without a cache it is compiled every time");
}

/// The compiling process by itself.
fn compile(memory: &str, input: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["compile-component", "--memory", memory])
        .stdin(Stdio::from(fs::File::open(input).unwrap()))
        .output()
        .unwrap()
}

#[test]
fn the_compiling_process_keeps_to_its_limits_and_says_why_it_failed() {
    let good = compile("4294967296", &component("greylist"));
    assert!(good.status.success() && good.stdout.len() > 1000, "{}", said(&good));
    let bad = compile("4294967296", &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    assert_eq!((bad.status.code(), bad.stdout.len(), said(&bad).lines().count()), (Some(1), 0, 1), "{}", said(&bad));
    let little = compile("30000000", &component("greylist"));
    assert!(!little.status.success() && little.stdout.is_empty(), "30 MB are not enough");
}

#[test]
fn the_relay_runs_what_the_other_process_compiled() {
    let octets = fs::read(component("greylist")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new().unwrap();
    let by = |program: &str| engine.equipped(Some(Compiler::by(Path::new(program))), Some(folder.path()));
    let refused = inspect(&by("/bin/false"), &octets).unwrap_err().to_string();
    assert!(refused.contains("the process that compiles ended with exit status: 1"), "{refused}");
    let seen = inspect(&by(env!("CARGO_BIN_EXE_waypost")), &octets).unwrap();
    assert_eq!(seen.name.as_deref(), Some("greylist"));
    // The code is kept: now nobody has to compile it.
    assert_eq!(inspect(&by("/bin/false"), &octets).unwrap(), seen);
}

#[test]
fn only_signed_components_where_that_is_asked_for() {
    let it = Stamped::start("one");
    let folder = it.relay.folder();
    let (key, file) = (folder.join("key"), it.path());
    let (key, file) = (key.to_str().unwrap(), file.to_str().unwrap());
    let public = it.must(&["plugin", "keygen", key]).trim().to_owned();
    let signers = format!("require-signature = true\nsigners = [\"{public}\"]\n");
    let configure = |stamp: &str| {
        let tables = it.tables(stamp, "").replace("[plugin-host]\n", &format!("[plugin-host]\n{signers}"));
        it.relay.rewrite(&tables);
    };
    configure("two");
    assert!(it.must_not(&["reload"]).contains("waypost plugin sign"));
    assert!(it.must_not(&["plugin", "verify", "--key", &public, file]).contains("not signed by that key"));
    it.must(&["plugin", "sign", "--key", key, file]);
    it.must(&["plugin", "verify", "--key", &public, file]);
    it.must(&["reload"]);
    configure("three");
    it.must(&["reload"]);
    it.must(&["plugin", "rollback"]);
    assert_eq!(it.stamp().as_deref(), Some("two"), "the signature was kept with the component");
}
