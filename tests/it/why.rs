//! What plugins decided can be looked up: by message, by address, by plugin, after a restart.

use serde_json::Value;

use crate::harness::{Relay, Sink, component, towards, wait_for};

const CONTENT: &str = "From: <a@client.test>\r\nX-Internal: secret\r\nSubject: a test\r\n\r\nbody\r\n";

fn plugin(name: &str, rest: &str) -> String {
    format!("[plugins.{name}]\npath = {:?}\n{rest}\n", component(name))
}

fn why(relay: &Relay, words: &[&str]) -> Vec<Value> {
    let Value::Array(decisions) = relay.json(&[&["why"], words].concat()) else { panic!("decisions are one array") };
    decisions
}

fn text(relay: &Relay, words: &[&str]) -> String {
    let output = relay.command(&[&["why"], words].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const GREYLIST: &str = "grants.kv = { bytes = \"1 MiB\", keys = 1000 }\n\
    config = { delay-seconds = 3600, exempt-relay-clients = false, exempt-domains = [\"exempt.test\"] }";

const POLICY: &str = "config = { remove = [\"X-Internal\"], add = [{ name = \"X-Policy\", value = \"seen\" }] }";

#[test]
fn a_refused_recipient_is_explained() {
    let sink = Sink::start();
    let mut relay = Relay::start(&(towards(&sink) + &plugin("greylist", GREYLIST) + &plugin("header-policy", POLICY)));
    let mut client = relay.smtp();
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    assert!(client.say("RCPT TO:<b@there.test>").starts_with("451 4.7.1"));
    let refused = why(&relay, &["b@there.test"]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    let decision = &refused[0];
    assert_eq!((&decision["hook"], &decision["plugin"]), (&Value::from("on-rcpt"), &Value::from("greylist")));
    assert_eq!((&decision["verdict"], &decision["sender"]), (&Value::from("tempfail"), &Value::from("a@client.test")));
    assert!(decision["told"].as_str().unwrap().starts_with("451 4.7.1"), "{decision}");
    assert_eq!(decision["digest"].as_str().map(str::len), Some(64));
    let (id, session) = (decision["queue_id"].as_str().unwrap(), decision["session"].as_str().unwrap());
    assert_eq!(why(&relay, &[id]), refused);
    assert_eq!(why(&relay, &[session, "--verdict", "tempfail"]), refused);
    assert_eq!(why(&relay, &["there.test", "--plugin", "greylist", "--hook", "rcpt", "--since", "1h"]), refused);
    assert!(why(&relay, &["b@there.test", "--plugin", "header-policy"]).is_empty());
    let shown = text(&relay, &[id]);
    assert!(
        shown.contains("greylist") && shown.contains("told 451 4.7.1") && shown.ends_with("1 decision\n"),
        "{shown}"
    );
    client.say("QUIT");

    let id = relay.smtp().deliver("a@client.test", &["c@exempt.test"], CONTENT);
    let _ = sink.next();
    let edits = &why(&relay, &[&id, "--plugin", "header-policy"])[0]["edits"];
    let kinds: Vec<_> = edits.as_array().unwrap().iter().map(|edit| edit["edit"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"remove-header") && kinds.len() == 2, "{edits}");
    assert!(!text(&relay, &[]).contains("body\r\n"));

    relay.stop_and_restart();
    assert_eq!(why(&relay, &["b@there.test"]), refused, "the record outlives the process");
    relay.crash_and_restart();
    assert_eq!(why(&relay, &["b@there.test"]), refused);
}

#[test]
fn a_failure_shows_its_kind_and_its_policy() {
    let sink = Sink::start();
    let hostile = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/components/hostile.wasm");
    let bad = |policy: &str| {
        format!(
            "[plugins.bad]\npath = {hostile:?}\nhooks = [\"connect\"]\non-failure = {policy:?}\n\
             config = {{ at = \"connect\", fault = \"trap\" }}\n[listeners.connect]\naddress = \"127.0.0.1:0\"\n"
        )
    };
    let relay = Relay::start(&(towards(&sink) + &bad("skip")));
    let status = relay.json(&["status"]);
    let listeners = status["listeners"].as_array().unwrap().iter();
    let at = listeners.filter(|l| l["name"] == "connect").map(|l| l["address"].as_str().unwrap()).next().unwrap();
    let client = crate::harness::Smtp::connect(at.parse().unwrap());
    assert!(client.greeting().starts_with("220"));
    let failed = wait_for("the failure is recorded", || why(&relay, &["--failed", "--plugin", "bad"]).pop());
    assert_eq!(
        (&failed["failure"]["kind"], &failed["failure"]["policy"]),
        (&Value::from("trap"), &Value::from("skip"))
    );
    assert_eq!((&failed["verdict"], &failed["hook"]), (&Value::from("proceed"), &Value::from("on-connect")));
    let shown = text(&relay, &["127.0.0.1", "--failed"]);
    assert!(shown.contains("failed, trap: it trapped") && shown.contains("its policy is skip"), "{shown}");
}

#[test]
fn the_record_can_be_switched_off_by_a_reload() {
    let sink = Sink::start();
    let tables = towards(&sink) + &plugin("header-policy", POLICY);
    let relay = Relay::start(&tables);
    let first = relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    relay.rewrite(&(tables + "[plugin-host.decisions]\nrecord = false\n"));
    assert!(relay.command(&["reload"]).status.success());
    let second = relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    assert_eq!((why(&relay, &[&first]).len(), why(&relay, &[&second]).len()), (1, 0));
    assert_eq!(relay.json(&["status"])["decisions"]["recording"], Value::from(false));
}
