//! The test kit as developers meet it: scenarios, measurements, a session on the terminal, versions side by side.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn kit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost")).current_dir(root()).arg("plugin").args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Runs one scenario file against a component; standard output and error, and the exit status.
fn test(component: &str, scenario: &str, more: &[&str]) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario).unwrap();
    let output = kit(&[&["test", component, "--scenario", path.to_str().unwrap()], more].concat());
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

const GREYLIST: &str = "plugins/components/greylist.wasm";
const HOSTILE: &str = "tests/components/hostile.wasm";
const FETCHER: &str = "tests/components/guests/fetcher.wasm";

/// The policies of the repository that have scenarios.
fn policies() -> Vec<PathBuf> {
    let folders = fs::read_dir(root().join("plugins")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = folders.filter(|folder| folder.join("scenarios").is_dir()).collect();
    found.sort();
    found
}

#[test]
fn every_shipped_policy_passes_its_scenarios() {
    let all = policies();
    let mut wrong = Vec::new();
    for policy in all {
        let output = kit(&["test", policy.to_str().unwrap()]);
        if !output.status.success() {
            wrong.push(format!("{}\n{}{}", policy.display(), text(&output.stdout), text(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn steps_follow_each_other_with_their_clock_and_their_store() {
    let scenario = r#"
[plugin]
config = { delay-seconds = 60 }
grants.kv = true
[[case]]
name = "a sender comes back"
client = { address = "203.0.113.9" }
[[case.step]]
smtp = """
S: 220…
C: EHLO mail.example.org
S: 250…
C: MAIL FROM:<ann@example.org>
S: 250…
C: RCPT TO:<bob@example.com>
S: 451 4.7.1…
"""
expect.messages = 0
[[case.step]]
advance = "2m"
[[case.step]]
smtp = """
S: 220…
C: EHLO mail.example.org
S: 250…
C: MAIL FROM:<ann@example.org>
S: 250…
C: RCPT TO:<bob@example.com>
S: 250…
C: DATA
S: 354…
C: Subject: hello
C:
C: a line
C: ..
C: .
S: 250…
"""
expect.message = [{ sender = "ann@example.org", recipients = ["bob@example.com"], headers = ["Subject: hello"], body = "a line\n.\n" }]
"#;
    let (said, code) = test(GREYLIST, scenario, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 case, each fresh, warm and shuffled"), "{said}");
}

#[test]
fn what_is_other_than_expected_is_told_with_its_story() {
    let scenario = r#"
[plugin]
grants.kv = true
[[case]]
name = "refused"
hook = "rcpt"
event = { sender = "a@b.example", recipient = "x@y.example" }
expect.verdict = "reject"
expect.kv = { nothing = "here" }
[[case]]
name = "deferred"
hook = "rcpt"
event = { sender = "a@b.example", recipient = "x@y.example" }
expect.verdict = "tempfail"
expect.reply = "451 4.7.1 greylisted…"
"#;
    let (said, code) = test(GREYLIST, scenario, &["--seed", "7"]);
    for part in [
        "FAILED",
        "refused\n  verdict: expected reject, got tempfail",
        "kv.nothing: expected \"here\", got None",
        "decided  on-rcpt: tempfail 451 4.7.1 greylisted",
        "failed: 1 of 2 cases (seed 7)",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(code, Some(1));
    let (said, code) = test(GREYLIST, scenario, &["--json", "--only", "refused"]);
    let report: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&report["cases"], &report["failed"], code), (&1.into(), &1.into(), Some(1)));
    let (said, code) = test(GREYLIST, scenario, &["--only", "no such case"]);
    assert!(said.contains("no case has such a name") && code == Some(2), "{said}");
}

#[test]
fn a_trap_and_an_endless_loop_are_named() {
    let scenario = |fault: &str, expect: &str| {
        format!(
            "[plugin]\nconfig = {{ at = \"smtp\", fault = \"{fault}\" }}\nbudgets.rcpt = {{ cpu = \"20ms\", wall = \"1s\" }}\n\
             [[case]]\nname = \"it goes wrong\"\nhook = \"rcpt\"\nevent = {{ recipient = \"x@y.example\" }}\nexpect.{expect}\n"
        )
    };
    let (said, code) = test(HOSTILE, &scenario("trap", "verdict = \"proceed\""), &["--only", "wrong"]);
    assert!(
        said.contains("the plugin failed: it trapped: wasm trap: wasm `unreachable` instruction executed"),
        "{said}"
    );
    assert!(said.contains("decided  on-rcpt: FAILED, it trapped"), "{said}");
    assert_eq!(code, Some(1));
    for (fault, failure) in [("trap", "trap"), ("spin", "timeout"), ("lie", "invalid")] {
        let (said, code) = test(HOSTILE, &scenario(fault, &format!("failure = \"{failure}\"")), &[]);
        assert_eq!(code, Some(0), "{fault}: {said}");
    }
}

#[test]
fn what_was_not_granted_is_named_with_the_line_that_would() {
    let without = "[[case]]\nname = \"a\"\nhook = \"rcpt\"\nevent = { recipient = \"x@y.example\" }\n";
    let (said, code) = test(GREYLIST, without, &[]);
    assert!(said.contains("kv") && said.contains("grants") && code == Some(2), "{said}");
}

#[test]
fn servers_are_made_up_and_their_faults_too() {
    let scenario = |fake: &str, expect: &str| {
        format!(
            "[plugin]\nconfig = {{ url = \"http://api.example:8080/a?b\" }}\ngrants.http = {{ allow = [\"http://api.example:8080\"] }}\n\
             [[fakes.http]]\nrequest = \"GET http://api.example:8080/a\"\n{fake}\n\
             [[case]]\nname = \"asks\"\nhook = \"rcpt\"\nevent = {{ recipient = \"fetch@y.example\" }}\n\
             expect.http = [\"GET http://api.example:8080/a?b\"]\nexpect.reply = \"{expect}\"\n"
        )
    };
    for (fake, expect) in [
        ("status = 200\nbody = \"hello\"", "550 5.7.1 200…"),
        ("status = 503", "550 5.7.1 503…"),
        ("fault = \"refused\"", "550 5.7.1 ErrorCode::ConnectionRefused…"),
        ("fault = \"timeout\"", "550 5.7.1 ErrorCode::ConnectionReadTimeout…"),
        ("fault = \"tls\"", "550 5.7.1 ErrorCode::TlsCertificateError…"),
    ] {
        let (said, code) = test(FETCHER, &scenario(fake, expect), &[]);
        assert_eq!(code, Some(0), "{fake}: {said}");
    }
    let other = scenario("status = 200", "…")
        .replace("GET http://api.example:8080/a\"\nst", "GET http://api.example:8080/b\"\nst");
    let (said, code) = test(FETCHER, &other, &[]);
    assert!(said.contains("nobody was made up for \"GET http://api.example:8080/a?b\"") && code == Some(1), "{said}");
}

#[test]
fn a_file_that_makes_no_sense_is_named() {
    for (scenario, part) in [
        ("", "there is no [[case]]"),
        ("[[case]]\nname = \"a\"\nhook = \"recpt\"\n", "there is no hook \"recpt\"; the hooks are connect, helo"),
        ("[[case]]\nname = \"a\"\nhook = \"rcpt\"\nexpect.verdit = \"x\"\n", "unknown field `verdit`"),
        (
            "[plugin]\nconfg = {}\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\n",
            "[plugin] confg: no such key; did you mean `config`?",
        ),
        ("[fakes.dns]\n\"a.example\" = [\"B 1\"]\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\n", "is no record"),
        ("[[case]]\nname = \"a\"\nhook = \"message\"\n", "does not export on-message"),
    ] {
        let granted = if scenario.contains("[plugin]") {
            scenario.to_owned()
        } else {
            format!("[plugin]\ngrants.kv = true\n{scenario}")
        };
        let (said, code) = test(GREYLIST, &granted, &[]);
        assert!(said.contains(part) && code != Some(0), "{part:?} in {said}");
    }
}

#[test]
fn calls_are_measured_and_held_against_a_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("s.toml");
    let asks = "[plugin]\ngrants.kv = true\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\nevent = { recipient = \"x@y.example\" }\n";
    fs::write(&scenario, asks).unwrap();
    let bench = |more: &[&str]| {
        kit(&[&["bench", GREYLIST, "--scenario", scenario.to_str().unwrap(), "--rounds", "5"], more].concat())
    };
    let measured = bench(&["--json"]);
    let json: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let hook = &json["hooks"][0];
    assert_eq!((hook["hook"].as_str(), hook["calls"].as_u64()), (Some("on-rcpt"), Some(5)));
    assert!(hook["fuel"].as_u64().unwrap() > 100 && hook["memory"].as_u64().unwrap() > 0, "{json}");
    let baseline = dir.path().join("baseline.json");
    fs::write(&baseline, &measured.stdout).unwrap();
    let same = bench(&["--baseline", baseline.to_str().unwrap()]);
    assert!(same.status.success(), "{}", text(&same.stderr));
    let fuel = hook["fuel"].as_u64().unwrap();
    let cheaper = text(&measured.stdout).replace(&format!("\"fuel\":{fuel}"), &format!("\"fuel\":{}", fuel / 2));
    fs::write(&baseline, cheaper).unwrap();
    let dearer = bench(&["--baseline", baseline.to_str().unwrap()]);
    assert_eq!(dearer.status.code(), Some(1));
    assert!(text(&dearer.stderr).contains("dearer than the baseline: on-rcpt: fuel"), "{}", text(&dearer.stderr));
}

#[test]
fn a_session_is_held_on_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("s.toml");
    fs::write(&scenario, "[plugin]\ngrants.kv = true\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\n").unwrap();
    let mut session = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .current_dir(root())
        .args(["plugin", "run", GREYLIST, "--client", "203.0.113.7", "--scenario", scenario.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = "EHLO a.example\nMAIL FROM:<a@b.example>\nRCPT TO:<x@y.example>\nRCPT TO:<x@elsewhere.invalid>\nQUIT\n";
    session.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = session.wait_with_output().unwrap();
    let said = text(&output.stdout);
    for part in
        ["S: 220 relay.example", "   decided on-rcpt: tempfail 451 4.7.1", "S: 451 4.7.1", "S: 550 5.7.1", "S: 221"]
    {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(output.status.success());
}

#[test]
fn versions_are_compared_by_what_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("s.toml");
    let said = "[plugin]\nconfig = { at = \"smtp\", fault = \"lie\" }\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\nevent = { recipient = \"x@y.example\" }\n";
    fs::write(&scenario, said).unwrap();
    let compare = |old: &str, new: &str| kit(&["diff", old, new, "--scenario", scenario.to_str().unwrap()]);
    let same = compare(HOSTILE, HOSTILE);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    let other = compare(HOSTILE, FETCHER);
    let shown = text(&other.stdout);
    for part in
        ["exports: -waypost:plugin/on-auth@0.1.0", "a, step 1", "- decided", "1 case: 0 decided the same, 1 otherwise"]
    {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    assert_eq!(other.status.code(), Some(1));
}
