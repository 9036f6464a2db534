//! Every command there is: it prints JSON where that is asked for, has a page of the manual and a line in
//! `docs/commands.md`, and ends with the statuses that are written there.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Command as Shape, CommandFactory as _, Parser as _};
use serde_json::Value;

use super::super::manual;
use super::*;

/// How a command is tried.
enum Way {
    /// Against a relay that answers from a list: with these words behind it.
    Relay(&'static str),
    /// Without a relay, in a folder of its own; `DIR` is that, `REPO` the repository.
    Alone(&'static str),
    /// It prints no JSON, or not of its own, because …
    No(&'static str),
}

use Way::{Alone, No, Relay};

const ID: &str = "0000000000001";

const WAYS: [(&str, Way); 59] = [
    ("run", No("it is the relay; its log has `log.format`")),
    ("check", Alone("--offline")),
    ("config default", Alone("")),
    ("config schema", Alone("")),
    ("config show", Alone("")),
    ("reload", Relay("")),
    ("status", Relay("")),
    ("top", Relay("--once")),
    ("trace", No("one object for each event: tested with it")),
    ("queue list", Relay("")),
    ("queue count", Relay("")),
    ("queue summary", Relay("")),
    ("queue show", No("a message in full: tested with it")),
    ("queue cat", No("the message itself")),
    ("queue retry", Relay(ID)),
    ("queue reschedule", Relay("0000000000001 --in 5m")),
    ("queue reroute", Relay("0000000000001")),
    ("queue hold", Relay(ID)),
    ("queue release", Relay(ID)),
    ("queue bounce", Relay(ID)),
    ("queue drop", Relay(ID)),
    ("queue suspend", Relay("domain = x.test --reason down")),
    ("queue resume", No("needs a rule: tested with it")),
    ("queue suspensions", Relay("")),
    ("suppress add", Relay("ann@x.test")),
    ("suppress remove", Relay("ann@x.test")),
    ("suppress list", Relay("")),
    ("suppress check", No("its status is the answer: tested with it")),
    ("history", Relay("")),
    ("ban list", Relay("")),
    ("ban add", Relay("192.0.2.1")),
    ("ban remove", No("needs a ban: tested with it")),
    ("plugin list", Relay("")),
    ("plugin metrics", Relay("")),
    ("plugin trial", Relay("greylist")),
    ("plugin record", Relay("greylist")),
    ("plugin replay", No("needs a recording: tested with it")),
    ("plugin new", Alone("abc --into DIR")),
    ("plugin build", No("needs a compiler: tested by scripts")),
    ("plugin check", No("needs a project: tested by scripts")),
    ("plugin inspect", No("compiles in a process of its own: tested with it")),
    ("plugin test", No("runs plugins: tested with it")),
    ("plugin bench", No("runs plugins: tested with it")),
    ("plugin run", No("a dialogue on the terminal")),
    ("plugin diff", No("runs plugins: tested with it")),
    ("plugin status", Relay("")),
    ("plugin generations", Relay("")),
    ("plugin rollback", Relay("2")),
    ("plugin promote", Relay("greylist")),
    ("plugin drop-candidate", Relay("greylist")),
    ("plugin try", Relay("greylist REPO/Cargo.toml --shadow")),
    ("plugin audit", Relay("")),
    ("plugin keygen", Alone("DIR/key")),
    ("plugin sign", Alone("--key DIR/key DIR/x.wasm")),
    ("plugin verify", No("needs the public key: tested with it")),
    ("dkim keygen", Alone("DIR/dkim.pem")),
    ("dkim record", Alone("DIR/dkim.pem")),
    ("why", Relay("")),
    ("destinations", Relay("")),
];

/// Those that did not fit above.
const MORE: [(&str, Way); 12] = [
    ("dkim check", No("asks the DNS: tested with it")),
    ("dkim sign", No("the message itself")),
    ("explain", Relay("x.test")),
    ("sts", No("asks a relay that fetches: tested with it")),
    ("completions", Alone("bash")),
    ("token", Alone("ann --role read")),
    ("man", Alone("DIR/man")),
    ("backup", Relay("DIR/backup")),
    ("restore", Relay("DIR/backup")),
    ("migrate", No("changes the store of a relay that is down: tested with it")),
    ("sendmail", No("speaks as `sendmail` does: tested with it")),
    ("password", No("reads a password: tested with it")),
];

fn leaves(command: &Shape, above: &str, found: &mut Vec<String>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        let name = format!("{above} {}", below.get_name()).trim().to_owned();
        if below.has_subcommands() { leaves(below, &name, found) } else { found.push(name) }
    }
}

fn commands() -> BTreeSet<String> {
    let (mut found, mut command) = (Vec::new(), Cli::command());
    command.build();
    leaves(&command, "", &mut found);
    found.into_iter().collect()
}

fn ways() -> BTreeMap<&'static str, Way> {
    WAYS.into_iter().chain(MORE).collect()
}

/// Each line is an object, or all of it is one value.
fn is_json(text: &str) -> bool {
    let whole = serde_json::from_str::<Value>(text).is_ok();
    whole || !text.trim().is_empty() && text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok())
}

