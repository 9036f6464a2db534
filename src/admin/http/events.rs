//! What happens, as it happens: server-sent events, for as long as whoever asked stays and may know.
//!
//! Each listener has a bounded buffer (`pulse`); who is slower than things happen is told how much was lost. While nobody
//! listens, nothing is made ready.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::caller::Caller;
use super::input::Input;
use super::problem::Problem;
use crate::admin::{EventsForm, Peer, Role};
use crate::pulse::{Event, Heard, Kind, Listener, Watch};

/// A comment at least this often: whoever has gone is noticed, and what lies between does not think the connection dead.
const ALIVE: Duration = Duration::from_secs(15);
/// Events on their way to one client.
const AHEAD: usize = 16;
/// Until one is taken. Whoever reads nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);

type Sender = mpsc::Sender<Result<Bytes, Infallible>>;

impl Api {
    pub(super) fn events(self: &Arc<Self>, input: &Input, caller: Caller) -> Result<Response, Problem> {
        let watch = watch(input.query()?)?;
        let listener = self.pulse.watch(watch).ok_or_else(|| Problem::busy("too many listen already"))?;
        let (to, events) = mpsc::channel(AHEAD);
        tokio::spawn(hand_over(self.clone(), listener, caller, to));
        let mut response = Body::from_stream(ReceiverStream::new(events)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }

    /// True while the caller would be let in again.
    fn may_stay(&self, caller: &Caller) -> bool {
        let Peer::Token(name) = &caller.peer else { return true };
        let in_force = self.in_force.load();
        in_force.tokens.iter().any(|token| token.name == *name && token.role.may(Role::Read))
    }
}

fn watch(query: EventsForm) -> Result<Watch, Problem> {
    let EventsForm { kinds, client, address } = query;
    let named = |word: &str| {
        let all = || Kind::ALL.map(Kind::word).join(", ");
        let found = Kind::ALL.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| Problem::input(format!("{word:?} is no kind of events: there are {}", all())))
    };
    let kinds = kinds.unwrap_or_default();
    let kinds = kinds.split(',').map(str::trim).filter(|word| !word.is_empty()).map(named).collect::<Result<_, _>>()?;
    let client = client.map(|text| {
        let read = text.parse::<std::net::IpAddr>().map(|ip| ip.to_canonical());
        read.map_err(|_| Problem::input(format!("{text:?} is no IP address")))
    });
    Ok(Watch { kinds, client: client.transpose()?, address: address.map(|text| text.to_lowercase()) })
}

/// What is told of an event, with its time: RFC 3339. What has one of its own keeps it.
fn dated(event: &Event) -> Value {
    let mut data = event.data.clone();
    if let (Some(fields), Some(at)) = (data.as_object_mut(), event.at) {
        fields.entry("at").or_insert_with(|| at.rfc3339().into());
    }
    data
}

async fn hand_over(api: Arc<Api>, mut listener: Listener, caller: Caller, to: Sender) {
    // The client knows by this that it listens.
    let mut text = ": listening\n\n".to_owned();
    loop {
        let sent = tokio::time::timeout(PATIENCE, to.send(Ok(text.into()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        text = tokio::select! {
            () = api.draining.cancelled() => return,
            () = to.closed() => return,
            heard = tokio::time::timeout(ALIVE, listener.hear()) => match heard {
                Ok(Heard::Event(kind, number, event)) => {
                    format!("event: {}\nid: {number}\ndata: {}\n\n", kind.word(), dated(&event))
                }
                Ok(Heard::Lost(count)) => format!("event: lost\ndata: {{\"count\":{count}}}\n\n"),
                Err(_quiet) => ": \n\n".to_owned(),
            },
        };
        if !api.may_stay(&caller) {
            return;
        }
    }
}
