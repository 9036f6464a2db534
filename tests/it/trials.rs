//! Versions that fail again and again, versions on trial, and who is asked at all: against the real program.
//!
//! The components are written by hand; what they decide is in their text.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Relay, Sink, Smtp, towards, wait_for};
use crate::hostile::encode;

/// A component at rcpt that gives one answer: `ok` with the case of that number, 0 to proceed, 1 to accept.
fn saying(case: u8) -> String {
    format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 1024) "\00\00\00\00\{case:02x}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048))
            (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1024)))"#
    )
}

/// One of `tests/components`.
fn text(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/components/{name}.wat", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Components in a folder of their own.
struct Components(TempDir);

impl Components {
    fn new(all: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in all {
            std::fs::write(folder.path().join(format!("{name}.wasm")), encode(text)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.wasm"))
    }

    /// `[plugins.NAME]` with the component of that name.
    fn plugin(&self, name: &str, rest: &str) -> String {
        format!("[plugins.{name}]\npath = {:?}\n{rest}\n", self.path(name))
    }
}

/// RCPT in a transaction of its own; the reply.
fn rcpt(client: &mut Smtp, recipient: &str) -> String {
    client.say("RSET");
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say(&format!("RCPT TO:<{recipient}>"))
}

/// The first plugin, as it is listed.
fn first(relay: &Relay) -> Value {
    relay.json(&["plugin", "list"])[0].clone()
}

#[test]
fn a_version_that_fails_one_call_in_three_is_left_alone_until_it_is_well() {
    let components = Components::new(&[("third", text("third"))]);
    let breaker = "breaker = { failures = 2, window = \"30s\", pause = \"1s\" }";
    let relay = Relay::start(&components.plugin("third", breaker));
    let mut client = relay.smtp();
    let codes: Vec<String> = (0..7).map(|_| rcpt(&mut client, "b@there.test")[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "451", "250", "250", "451", "451"], "the last one was not made");
    let listed = first(&relay);
    assert_eq!((&listed["state"], &listed["calls"]), (&json!("tripped"), &json!(6)), "{listed}");
    assert_eq!(listed["breaker"]["trips"], 1);
    wait_for("the log says so", || relay.log().contains("its breaker opened").then_some(()));
    let shown = String::from_utf8(relay.command(&["plugin", "list"]).stdout).unwrap();
    assert!(shown.contains("third: left alone since"), "{shown}");
    wait_for("it is asked again", || rcpt(&mut client, "b@there.test").starts_with("250").then_some(()));
    let listed = first(&relay);
    assert_eq!((&listed["state"], &listed["breaker"]["state"]), (&json!("serving"), &json!("closed")), "{listed}");
}

#[test]
fn a_shadow_is_reported_and_changes_nothing() {
    let sink = Sink::start();
    let components = Components::new(&[("plain", saying(0)), ("choosy", text("choosy"))]);
    let candidate = format!("candidate = {{ path = {:?} }}", components.path("choosy"));
    let relay = Relay::start(&(towards(&sink) + &components.plugin("plain", &candidate)));
    let mut client = relay.smtp();
    for number in 0..20 {
        let id = client.deliver("a@client.test", &[&format!("r{number}@there.test")], "Subject: x\r\n\r\nbody\r\n");
        assert_eq!((sink.next().recipients, id.is_empty()), (vec![format!("r{number}@there.test")], false));
    }
    let trial = wait_for("all are compared", || {
        let trial = relay.json(&["plugin", "trial", "plain"]);
        (trial["waiting"] == 0).then_some(trial)
    });
    let tally = json!({"hook": "on-rcpt", "same": 12, "verdict": 4, "edits": 2, "failed": 2, "skipped": 0});
    assert_eq!(trial["hooks"], json!([tally]));
    let differing: Vec<&str> =
        trial["differences"].as_array().unwrap().iter().map(|d| d["recipients"][0].as_str().unwrap()).collect();
    let expected = [3, 5, 7, 9, 13, 15, 17, 19].map(|number| format!("r{number}@there.test"));
    let mut sorted = differing.clone();
    sorted.sort_by_key(|text| text.trim_start_matches('r').split('@').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(sorted, expected);
    let shown = String::from_utf8(relay.command(&["plugin", "trial", "plain"]).stdout).unwrap();
    assert!(shown.contains("r7@there.test") && shown.contains("550"), "{shown}");
    let refused = relay.command(&["plugin", "trial", "choosy"]);
    assert_eq!(refused.status.code(), Some(1), "there is no such plugin");
    let listed = first(&relay);
    assert_eq!((&listed["calls"], &listed["candidate"]["different"]), (&json!(20), &json!(6)), "{listed}");
}

#[test]
fn who_is_out_of_scope_is_not_asked() {
    let components = Components::new(&[("trap", text("trap"))]);
    let scopes = [
        "scope.networks = [\"192.0.2.0/24\"]",
        "scope.listeners = [\"submission\"]",
        "scope.authenticated = true",
        "scope.senders = [\".client.test\"]",
        "scope.recipients = [\"elsewhere.test\", \".there.test\"]",
    ];
    let named =
        |(at, scope): (usize, &&str)| format!("[plugins.p{at}]\npath = {:?}\n{scope}\n", components.path("trap"));
    let relay = Relay::start(&scopes.iter().enumerate().map(named).collect::<String>());
    let mut client = relay.smtp();
    assert!(rcpt(&mut client, "b@there.test").starts_with("250"));
    let Value::Array(plugins) = relay.json(&["plugin", "list"]) else { panic!("a list is one array") };
    let calls: Vec<&Value> = plugins.iter().map(|p| &p["calls"]).collect();
    assert_eq!(calls, [0, 0, 0, 0, 0]);
    assert!(rcpt(&mut client, "b@x.there.test").starts_with("451"), "in scope of the last one");
}

#[test]
fn only_the_accept_of_a_granted_plugin_opens_the_relay() {
    let components = Components::new(&[("accepts", saying(1)), ("proceeds", saying(0)), ("trap", text("trap"))]);
    let granted = "grants.relay = true";
    let table = [
        (components.plugin("accepts", ""), "550 5.7.1 relay access denied"),
        (components.plugin("proceeds", granted) + &components.plugin("accepts", ""), "550 5.7.1 relay access denied"),
        (
            components.plugin("trap", "grants.relay = true\non-failure = \"skip\"") + &components.plugin("accepts", ""),
            "550 5.7.1 relay access denied",
        ),
        (components.plugin("trap", granted), "451 4.3.0"),
        (components.plugin("accepts", granted), "250 2.1.5"),
        (
            components.plugin("accepts", granted) + "scope.networks = [\"192.0.2.0/24\"]\n",
            "550 5.7.1 relay access denied",
        ),
    ];
    for (tables, expected) in table {
        let relay = Relay::start_for_strangers(&tables);
        let mut client = relay.smtp();
        let said = rcpt(&mut client, "b@there.test");
        assert!(said.starts_with(expected), "{tables}{said}");
        if !tables.contains("trap") {
            assert!(rcpt(&mut client, "b@ours.test").starts_with("250"), "where the rule says yes nothing changes");
        }
    }
}
