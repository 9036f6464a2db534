//! Mail handed in over HTTP: a raw message, or its parts in JSON; taken as an SMTP client's is, and answered after the flush.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::caller::{Caller, Origin};
use super::compose::Parts;
use super::idempotency::{Claim, Known};
use super::input::Input;
use super::problem::Problem;
use super::{Api, Log};
use crate::admin::token::chance;
use crate::mail::Mailbox;
use crate::queue::{Injected, Injection};
use crate::store::StoreError;
use crate::time::{Clock as _, System, Timestamp};

/// Names a request, so that it is done once.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Of a message: more than any listener takes.
const RECIPIENTS: usize = 10_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvelopeQuery {
    /// The reverse-path of a raw message; empty: the null one.
    from: Option<String>,
    /// The recipients of a raw message, with commas between them.
    to: Option<String>,
}

/// It is in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TakenForm {
    /// Its queue id.
    id: String,
    /// Recipients that were refused.
    refused: Vec<RefusedForm>,
}

/// A recipient that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusedForm {
    /// Who.
    recipient: String,
    /// The reply that an SMTP client would have got.
    reply: String,
}

/// What a request's key says.
enum Keyed {
    /// It is to be done; with a key, under this claim.
    New(Option<Claim>),
    /// It was done, and answered so.
    Answered(String),
}

impl Api {
    pub(super) async fn inject(&self, input: &Input, origin: Origin, caller: Caller) -> Result<Response, Problem> {
        let _place =
            self.injecting.try_acquire().map_err(|_| Problem::busy("too many messages are being handed in"))?;
        let (key, now) = (key(input)?, System.now());
        let claim = match self.keyed(key, input, &caller, now).await? {
            Keyed::New(claim) => claim,
            Keyed::Answered(answer) => return Ok(accepted(answer)),
        };
        let mail = mail(input, origin, &caller)?;
        let (client, octets, recipients) = (mail.client, mail.content.len(), mail.recipients.len());
        let done = self.control.inject(mail).await;
        let id = match &done {
            Ok(Injected::Taken { id, .. }) => Some(id),
            _ => None,
        };
        let noted = json!({ "id": id, "key": key, "client": client, "octets": octets, "recipients": recipients });
        let outcome = match &done {
            Ok(Injected::Taken { .. }) => "done".to_owned(),
            Ok(Injected::Refused { reply, .. }) => format!("refused: {}", cut(reply)),
            Err(reasons) => format!("failed: {}", cut(&reasons.join("; "))),
        };
        self.write_down(Log::Mail, &caller, "inject", noted, outcome).await;
        match done.map_err(|reasons| Problem::busy(reasons.join("; ")))? {
            Injected::Taken { id, refused } => taken(id, refused, claim, now).await,
            Injected::Refused { reply, later: true } => Err(Problem::busy(reply)),
            Injected::Refused { reply, later: false } => Err(Problem::new(StatusCode::CONFLICT, reply)),
        }
    }

    async fn keyed(&self, key: Option<&str>, input: &Input, caller: &Caller, now: Timestamp) -> Result<Keyed, Problem> {
        let Some(key) = key else { return Ok(Keyed::New(None)) };
        let kind = input.media_type().unwrap_or_default();
        let what = [input.uri.query().unwrap_or_default().as_bytes(), kind.as_bytes(), &input.body];
        let conflict = |status, why: &str| Err(Problem::new(status, why));
        match self.idempotency.look(&caller.peer.to_string(), key, &what, now).await.map_err(broken)? {
            Known::New(claim) => Ok(Keyed::New(Some(claim))),
            Known::Answered(answer) => Ok(Keyed::Answered(answer)),
            Known::UnderWay => conflict(StatusCode::CONFLICT, "a request with this key is under way"),
            Known::Other => conflict(StatusCode::UNPROCESSABLE_ENTITY, "this key was used for another request"),
        }
    }
}

fn key(input: &Input) -> Result<Option<&str>, Problem> {
    let Some(value) = input.headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let good = (1..=255).contains(&text.len());
    if good { Ok(Some(text)) } else { Err(Problem::input("Idempotency-Key: 1 to 255 characters of ASCII")) }
}

/// What the audit keeps of a refusal: the reply may have a line for each of ten thousand recipients.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

async fn taken(
    id: String,
    refused: Vec<(String, String)>,
    claim: Option<Claim>,
    now: Timestamp,
) -> Result<Response, Problem> {
    let refused = refused.into_iter().map(|(recipient, reply)| RefusedForm { recipient, reply }).collect();
    let form = TakenForm { id, refused };
    let answer = serde_json::to_string(&form).map_err(|error| Problem::busy(error.to_string()))?;
    if let Some(claim) = claim
        && let Err(error) = claim.answered(&answer, now).await
    {
        // The message is in the queue, and that is what counts.
        tracing::error!(%error, "an idempotency key can't be kept");
    }
    Ok(accepted(answer))
}

fn broken(error: StoreError) -> Problem {
    Problem::busy(format!("the store: {error}"))
}

fn accepted(answer: String) -> Response {
    (StatusCode::ACCEPTED, [(http::header::CONTENT_TYPE, "application/json")], answer).into_response()
}

fn mail(input: &Input, origin: Origin, caller: &Caller) -> Result<Injection, Problem> {
    let by = caller.name().into();
    let client = match origin {
        Origin::Local(_) => None,
        Origin::Network { address, .. } => Some(address.to_canonical()),
    };
    let EnvelopeQuery { from, to } = input.query()?;
    match input.media_type().as_deref() {
        Some("message/rfc822") => {
            let from = from.ok_or_else(|| Problem::input("the query lacks from; empty is the null reverse-path"))?;
            let to = to.unwrap_or_default();
            let to: Vec<_> = to.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
            let (sender, recipients) = (sender(&from)?, recipients(to.iter())?);
            Ok(Injection { sender, recipients, content: input.body.clone(), client, by })
        }
        Some("application/json") => {
            if from.is_some() || to.is_some() {
                return Err(Problem::input("the query has the envelope of raw messages only"));
            }
            let parts: Parts = input.body()?;
            let (sender, recipients) = (sender(&parts.from)?, recipients(parts.recipients())?);
            let boundary = chance().map_err(|error| Problem::busy(error.to_string()))?;
            let content = parts.compose(System.now(), &boundary);
            let content = content.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
            Ok(Injection { sender, recipients, content: content.into(), client, by })
        }
        _ => {
            let why = "send Content-Type: message/rfc822, or application/json";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
        }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Problem> {
    let wrong = |error: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{text:?}: {error}"));
    Mailbox::parse(text, true).map_err(|error| wrong(error.to_string()))
}

fn sender(text: &str) -> Result<Option<Mailbox>, Problem> {
    if text.is_empty() { Ok(None) } else { mailbox(text).map(Some) }
}

fn recipients<'a>(all: impl Iterator<Item = &'a String>) -> Result<Vec<Mailbox>, Problem> {
    let all: Vec<Mailbox> = all.map(|text| mailbox(text)).collect::<Result<_, _>>()?;
    if all.is_empty() || all.len() > RECIPIENTS {
        let why = format!("a message has 1 to {RECIPIENTS} recipients, not {}", all.len());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    Ok(all)
}
