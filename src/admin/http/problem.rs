//! Why a request is not answered: RFC 9457.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::admin::perform::Refusal;

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// In words, for the operator.
    pub(super) reasons: Vec<String>,
    /// Seconds until another try makes sense.
    pub(super) retry_after: Option<u32>,
}

/// As it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(in crate::admin) struct ProblemForm {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub(in crate::admin) kind: String,
    /// The status, in words.
    pub(in crate::admin) title: String,
    /// The status.
    pub(in crate::admin) status: u16,
    /// What is wrong, and what to do.
    pub(in crate::admin) reasons: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reasons: vec![reason.into()], retry_after: None }
    }

    /// What was sent makes no sense.
    pub(super) fn input(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// No room for it now.
    pub(super) fn busy(reason: impl Into<String>) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, reasons) = match refusal {
            Refusal::Input(reasons) => (StatusCode::UNPROCESSABLE_ENTITY, reasons),
            Refusal::Missing(reasons) => (StatusCode::NOT_FOUND, reasons),
            Refusal::Relay(reasons) => (StatusCode::CONFLICT, reasons),
        };
        Self { status, reasons, retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let form = ProblemForm {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            reasons: self.reasons,
        };
        // Plain texts and a number, which JSON always has room for.
        let body = serde_json::to_vec(&form).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, kind, body).into_response();
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 15.5.2 demands it.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
