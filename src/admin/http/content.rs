//! The content of a message, piece by piece: not all of it in memory at a time.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;
use crate::admin::Control;
use crate::admin::perform::Refusal;
use crate::admin::queue_api::read_id;
use crate::store::Content;

/// Octets read at a time.
const PIECE: usize = 64 << 10;
/// Pieces read ahead of who takes them.
const AHEAD: usize = 2;

type Sender = mpsc::Sender<std::io::Result<Bytes>>;

pub(super) async fn of(control: &dyn Control, id: &str) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, format!("no message {id} in the queue"));
    let read = read_id(id).map_err(|why| Problem::from(Refusal::Input(vec![why])))?;
    let found = control.queue_content(read).await.map_err(|reasons| Problem::from(Refusal::Relay(reasons)))?;
    let (head, body) = found.ok_or_else(missing)?;
    let (to, pieces) = mpsc::channel(AHEAD);
    let octets = head.len() as u64 + body.len();
    tokio::spawn(hand_over(head, body, to));
    let mut response = Body::from_stream(ReceiverStream::new(pieces)).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("message/rfc822"));
    fields.insert(header::CONTENT_LENGTH, octets.into());
    // An id is letters and digits.
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{read}.eml\"")) {
        fields.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Ends when whoever asked has gone.
async fn hand_over(head: Bytes, body: Content, to: Sender) {
    if to.send(Ok(head)).await.is_err() {
        return;
    }
    let mut at = 0;
    while at < body.len() {
        let piece = match body.read_at(at, PIECE).await {
            Ok(piece) if piece.is_empty() => return,
            piece => piece.map_err(std::io::Error::other),
        };
        at += piece.as_ref().map_or(body.len(), |piece| piece.len() as u64);
        if to.send(piece).await.is_err() {
            return;
        }
    }
}
