//! Components that mean harm, one at each hook, against the real program: each costs its own verdict only, within its
//! budget, and nobody else feels it.
//!
//! All of them are one component written by hand, `tests/components/hostile.wat`; its settings say at which listener or
//! for which sender it misbehaves, and how. The listener has the hook's name; so has the sender at the delivery hooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waypost::hooks::Hook;

use crate::harness::{Relay, Sink, Smtp, towards, wait_for};

/// What a machine that has much else to do may add to a budget. Without the budget none of it would ever end.
const SLACK: Duration = Duration::from_secs(5);

/// Wall budget of what waits. Its CPU budget is the same instead of a small part of it: the wall comes first then,
/// because the clock of CPU budgets rounds up.
const WALL: Duration = Duration::from_millis(300);

const FAULTS: [&str; 5] = ["spin", "trap", "grow", "lie", "wait"];
const DELIVERY: [Hook; 3] = [Hook::DeliveryAttempt, Hook::DeliveryResult, Hook::Bounce];

fn name(hook: Hook) -> &'static str {
    hook.interface().strip_prefix("on-").unwrap()
}

fn at_session(hook: &Hook) -> bool {
    !DELIVERY.contains(hook)
}

/// One listener for each hook of a session, and one for everybody else.
fn listeners() -> String {
    let names = Hook::ALL.into_iter().filter(at_session).map(name).chain(["clean"]);
    let table = |name| format!("[listeners.{name}]\naddress = \"127.0.0.1:0\"\nallow-plaintext-auth = true\n");
    names.map(table).collect::<String>() + "[auth]\noffer = true\n"
}

/// One plugin for each of the hooks, at that hook only.
fn plugins(component: &Path, hooks: &[Hook], fault: &str, rest: impl Fn(&str) -> String) -> String {
    let table = |hook: &Hook| {
        let (name, rest) = (name(*hook), rest(name(*hook)));
        format!(
            "[plugins.bad-{name}]\npath = {component:?}\nhooks = [\"{name}\"]\n\
             breaker = false\nconfig = {{ at = \"{name}\", fault = \"{fault}\" }}\n{rest}\n"
        )
    };
    hooks.iter().map(table).collect()
}

/// The default budgets, but for those who wait: calling host functions that answer at once is computing too.
fn budget(fault: &str, hook: &str) -> String {
    match fault {
        "wait" => format!("budgets.{hook} = {{ cpu = \"{0}ms\", wall = \"{0}ms\" }}", WALL.as_millis()),
        _ => String::new(),
    }
}

