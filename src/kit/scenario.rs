//! Scenario files as they are written, read strictly: a key that is not known is a mistake. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Verdicts of all hooks, in a word.
const VERDICTS: [&str; 19] = [
    "proceed",
    "accept",
    "reject",
    "tempfail",
    "close",
    "discard",
    "quarantine",
    "success",
    "failure",
    "assign",
    "hold-seconds",
    "reroute",
    "fail",
    "retry-after-seconds",
    "bounce",
    "forget",
    "edit",
    "suppress",
    "failed",
];

/// One file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct File {
    /// The keys of `[plugins.NAME]`, for all cases.
    pub plugin: toml::Table,
    /// Laid over the configuration of the relay around it.
    pub configuration: toml::Table,
    /// For all cases.
    pub fakes: Fakes,
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// What stands for the world.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Fakes {
    /// Records by name: `A 192.0.2.1`.
    pub dns: BTreeMap<String, Vec<String>>,
    /// Servers, by request; the first that fits answers.
    pub http: Vec<Http>,
    /// The plugin's own bucket when a case begins.
    pub kv: BTreeMap<String, String>,
    /// Shared buckets when a case begins.
    pub shared_kv: BTreeMap<String, BTreeMap<String, String>>,
    pub secrets: BTreeMap<String, String>,
    /// The relay's own: name and password.
    pub accounts: BTreeMap<String, String>,
}

/// A server's answer to a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Http {
    /// `POST http://host:port/path`.
    pub request: String,
    #[serde(default)]
    pub request_body_contains: Vec<String>,
    #[serde(default)]
    pub request_headers: Vec<String>,
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: Vec<String>,
    #[serde(default)]
    pub body: String,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    Refused,
    Timeout,
    Dns,
    Tls,
}

/// One case: its steps, or a single one written out in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Case {
    pub name: String,
    /// RFC 3339.
    pub clock: Option<String>,
    #[serde(default)]
    pub client: Client,
    /// Laid over the file's.
    #[serde(default)]
    pub plugin: toml::Table,
    /// Laid over the file's.
    #[serde(default)]
    pub fakes: Fakes,
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    pub smtp: Option<String>,
    pub hook: Option<String>,
    pub event: Option<Event>,
    pub expect: Option<Expect>,
}

/// Who connects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Client {
    /// An IP address.
    pub address: Option<String>,
    /// Forward-confirmed reverse name.
    pub name: Option<String>,
    pub helo: Option<String>,
    /// It may relay anywhere.
    pub relay: bool,
    /// Authenticated as.
    pub identity: Option<String>,
    pub tls: bool,
    /// Name of the listener.
    pub listener: Option<String>,
}

/// One thing that happens, and what is expected of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Step {
    /// A dialogue.
    pub smtp: Option<String>,
    /// A hook asked directly …
    pub hook: Option<String>,
    /// … about this.
    pub event: Option<Event>,
    /// Time that passes: `10m`.
    pub advance: Option<String>,
    /// Laid over what holds, from here on.
    pub fakes: Option<Fakes>,
    pub expect: Option<Expect>,
}

/// What a hook is asked about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Event {
    /// Reverse-path; empty: the null sender.
    pub sender: Option<String>,
    pub recipients: Vec<String>,
    /// Rcpt: the candidate.
    pub recipient: Option<String>,
    /// The plugin's own.
    pub annotations: BTreeMap<String, String>,
    /// The plugin's own.
    pub notes: BTreeMap<String, String>,
    pub auth: Option<Auth>,
    /// Header section and body.
    pub message: Option<String>,
    /// `arrival` or `queue`.
    pub phase: Option<String>,
    /// Attempts made before.
    pub attempt: u32,
    pub queued_for: Option<String>,
    pub expires_in: Option<String>,
    /// `smtp:host:port`, `lmtp:host:port`, `mx:domain`, `destination:name`.
    pub hop: Option<String>,
    /// Octets.
    pub size: Option<u64>,
    pub previous: Vec<Outcome>,
    pub outcomes: Vec<Outcome>,
    pub failed: Vec<Outcome>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Auth {
    #[serde(default)]
    pub mechanism: Option<String>,
    pub name: String,
    #[serde(default)]
    pub acts_as: Option<String>,
    #[serde(default)]
    pub secret: String,
}

/// What became of a recipient.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Outcome {
    pub recipient: String,
    pub kind: crate::hooks::OutcomeKind,
    pub stage: Option<crate::hooks::Stage>,
    /// `451 4.7.1 text`.
    pub reply: Option<String>,
    /// Host name of the next hop.
    pub remote: Option<String>,
    pub error: Option<String>,
}

