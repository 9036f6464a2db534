//! Two versions' answers to one question: whether they differ, and what is kept of it for the operator.
//!
//! Compared is what each would have done: the verdict, or the failure policy's in place of a failed call, and the edits
//! in their normal form, bodies by digest. Of the verdict on a login only its word is kept.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::granted::Secrets;
use super::load::hex;
use crate::hooks::{CallError, Edit, FailurePolicy, Hook, Journal, Subject, Verdict, normal_form};
use crate::store::Content;
use crate::time::Timestamp;

/// Octets of a body read at a time.
const CHUNK: usize = 256 << 10;

/// Characters of one text that are kept, and elements of one list: enough to see what it is about, whatever a guest
/// writes.
const TEXT_MAX: usize = 200;
const LIST_MAX: usize = 32;

/// How two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// In the verdict, and perhaps in the edits.
    Verdict,
    /// In the edits.
    Edits,
    /// The candidate failed.
    Failed,
}

/// One question that a candidate answered otherwise than the version that serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// When the candidate had answered.
    pub at: String,
    /// At which hook.
    pub hook: &'static str,
    /// `verdict`, `edits`, or `failed`: the candidate's call failed.
    pub kind: &'static str,
    /// Of the connection.
    pub session: Option<String>,
    /// Of the transaction or the message.
    pub queue_id: Option<String>,
    /// The reverse-path.
    pub sender: Option<String>,
    /// The recipient in question at rcpt; else those of the transaction or the attempt.
    pub recipients: Vec<String>,
    /// What the version that serves said.
    pub live: Said,
    /// What the candidate said.
    pub candidate: Said,
}

/// One version's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// The verdict: the plugin's, or the policy's if it failed.
    pub verdict: Value,
    /// What the client is told of it.
    pub told: String,
    /// Edits, in their normal form.
    pub edits: Vec<Value>,
    /// Why the verdict is the policy's.
    pub failure: Option<String>,
}

/// One version's answer, ready to be compared.
pub(crate) struct Answered<V> {
    verdict: V,
    edits: Vec<Value>,
    failure: Option<CallError>,
}

impl<V: Verdict + PartialEq> Answered<V> {
    /// # Errors
    /// When a body can't be read.
    pub(crate) async fn of(
        hook: Hook,
        policy: FailurePolicy,
        outcome: Result<(V, Journal), CallError>,
    ) -> io::Result<Self> {
        match outcome {
            Ok((verdict, journal)) => Ok(Self { verdict, edits: described(&journal.edits).await?, failure: None }),
            Err(failure) => {
                let verdict = V::of_failure(hook, policy);
                Ok(Self { verdict, edits: Vec::new(), failure: Some(failure) })
            }
        }
    }

    /// How the candidate's answer differs from this one, if it does.
    pub(crate) fn differs(&self, candidate: &Self) -> Option<Kind> {
        match candidate {
            _ if candidate.failure.is_some() => Some(Kind::Failed),
            _ if candidate.verdict != self.verdict => Some(Kind::Verdict),
            _ if candidate.edits != self.edits => Some(Kind::Edits),
            _ => None,
        }
    }

    fn said(self, hook: Hook, secrets: &Secrets) -> Said {
        let verdict = match hook {
            // What a back end knows of somebody who logs in is not for a list of differences.
            Hook::Auth => Value::from(self.verdict.word()),
            // A verdict is texts and numbers, which JSON always has room for.
            _ => short(serde_json::to_value(&self.verdict).unwrap_or_default(), secrets),
        };
        let more = self.edits.len().saturating_sub(LIST_MAX);
        let mut edits: Vec<Value> = self.edits.into_iter().take(LIST_MAX).map(|edit| short(edit, secrets)).collect();
        if more > 0 {
            edits.push(Value::String(format!("… {more} more")));
        }
        Said {
            verdict,
            told: cut(&secrets.redact(&self.verdict.told())),
            edits,
            failure: self.failure.map(|failure| failure.to_string()),
        }
    }
}

impl Difference {
    pub(crate) fn new<V: Verdict + PartialEq>(
        at: Timestamp,
        hook: Hook,
        kind: Kind,
        subject: &Subject,
        secrets: &Secrets,
        (live, candidate): (Answered<V>, Answered<V>),
    ) -> Self {
        let delivery = subject.delivery.as_deref();
        let transaction = subject.transaction.as_deref();
        let sender = delivery.map(|d| &d.sender).or(transaction.map(|t| &t.sender));
        let recipients = match (&subject.candidate, delivery, transaction) {
            (Some(candidate), ..) => std::slice::from_ref(candidate),
            (None, Some(delivery), _) => &delivery.recipients,
            (None, None, Some(transaction)) => &transaction.recipients,
            (None, None, None) => &[],
        };
        Self {
            at: at.rfc3339(),
            hook: hook.interface(),
            kind: match kind {
                Kind::Verdict => "verdict",
                Kind::Edits => "edits",
                Kind::Failed => "failed",
            },
            session: subject.session.as_ref().map(|session| session.id.to_string()),
            queue_id: subject.queue_id().map(|id| id.to_string()),
            sender: sender.map(ToString::to_string),
            recipients: recipients.iter().take(LIST_MAX).map(|r| r.mailbox.to_string()).collect(),
            live: live.said(hook, secrets),
            candidate: candidate.said(hook, secrets),
        }
    }
}