#[test]
fn every_command_prints_json_or_says_why_not() {
    let ways = ways();
    let known: BTreeSet<String> = ways.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(commands(), known, "say here how a new command is tried, and in docs/commands.md what it does");
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    std::fs::write(dir.path().join("waypost.toml"), "hostname = 'relay.example.org'\n").unwrap();
    std::fs::write(dir.path().join("x.wasm"), "x").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // In the order of the table, since one makes what another needs.
    for (name, way) in WAYS.into_iter().chain(MORE) {
        let words = |words: &str| {
            let words = words.replace("DIR", folder).replace("REPO", env!("CARGO_MANIFEST_DIR"));
            let all = name.split(' ').chain(words.split(' ').filter(|word| !word.is_empty())).map(ToOwned::to_owned);
            all.chain(["--json".to_owned()]).collect::<Vec<_>>()
        };
        let (printed, failure) = match way {
            Relay(rest) => {
                let words = words(rest);
                runtime.block_on(run(1, &words.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            Alone(rest) => {
                let config = format!("{folder}/waypost.toml");
                let whole = ["waypost".to_owned(), "--config".to_owned(), config].into_iter().chain(words(rest));
                let mut out = Vec::new();
                let done = perform(Cli::try_parse_from(whole).unwrap(), &mut out);
                (String::from_utf8(out).unwrap(), done.err())
            }
            No(why) => {
                assert!(!why.is_empty());
                continue;
            }
        };
        assert!(failure.is_none(), "{name}: {failure:?}");
        assert!(is_json(&printed), "{name} prints no JSON: {printed}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let pages = manual::pages().unwrap();
    let names: BTreeSet<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for command in commands() {
        let name = format!("waypost-{}.1", command.replace(' ', "-"));
        assert!(names.contains(name.as_str()), "{name}");
    }
    let whole =
        pages.iter().find(|(name, _)| name == "waypost.1").map(|(_, text)| String::from_utf8_lossy(text)).unwrap();
    assert!(whole.contains("Exit status: 0 done") && !whole.contains("compile\\-component"), "{whole}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let mut out = Vec::new();
        perform(Cli::try_parse_from(["waypost", "completions", shell]).unwrap(), &mut out).unwrap();
        let script = String::from_utf8(out).unwrap();
        for command in ["drop-candidate", "suspensions", "completions", "--allow-weaken", "--json"] {
            let word = command.trim_start_matches('-');
            assert!(script.contains(word), "{shell}: {command}");
        }
    }
}

#[test]
fn the_page_has_every_command_and_every_status() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    for command in commands() {
        assert!(page.contains(&format!("`waypost {command}")), "docs/commands.md does not have `waypost {command}`");
    }
    let rows: BTreeMap<u8, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .filter_map(|(status, rest)| Some((status.parse().ok()?, rest)))
        .collect();
    let failures = [
        Failure::refused("x"),
        Failure::Output(io::Error::other("x")),
        Failure::Unusable("x".into()),
        Failure::NotReachable("x".into()),
    ];
    let statuses: BTreeSet<u8> = failures.iter().map(Failure::code).chain([0]).collect();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), statuses, "statuses of docs/commands.md");
}
