//! A recorded call as it is written down: the question with all its facts, the tape, and what came of it.
//!
//! The form is documented in docs/recordings.md and has a number: whoever changes it counts that up. Timestamps are
//! microseconds, queue ids texts, octets texts where they are UTF-8 and base64 where not.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::calls::Shared;
use super::super::edits::Written;
use super::super::grants::Linking;
use super::super::load::{Linked, hex};
use super::super::tape::{Note, Setting};
use super::super::{Budget, Limits};
use crate::hooks::{
    CallError, DeliveryFacts, Edit, Hook, Journal, MessageFacts, SessionFacts, Subject, TransactionFacts,
};
use crate::mail::{Header, Recipient};
use crate::store::Content;
use crate::time::Timestamp;

/// Octets of a body in a recording.
const BODY_MAX: u64 = 1 << 20;

/// Octets of a body read at a time.
const CHUNK: usize = 256 << 10;

/// The plugin as it was; said again where it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PluginFacts {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// Of the component, in hex.
    pub digest: String,
    pub config: Value,
    pub linking: Linking,
    pub memory: usize,
    pub limits: Limits,
    pub budgets: Vec<(Hook, Budget)>,
    pub message_max: u64,
}

impl PluginFacts {
    pub(crate) fn of(shared: &Shared, linked: &Linked) -> Self {
        Self {
            name: shared.name.clone(),
            version: shared.version.clone(),
            digest: hex(&linked.compiled.digest),
            config: shared.config.clone(),
            linking: linked.linking,
            memory: shared.memory,
            limits: shared.limits,
            budgets: Hook::ALL.map(|hook| (hook, shared.budget(hook))).into(),
            message_max: shared.message_max,
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Call {
    pub hook: Hook,
    /// What the hook was asked with, as the plugin saw it.
    pub question: Value,
    /// Session, transaction and so on: see [`subject_form`].
    pub subject: Value,
    pub setting: Setting,
    pub tape: Vec<Note>,
    /// For people: no part of what is compared.
    pub log: Vec<String>,
    pub result: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The verdict, and every edit in order.
    Answered { verdict: Value, journal: Vec<Value> },
    /// Why there is none.
    Failed { kind: String, detail: String },
}

#[derive(Serialize, Deserialize)]
struct SubjectForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Arc<SessionFacts>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction: Option<Arc<TransactionFacts>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<Recipient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<Arc<DeliveryFacts>>,
    /// The relay's own rule would refuse the candidate.
    #[serde(default)]
    unauthorized: bool,
}

#[derive(Serialize, Deserialize)]
struct MessageForm {
    received_at: Timestamp,
    header: Octets,
    separator: bool,
    body: Octets,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Octets {
    Text(String),
    Base64(String),
}

impl Octets {
    fn of(octets: &[u8]) -> Self {
        match std::str::from_utf8(octets) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(octets)),
        }
    }

    fn octets(self) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Base64(text) => STANDARD.decode(text).map(Bytes::from).map_err(|e| format!("no base64: {e}")),
        }
    }
}

/// The facts of a call as JSON; none if its body is too large to be kept.
pub(super) async fn subject_form(subject: &Subject) -> io::Result<Option<Value>> {
    let message = match &subject.message {
        Some(message) if message.body.len() > BODY_MAX => return Ok(None),
        Some(message) => Some(MessageForm {
            received_at: message.received_at,
            header: Octets::of(message.header.block()),
            separator: message.separator,
            body: Octets::of(&whole(&message.body).await?.0),
        }),
        None => None,
    };
    let Subject { session, transaction, candidate, delivery, unauthorized, .. } = subject.clone();
    let form = SubjectForm { session, transaction, candidate, message, delivery, unauthorized };
    serde_json::to_value(form).map(Some).map_err(io::Error::other)
}

/// And back.
pub(super) fn subject_of(form: Value) -> Result<Subject, String> {
    let form: SubjectForm = serde_json::from_value(form).map_err(|e| e.to_string())?;
    let message = |form: MessageForm| {
        Ok::<_, String>(Arc::new(MessageFacts {
            received_at: form.received_at,
            header: Header::parse(form.header.octets()?),
            separator: form.separator,
            body: Content::Memory(form.body.octets()?),
        }))
    };
    let SubjectForm { session, transaction, candidate, delivery, unauthorized, .. } = form;
    let message = form.message.map(message).transpose()?;
    Ok(Subject { session, transaction, candidate, message, delivery, unauthorized })
}