/// Edits in their normal form. A body that was replaced has its digest instead of its octets.
async fn described(edits: &[Edit]) -> io::Result<Vec<Value>> {
    let mut described = Vec::with_capacity(edits.len());
    for edit in normal_form(edits) {
        described.push(match edit {
            Edit::ReplaceBody { body, .. } => {
                json!({"replace-body": {"octets": body.len(), "sha256": hex(&digest(body).await?)}})
            }
            other => other.describe(),
        });
    }
    Ok(described)
}

async fn digest(body: &Content) -> io::Result<[u8; 32]> {
    let (mut digest, mut at) = (Sha256::new(), 0);
    loop {
        let chunk = body.read_at(at, CHUNK).await?;
        if chunk.is_empty() {
            return Ok(digest.finalize().into());
        }
        digest.update(&chunk);
        at += chunk.len() as u64;
    }
}

/// The value with long texts and lists cut, and without secrets.
fn short(value: Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => Value::String(cut(&secrets.redact(&text))),
        Value::Array(elements) => {
            Value::Array(elements.into_iter().take(LIST_MAX).map(|element| short(element, secrets)).collect())
        }
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, short(value, secrets))).collect())
        }
        other => other,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => text.get(..at).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::hooks::{AuthVerdict, Identity, SessionVerdict};

    async fn answered(verdict: SessionVerdict, edits: Vec<Edit>) -> Answered<SessionVerdict> {
        let outcome = Ok((verdict, Journal { edits, made: None }));
        Answered::of(Hook::Rcpt, FailurePolicy::Tempfail, outcome).await.unwrap()
    }

    fn body(text: &str) -> Edit {
        Edit::ReplaceBody { body: Content::Memory(Bytes::copy_from_slice(text.as_bytes())), eight_bit: false }
    }

    #[tokio::test]
    async fn verdicts_come_before_edits_and_bodies_are_compared_by_what_they_hold() {
        use SessionVerdict::{Accept, Proceed};
        let tag = || Edit::Tag("t".into());
        let table = [
            ((Proceed, vec![]), (Proceed, vec![]), None),
            ((Proceed, vec![]), (Accept, vec![]), Some(Kind::Verdict)),
            ((Proceed, vec![tag()]), (Accept, vec![]), Some(Kind::Verdict)),
            ((Proceed, vec![tag()]), (Proceed, vec![]), Some(Kind::Edits)),
            ((Proceed, vec![tag(), body("x")]), (Proceed, vec![body("x"), tag()]), None),
            ((Proceed, vec![body("x")]), (Proceed, vec![body("y")]), Some(Kind::Edits)),
        ];
        for (row, (live, candidate, kind)) in table.into_iter().enumerate() {
            let live = answered(live.0, live.1).await;
            assert_eq!(live.differs(&answered(candidate.0, candidate.1).await), kind, "row {row}");
        }
    }

    #[tokio::test]
    async fn a_failure_of_either_is_what_the_policy_makes_of_it() {
        let trap = || Err(CallError::Trap("unreachable".into()));
        let failed = |policy| Answered::<SessionVerdict>::of(Hook::Rcpt, policy, trap());
        let (skipped, refused) =
            (failed(FailurePolicy::Skip).await.unwrap(), failed(FailurePolicy::Reject).await.unwrap());
        let proceeds = answered(SessionVerdict::Proceed, vec![]).await;
        assert_eq!(skipped.differs(&proceeds), None, "nothing else was done");
        assert_eq!(refused.differs(&proceeds), Some(Kind::Verdict));
        assert_eq!(proceeds.differs(&skipped), Some(Kind::Failed));
        assert_eq!(refused.said(Hook::Rcpt, &Secrets::default()).failure.as_deref(), Some("trapped: unreachable"));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_no_secret() {
        let long = Edit::Note { key: "k".into(), value: "é".repeat(10_000).into() };
        let said = answered(SessionVerdict::Proceed, vec![long]).await.said(Hook::Rcpt, &Secrets::default());
        assert!(said.edits[0].to_string().chars().count() < 2 * TEXT_MAX, "{:?}", said.edits);
        let tags = (0..100).map(|n| Edit::Tag(format!("t{n:03}").into())).collect();
        let said = answered(SessionVerdict::Proceed, tags).await.said(Hook::Rcpt, &Secrets::default());
        assert_eq!((said.edits.len(), said.edits[LIST_MAX].as_str()), (LIST_MAX + 1, Some("… 68 more")));
        let who = Identity {
            mechanism: "PLAIN".into(),
            name: "ann".into(),
            acts_as: None,
            attributes: vec![("token".into(), "s3cret".into())],
        };
        let outcome = Ok((AuthVerdict::Success(who), Journal::default()));
        let said = Answered::of(Hook::Auth, FailurePolicy::Tempfail, outcome)
            .await
            .unwrap()
            .said(Hook::Auth, &Secrets::default());
        assert_eq!(said.verdict, "success");
    }
}