fn reload(relay: &Relay, tables: &str) {
    relay.rewrite(tables);
    let output = relay.command(&["reload", "--allow-weaken"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Where each listener is.
fn addresses(relay: &Relay) -> BTreeMap<String, SocketAddr> {
    let status = relay.json(&["status"]);
    let listeners = status["listeners"].as_array().unwrap().iter();
    listeners
        .map(|l| (l["name"].as_str().unwrap().to_owned(), l["address"].as_str().unwrap().parse().unwrap()))
        .collect()
}

/// What the calls of each plugin came to.
fn failures(relay: &Relay) -> BTreeMap<String, Value> {
    let status = relay.json(&["status"]);
    let plugins = status["plugins"].as_array().unwrap().iter();
    plugins.map(|p| (p["name"].as_str().unwrap().to_owned(), p["failures"].clone())).collect()
}

/// Large enough for the spool: only there does reading it wait for a disk.
fn content() -> String {
    format!("From: <a@client.test>\r\nSubject: a test\r\n\r\n{}", format!("{}\r\n", "x".repeat(998)).repeat(300))
}

/// A session up to the hook: the reply there, and how long it took. The rest of the session must go on.
fn meet(at: SocketAddr, hook: Hook) -> (String, Duration) {
    let mut began = Instant::now();
    let mut client = Smtp::connect(at);
    if hook == Hook::Connect {
        let (reply, took) = (client.greeting().to_owned(), began.elapsed());
        assert!(reply.starts_with("220") || client.is_closed(), "{reply}");
        return (reply, took);
    }
    for (step, line) in [
        (Hook::Helo, "EHLO client.test"),
        (Hook::Auth, "AUTH PLAIN AGFubgBzM2NyZXQ="),
        (Hook::Mail, "MAIL FROM:<clean@client.test>"),
        (Hook::Rcpt, "RCPT TO:<b@there.test>"),
    ] {
        if step == Hook::Auth && hook != Hook::Auth {
            continue;
        }
        began = Instant::now();
        let reply = client.say(line);
        if step == hook {
            let took = began.elapsed();
            assert!(client.say("NOOP").starts_with("250"), "the session goes on");
            return (reply, took);
        }
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
    began = Instant::now();
    let reply = client.data(&content());
    let took = began.elapsed();
    assert!(client.say("NOOP").starts_with("250"), "the session goes on");
    (reply, took)
}

/// A message by a sender of the hook's name: it has to get where it would without the plugin, once, and soon.
fn deliver(clean: SocketAddr, sink: &Sink, hook: Hook, budget: Duration) {
    let sender = format!("{}@client.test", name(hook));
    let began = Instant::now();
    match hook {
        Hook::Bounce => {
            sink.answer("RCPT TO:<nobody@", "550 5.1.1 no such mailbox", 1);
            Smtp::connect(clean).deliver(&sender, &["nobody@there.test"], &content());
            let report = sink.next();
            assert_eq!((report.sender.as_str(), report.recipients.as_slice()), ("", &[sender][..]));
            assert!(report.content.contains("Final-Recipient: rfc822; nobody@there.test"), "made as it is");
        }
        _ => {
            Smtp::connect(clean).deliver(&sender, &["b@there.test"], &content());
            assert_eq!(sink.next().sender, sender);
        }
    }
    assert!(began.elapsed() < budget + SLACK, "{hook:?}: {:?}", began.elapsed());
}

/// What the failure of a plugin is told as, by hook and policy (docs/hooks, "Failure").
fn expected(hook: Hook, policy: &str) -> &'static str {
    match (policy, hook) {
        ("tempfail", Hook::Connect) => "421 4.3.0",
        ("tempfail", Hook::Auth) => "454 4.7.0",
        ("tempfail", _) => "451 4.3.0",
        ("reject", Hook::Helo | Hook::Mail | Hook::Rcpt) => "550 5.3.0",
        ("reject", _) => "554 5.3.0",
        (_, Hook::Connect) => "220 ",
        // Nobody of the relay's own vouches for the client.
        (_, Hook::Auth) => "535 5.7.8",
        _ => "250",
    }
}

/// What the counters call a fault.
fn kind(fault: &str) -> &'static str {
    match fault {
        "spin" => "cpu",
        "lie" => "invalid",
        "wait" => "wall",
        _ => "trap",
    }
}

/// All ten hooks, each with one call that fails; then mail that nobody is bound to.
fn round(relay: &Relay, sink: &Sink, fault: &str, policy: &str) {
    let at = addresses(relay);
    let budget = if fault == "wait" { WALL } else { Duration::from_millis(250) };
    for hook in Hook::ALL.into_iter().filter(at_session) {
        let (reply, took) = meet(at[name(hook)], hook);
        assert!(reply.starts_with(expected(hook, policy)), "{fault} at {hook:?}, {policy}: {reply}");
        assert!(took < budget + SLACK, "{fault} at {hook:?}: {took:?}");
        assert!(fault != "wait" || took >= WALL, "{hook:?}: {took:?} is less than it may wait");
        if matches!(hook, Hook::Message | Hook::Route) && reply.starts_with("250") {
            assert_eq!(sink.next().sender, "clean@client.test");
        }
    }
    for hook in DELIVERY {
        deliver(at["clean"], sink, hook, budget);
    }
    Smtp::connect(at["clean"]).deliver("clean@client.test", &["b@there.test"], &content());
    assert_eq!(sink.next().sender, "clean@client.test");
    wait_for("the queue is empty", || relay.json(&["queue", "list"]).as_array().unwrap().is_empty().then_some(()));
    assert_eq!(sink.waiting(), 0, "nothing arrived twice");
    let once = |hook: Hook| (format!("bad-{}", name(hook)), json!({ kind(fault): 1 }));
    assert_eq!(failures(relay), Hook::ALL.into_iter().map(once).collect(), "{fault}, {policy}");
}

#[test]
fn each_fault_at_each_hook_costs_its_own_verdict_and_no_more() {
    let (sink, component) = (Sink::start(), component());
    let base = towards(&sink) + &listeners();
    let relay = Relay::start(&base);
    for fault in FAULTS {
        reload(&relay, &(base.clone() + &plugins(&component, &Hook::ALL, fault, |hook| budget(fault, hook))));
        round(&relay, &sink, fault, "tempfail");
    }
}

#[test]
fn the_other_policies_hold_for_every_hook() {
    let (sink, component) = (Sink::start(), component());
    let base = towards(&sink) + &listeners();
    let relay = Relay::start(&base);
    for (fault, policy) in [("trap", "skip"), ("lie", "reject"), ("spin", "skip")] {
        let rest = |_: &str| format!("on-failure = \"{policy}\"");
        reload(&relay, &(base.clone() + &plugins(&component, &Hook::ALL, fault, rest)));
        round(&relay, &sink, fault, policy);
    }
}

/// Transactions that are measured at a time.
const SAMPLE: usize = 100;

/// Budget of those who disturb: so long would others wait behind each of their calls if a call held up its thread.
const LONG: Duration = Duration::from_secs(3);

#[test]
fn other_sessions_stay_quick_beside_each_fault() {
    let component = component();
    let base = listeners() + "[routing]\ndefault = \"destination:gone\"\n[destinations.gone]\ndiscard = true\n";
    let relay = Relay::start(&base);
    let (_, alone) = latency(addresses(&relay)["clean"]);
    for (fault, hook) in FAULTS.into_iter().flat_map(|fault| [(fault, Hook::Rcpt), (fault, Hook::Message)]) {
        let long = |hook: &str| format!("budgets.{hook} = {{ cpu = \"{0}s\", wall = \"{0}s\" }}", LONG.as_secs());
        reload(&relay, &(base.clone() + &plugins(&component, &[hook], fault, long)));
        let at = addresses(&relay);
        let (over, disturbed) = (AtomicBool::new(false), AtomicU64::new(0));
        let (median, slowest) = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| disturb(at[name(hook)], hook, &over, &disturbed));
            }
            wait_for("they disturb", || (disturbed.load(Ordering::Relaxed) >= 2).then_some(()));
            let measured = latency(at["clean"]);
            over.store(true, Ordering::Relaxed);
            measured
        });
        println!("{fault} at {}: median {median:?}, p99 {slowest:?}; p99 alone {alone:?}", name(hook));
        assert!(slowest < alone + LONG / 3, "{fault} at {hook:?}: p99 {slowest:?}, alone {alone:?}");
    }
}