/// What is expected; what is not said is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Expect {
    pub verdict: Option<String>,
    pub reply: Option<String>,
    /// A part of the verdict, in the relay's own form.
    pub answer: Option<Value>,
    /// The plugin failed so.
    pub failure: Option<String>,
    pub edits: Option<Vec<String>>,
    pub log: Vec<String>,
    pub no_log: Vec<String>,
    pub kv: BTreeMap<String, Entry>,
    pub shared_kv: BTreeMap<String, BTreeMap<String, Entry>>,
    pub http: Option<Vec<String>>,
    pub metrics: BTreeMap<String, u64>,
    /// How many were taken.
    pub messages: Option<usize>,
    /// Each that was taken, in order.
    #[serde(rename = "message")]
    pub taken: Option<Vec<Message>>,
}

/// A value, or `false` for none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    Absent(bool),
    Value(String),
}

/// A message that was taken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Message {
    pub sender: Option<String>,
    pub recipients: Option<Vec<String>>,
    pub headers: Vec<String>,
    pub no_headers: Vec<String>,
    pub body: Option<String>,
    pub body_contains: Vec<String>,
    /// Part of the reason; empty: it is not held.
    pub held: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub tags: Option<Vec<String>>,
    /// Hops of the first recipient's route.
    pub route: Option<Vec<String>>,
}

impl Fakes {
    /// Later ones win; of servers those that are nearer are asked first.
    pub(crate) fn lay(&mut self, over: &Self) {
        self.dns.extend(over.dns.clone());
        self.http = over.http.iter().chain(&self.http).cloned().collect();
        self.kv.extend(over.kv.clone());
        for (name, entries) in &over.shared_kv {
            self.shared_kv.entry(name.clone()).or_default().extend(entries.clone());
        }
        self.secrets.extend(over.secrets.clone());
        self.accounts.extend(over.accounts.clone());
    }
}

impl Case {
    /// The steps, a single one included. Says what makes no sense.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, String> {
        let own = Step {
            smtp: self.smtp.clone(),
            hook: self.hook.clone(),
            event: self.event.clone(),
            expect: self.expect.clone(),
            ..Step::default()
        };
        let has_own = own.smtp.is_some() || own.hook.is_some() || own.event.is_some();
        let steps = match (self.steps.is_empty(), has_own) {
            (true, true) => vec![own],
            (false, false) if own.expect.is_none() => self.steps.clone(),
            (false, false) => return Err("`expect` beside [[case.step]]: write it into the step it is about".into()),
            (false, true) => return Err("it has [[case.step]] and a step of its own: write one or the other".into()),
            (true, false) => return Err("nothing happens in it: write `smtp`, `hook` or [[case.step]]".into()),
        };
        for step in &steps {
            if let Some(word) = step.expect.as_ref().and_then(|expect| expect.verdict.as_deref())
                && !VERDICTS.contains(&word)
            {
                return Err(format!("expect.verdict: {word:?} is no verdict; they are {}", VERDICTS.join(", ")));
            }
            if step.event.is_some() && step.hook.is_none() {
                return Err("`event` without `hook`: which hook is asked?".into());
            }
            let kinds = [step.smtp.is_some(), step.hook.is_some(), step.advance.is_some(), step.fakes.is_some()];
            match kinds.into_iter().filter(|is| *is).count() {
                0 => return Err("a step is one of `smtp`, `hook`, `advance` and `fakes`".into()),
                1 => {}
                _ => return Err("a step does one thing: `smtp`, `hook`, `advance` or `fakes`".into()),
            }
        }
        Ok(steps)
    }
}

/// Reads a file. The error has line and column.
pub(crate) fn read(text: &str) -> Result<File, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut names = std::collections::BTreeSet::new();
    for case in &file.cases {
        if !names.insert(&case.name) {
            return Err(format!("two cases are called {:?}: their reports could not be told apart", case.name));
        }
        case.steps().map_err(|why| format!("case {:?}: {why}", case.name))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_one_step_or_several() {
        let one = read("[[case]]\nname = \"a\"\nhook = \"rcpt\"\nexpect.verdict = \"proceed\"\n").unwrap();
        assert_eq!(one.cases[0].steps().unwrap().len(), 1);
        let two = "[[case]]\nname = \"a\"\n[[case.step]]\nadvance = \"1s\"\n[[case.step]]\nhook = \"connect\"\n";
        assert_eq!(read(two).unwrap().cases[0].steps().unwrap().len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, part) in [
            ("[[case]]\nname = \"a\"\n", "nothing happens"),
            ("[[case]]\nname = \"a\"\nhok = \"rcpt\"\n", "hok"),
            ("[[case]]\nname = \"a\"\nevent = {}\n", "which hook"),
            ("[[case]]\nname = \"a\"\nhook = \"rcpt\"\nsmtp = \"\"\n", "one thing"),
            ("[[case]]\nname = \"a\"\nhook = \"rcpt\"\n[[case.step]]\nadvance = \"1s\"\n", "one or the other"),
            ("[[case]]\nname = \"a\"\nhook = \"rcpt\"\n[[case]]\nname = \"a\"\nhook = \"rcpt\"\n", "two cases"),
            ("[[case]]\nname = \"a\"\nexpect.log = [\"x\"]\n[[case.step]]\nadvance = \"1s\"\n", "into the step"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(part), "{said:?} for {text:?}");
        }
    }
}
