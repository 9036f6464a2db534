//! What a plugin said, as scenarios and terminals write it. Pure.

use serde_json::Value;

use crate::hooks::{CallError, Cost, Decision, Edit, Hook, Subject};
use crate::mail::HeaderEdit;
use crate::plugin::Rehearsed;

/// One answer of the plugin.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub hook: Hook,
    /// In one word: the plugin's, or the policy's if it failed.
    pub word: String,
    /// What the client is told.
    pub told: String,
    pub verdict: Value,
    pub edits: Vec<String>,
    pub failure: Option<Failure>,
    pub cost: Cost,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub kind: &'static str,
    pub text: String,
}

impl Failure {
    fn of(error: &CallError) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }

    /// In one word, as scenarios have it.
    pub(crate) fn short(&self) -> &'static str {
        match self.kind {
            "cpu" | "wall" => "timeout",
            "guest" => "error",
            other => other,
        }
    }

    /// Kind or part of the text.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        wanted == self.short() || wanted == self.kind || self.text.contains(wanted)
    }
}

impl Decided {
    /// Of a chain's decision; what its header edits were about is no longer known.
    pub(crate) fn of(decision: &Decision<'_>) -> Self {
        let mut verdict = Vec::new();
        (decision.verdict)(&mut verdict);
        Self {
            hook: decision.hook,
            word: decision.word.to_owned(),
            told: (decision.told)(),
            verdict: serde_json::from_slice(&verdict).unwrap_or_default(),
            edits: decision.edits.iter().map(|edit| edit_text(edit, None)).collect(),
            failure: decision.failure.map(Failure::of),
            cost: decision.cost,
        }
    }

    /// Of a hook asked directly about these facts.
    pub(crate) fn of_rehearsal(hook: Hook, rehearsed: Rehearsed, subject: &Subject) -> Self {
        let Rehearsed { outcome, cost } = rehearsed;
        match outcome {
            Ok(said) => Self {
                hook,
                word: said.word.to_owned(),
                told: said.told,
                verdict: said.verdict,
                edits: said.edits.iter().map(|edit| edit_text(edit, Some(subject))).collect(),
                failure: None,
                cost,
            },
            Err(error) => Self {
                hook,
                word: "failed".to_owned(),
                told: String::new(),
                verdict: Value::Null,
                edits: Vec::new(),
                failure: Some(Failure::of(&error)),
                cost,
            },
        }
    }

    /// `on-rcpt: reject 550 5.7.1 no`.
    pub(crate) fn line(&self) -> String {
        let hook = self.hook.interface();
        let mut text = match &self.failure {
            Some(failure) => format!("{hook}: FAILED, it {}", failure.text),
            None if matches!(self.word.as_str(), "reject" | "tempfail" | "close" | "failure") => {
                format!("{hook}: {} {}", self.word, self.told)
            }
            None if matches!(self.word.as_str(), "proceed" | "accept") => format!("{hook}: {}", self.word),
            None => format!("{hook}: {}", self.verdict),
        };
        for edit in &self.edits {
            text.push_str("; ");
            text.push_str(edit);
        }
        text
    }
}

/// `prepend-header X-A: b`, `add-recipient a@b` …
fn edit_text(edit: &Edit, subject: Option<&Subject>) -> String {
    let recipient = |index: u32| {
        let candidate = subject.and_then(|s| s.candidate.as_ref()).filter(|c| c.index == index);
        let known = candidate.or_else(|| subject?.transaction.as_ref()?.recipient(index));
        known.map_or_else(|| format!("#{index}"), |known| known.mailbox.to_string())
    };
    match edit {
        Edit::Note { key, value } => format!("note {key}={value}"),
        Edit::Withhold(extension) => format!("withhold-extension {}", extension.keyword()),
        Edit::Annotate { key, value: Some(value) } => format!("annotate {key}={value}"),
        Edit::Annotate { key, value: None } => format!("remove-annotation {key}"),
        Edit::Tag(tag) => format!("tag {tag}"),
        Edit::SetSender(sender) => match &sender.0 {
            Some(mailbox) => format!("set-sender {mailbox}"),
            None => "set-sender <>".to_owned(),
        },
        Edit::AddRecipient { mailbox, .. } => format!("add-recipient {mailbox}"),
        Edit::RemoveRecipient { index } => format!("remove-recipient {}", recipient(*index)),
        Edit::RewriteRecipient { index, mailbox } => format!("rewrite-recipient {} {mailbox}", recipient(*index)),
        Edit::Header(edit) => header_text(edit, subject),
        Edit::ReplaceBody { .. } => "replace-body".to_owned(),
        Edit::PrependForAttempt { name, value } => format!("prepend-header {name}: {value}"),
    }
}

fn header_text(edit: &HeaderEdit, subject: Option<&Subject>) -> String {
    let field = |index: u32| {
        let message = subject.and_then(|s| s.message.as_ref());
        let field = message.and_then(|m| m.header.field(index));
        field.map_or_else(|| format!("#{index}"), |field| field.name.to_owned())
    };
    match edit {
        HeaderEdit::Prepend { name, value } => format!("prepend-header {name}: {value}"),
        HeaderEdit::Append { name, value } => format!("append-header {name}: {value}"),
        HeaderEdit::Replace { index, value } => format!("replace-header {}: {value}", field(*index)),
        HeaderEdit::Remove { index } => format!("remove-header {}", field(*index)),
    }
}
