//! What came of one call of a hook.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{Asked, wrong};
use crate::{AuthVerdict, MessageVerdict, Outcome, Reply, RoutingVerdict, SessionVerdict};

/// What a hook answered and did.
#[derive(Clone, Debug)]
pub struct Run<V> {
    /// The answer, or why the plugin failed.
    pub verdict: Outcome<V>,
    /// In order, in the words of scenario files: `prepend-header X-A: b`, `annotate key=value`. None if the hook failed.
    pub edits: Vec<String>,
    /// The new body, if it has replaced it.
    pub body: Option<Vec<u8>>,
    /// Lines of the log: `info words key=value`.
    pub log: Vec<String>,
    /// What was added to counters: `name`, or `name{label=value}`.
    pub counters: BTreeMap<String, u64>,
    /// What was observed, by histogram.
    pub observed: BTreeMap<String, Vec<f64>>,
    /// Requests over HTTP, in order.
    pub requests: Vec<Asked>,
}

/// A verdict that may carry a reply.
pub trait Spoken {
    /// Its reply.
    fn reply(&self) -> Option<&Reply>;
}

macro_rules! spoken {
    ($($verdict:ident: $($case:ident),*;)*) => {$(
        impl Spoken for $verdict {
            fn reply(&self) -> Option<&Reply> {
                match self {
                    $(Self::$case(reply))|* => Some(reply),
                    _ => None,
                }
            }
        }
    )*};
}

spoken! {
    SessionVerdict: Reject, Tempfail, Close;
    MessageVerdict: Reject, Tempfail;
    RoutingVerdict: Reject, Tempfail;
    AuthVerdict: Failure, Tempfail;
}

impl<V> Run<V> {
    /// The answer of a hook that did not fail.
    pub fn answer(&self) -> &V {
        self.verdict.as_ref().unwrap_or_else(|error| wrong(&format!("the plugin failed: {error}")))
    }

    /// True if some line of the log has these words.
    pub fn logged(&self, words: &str) -> bool {
        self.log.iter().any(|line| line.contains(words))
    }
}

impl<V: Spoken + Debug> Run<V> {
    /// The reply of a refusal, as `550 5.7.1 text`; the lines are joined by line breaks.
    pub fn refusal(&self) -> String {
        let answer = self.answer();
        let reply = answer.reply().unwrap_or_else(|| wrong(&format!("{answer:?} is no refusal")));
        let status = reply.status.map(|s| format!(" {}.{}.{}", s.kind, s.subject, s.detail)).unwrap_or_default();
        format!("{}{status} {}", reply.code, reply.lines.join("\n"))
    }
}