impl Outcome {
    /// Of a call.
    pub(super) async fn of<V: Serialize>(outcome: &Result<(V, Journal), CallError>) -> io::Result<Self> {
        match outcome {
            Ok((verdict, journal)) => {
                let mut edits = Vec::with_capacity(journal.edits.len());
                for edit in &journal.edits {
                    edits.push(edit_form(edit).await?);
                }
                let verdict = serde_json::to_value(verdict).map_err(io::Error::other)?;
                Ok(Self::Answered { verdict, journal: edits })
            }
            Err(error) => Ok(Self::Failed { kind: error.kind().to_owned(), detail: error.to_string() }),
        }
    }
}

/// An edit in full; of a body too large to be kept, its digest.
async fn edit_form(edit: &Edit) -> io::Result<Value> {
    let mut form = serde_json::to_value(Written { edit, most: usize::MAX }).map_err(io::Error::other)?;
    if let (Edit::ReplaceBody { body, .. }, Some(form)) = (edit, form.as_object_mut()) {
        let (octets, digest) = whole(body).await?;
        form.insert("sha256".to_owned(), digest.into());
        if body.len() <= BODY_MAX {
            form.insert("body".to_owned(), json!(Octets::of(&octets)));
        }
    }
    Ok(form)
}

/// The first mebibyte of a body, and the digest of all of it.
async fn whole(body: &Content) -> io::Result<(Vec<u8>, String)> {
    let (mut octets, mut hasher, mut at) = (Vec::new(), Sha256::new(), 0);
    while at < body.len() {
        let part = body.read_at(at, CHUNK).await?;
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if at < BODY_MAX {
            octets.extend_from_slice(&part);
        }
        hasher.update(&part);
        at += part.len() as u64;
    }
    Ok((octets, hex(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::subject;

    fn replaced(body: Content) -> Edit {
        Edit::ReplaceBody { body, eight_bit: false }
    }

    #[tokio::test]
    async fn facts_come_back_as_they_were() {
        let message = MessageFacts {
            received_at: Timestamp::from_micros(1_795_473_060_123_457),
            header: Header::parse(Bytes::from_static(b"Subject: \xff\r\n")),
            separator: true,
            body: Content::Memory(Bytes::from_static(b"body\r\n")),
        };
        let before = Subject { message: Some(Arc::new(message)), ..subject() };
        let form = subject_form(&before).await.unwrap().unwrap();
        assert_eq!(form["transaction"]["id"], before.transaction.as_ref().unwrap().id.to_string());
        assert_eq!(form["message"]["body"], json!({"text": "body\r\n"}));
        assert_eq!(form["message"]["header"], json!({"base64": "U3ViamVjdDog/w0K"}));
        let mut after = subject_of(form).unwrap();
        // What plugins were told of the sender's authentication is on the tape.
        let authentication = before.transaction.as_ref().unwrap().authentication.clone();
        Arc::make_mut(after.transaction.as_mut().unwrap()).authentication = authentication;
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
    }

    #[tokio::test]
    async fn a_large_body_is_not_kept_and_a_large_new_one_is_its_digest() {
        let body = Content::Memory(vec![b'x'; (1 << 20) + 1].into());
        let message = MessageFacts {
            received_at: Timestamp::default(),
            header: Header::default(),
            separator: true,
            body: body.clone(),
        };
        let large = Subject { message: Some(Arc::new(message)), ..subject() };
        assert!(subject_form(&large).await.unwrap().is_none());
        let form = edit_form(&replaced(body)).await.unwrap();
        assert_eq!((form["octets"].as_u64(), form.get("body")), (Some((1 << 20) + 1), None));
        let small = edit_form(&replaced(Content::Memory("a\0".into()))).await.unwrap();
        assert_eq!((small["sha256"].as_str().map(str::len), &small["body"]), (Some(64), &json!({"text": "a\0"})));
    }

    #[test]
    fn nonsense_is_refused() {
        for form in [
            json!({"transaction": {"id": "short"}}),
            json!({"message": {"received_at": 0, "header": {"base64": "*"}, "separator": true, "body": {"text": ""}}}),
            json!("text"),
        ] {
            assert!(subject_of(form).is_err());
        }
    }
}