/// Asks the hook again and again; counts how often it is about to.
fn disturb(at: SocketAddr, hook: Hook, over: &AtomicBool, asked: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let mut client = Smtp::connect(at);
        client.say("EHLO client.test");
        client.say("MAIL FROM:<a@client.test>");
        if hook == Hook::Message {
            client.say("RCPT TO:<b@there.test>");
            client.say("DATA");
            client.write(content().as_bytes());
        }
        asked.fetch_add(1, Ordering::Relaxed);
        let reply = client.say(if hook == Hook::Message { "." } else { "RCPT TO:<b@there.test>" });
        assert!(reply.starts_with("451"), "{reply}");
    }
}

/// Median and 99th percentile of small transactions in one session.
fn latency(at: SocketAddr) -> (Duration, Duration) {
    let mut client = Smtp::connect(at);
    assert!(client.say("EHLO client.test").starts_with("250"));
    let mut taken: Vec<Duration> = (0..SAMPLE)
        .map(|_| {
            let began = Instant::now();
            assert!(client.say("MAIL FROM:<clean@client.test>").starts_with("250"));
            assert!(client.say("RCPT TO:<b@there.test>").starts_with("250"));
            assert!(client.say("DATA").starts_with("354"));
            // In one write: a second small one would wait for the peer's delayed acknowledgement.
            assert!(client.say("Subject: small\r\n\r\nbody\r\n.").starts_with("250"));
            began.elapsed()
        })
        .collect();
    taken.sort();
    (taken[SAMPLE / 2], taken[SAMPLE - SAMPLE.div_ceil(100) - 1])
}

/// The committed component, once it is known to be made from its text.
fn component() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/components");
    let (text, path) = (std::fs::read_to_string(folder.join("hostile.wat")).unwrap(), folder.join("hostile.wasm"));
    let made = encode(&text);
    if std::env::var_os("WRITE_COMPONENTS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(committed == made, "hostile.wasm is not hostile.wat: run the test with WRITE_COMPONENTS=1 and commit it");
    path
}

/// A component of a core module that follows the canonical ABI by hand; its world is what it imports and exports.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    let named = |word: &str| {
        let names = text.split(word).skip(1).filter_map(|rest| rest.split(['"', '#']).next());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("waypost:plugin/")).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let imports = named("(import \"").into_iter().map(|name| format!("import {name};\n"));
    let exports = named("(export \"").into_iter().map(|name| format!("export {name};\n"));
    let world = format!("package test:hostile;\nworld plugin {{\n{}}}", imports.chain(exports).collect::<String>());
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit")).unwrap();
    let package = resolve.push_str("hostile.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let mut module = wat::parse_str(text).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false).unwrap();
    wit_component::ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}
