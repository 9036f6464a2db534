//! Mail handed in over HTTP: a raw message, or its parts in JSON; taken as an SMTP client's is, and answered after the flush.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::{Caller, Origin};
use super::compose::Parts;
use super::idempotency::Known;
use super::input::Input;
use super::problem::Problem;
use crate::admin::injection::{HandedIn, Mail};
use crate::admin::token::chance;
use crate::mail::Mailbox;
use crate::store::StoreError;
use crate::time::{Clock as _, System};

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

impl Api {
    pub(super) async fn inject(&self, input: &Input, origin: Origin, caller: Caller) -> Result<Response, Problem> {
        let _place =
            self.injecting.try_acquire().map_err(|_| Problem::busy("too many messages are being handed in"))?;
        let key = input.headers.get(KEY).map(|value| {
            let text = value.to_str().unwrap_or_default();
            let good = (1..=255).contains(&text.len());
            if good { Ok(text) } else { Err(Problem::input("Idempotency-Key: 1 to 255 characters of ASCII")) }
        });
        let now = System.now();
        let claim = match key.transpose()? {
            None => None,
            Some(key) => {
                let kind = input.media_type().unwrap_or_default();
                let what = [input.uri.query().unwrap_or_default().as_bytes(), kind.as_bytes(), &input.body];
                match self.idempotency.look(&caller.peer.to_string(), key, &what, now).await.map_err(broken)? {
                    Known::New(claim) => Some(claim),
                    Known::Answered(answer) => return Ok(accepted(answer)),
                    Known::UnderWay => {
                        return Err(Problem::new(StatusCode::CONFLICT, "a request with this key is under way"));
                    }
                    Known::Other => {
                        let why = "this key was used for another request";
                        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why));
                    }
                }
            }
        };
        let mail = mail(input, origin)?;
        match self.control.inject(caller.peer, mail).await.map_err(|reasons| Problem::busy(reasons.join("; ")))? {
            HandedIn::Taken { id, refused } => {
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
            HandedIn::Refused { reply, later: true } => Err(Problem::busy(reply)),
            HandedIn::Refused { reply, later: false } => Err(Problem::new(StatusCode::CONFLICT, reply)),
        }
    }
}

fn broken(error: StoreError) -> Problem {
    Problem::busy(format!("the store: {error}"))
}

fn accepted(answer: String) -> Response {
    (StatusCode::ACCEPTED, [(http::header::CONTENT_TYPE, "application/json")], answer).into_response()
}

fn mail(input: &Input, origin: Origin) -> Result<Mail, Problem> {
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
            Ok(Mail { sender: sender(&from)?, recipients: recipients(to.iter())?, content: input.body.clone(), client })
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
            Ok(Mail { sender, recipients, content: content.into(), client })
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
