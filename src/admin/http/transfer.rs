//! The queue as octets, out and in: `GET /api/v1/queue/export` and `POST /api/v1/queue/import`.
//!
//! Both go through message by message and piece by piece: how large the queue is does not matter. What comes in is taken once it
//! is known to be whole, and answered once the last of it is flushed. Neither is asked about by a hook: only the role admin may.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use super::caller::Caller;
use super::input::media_type;
use super::problem::Problem;
use super::{Api, Log};
use crate::admin::transfer::{self, Announced, Broken, Ending, Reader};
use crate::mail::QueueId;
use crate::queue::{BodyPlace, Filter, Incoming, Reach, Record};
use crate::store::Content;

/// Octets read at a time.
const PIECE: usize = 64 << 10;
/// Pieces read ahead of who takes them.
const AHEAD: usize = 4;
/// Messages looked at in one step.
const STEP: usize = 500;
/// Messages on their way into the queue: they share flushes.
const UNDER_WAY: usize = 32;
/// Messages named that were not taken.
const NAMED: usize = 100;
/// Until a piece is taken. Whoever reads nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// For octets that nobody reads any more.
const REST: Duration = Duration::from_secs(2);

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Imported)]
pub(in crate::admin) struct ImportedForm {
    /// Messages that are in the queue now, flushed.
    pub(in crate::admin) imported: u64,
    /// Messages of whose id there was one already; that one is left alone.
    pub(in crate::admin) present: u64,
    /// Messages that were not taken.
    pub(in crate::admin) refused: u64,
    /// Of those the first ones.
    pub(in crate::admin) reasons: Vec<RefusedMessage>,
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RefusedMessage {
    /// Its id.
    pub(in crate::admin) id: String,
    /// Why.
    pub(in crate::admin) reason: String,
}

fn busy() -> Problem {
    Problem::busy("the queue is being saved or restored already")
}

impl Api {
    pub(super) async fn export(self: &Arc<Self>, caller: Caller) -> Result<Response, Problem> {
        let place = self.transferring.clone().try_acquire_owned().map_err(|_| busy())?;
        // All mail leaves: that is worth a line, though nothing is changed.
        self.write_down(Log::Changes, &caller, "queue-export", json!({}), "begun".to_owned()).await;
        let (to, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(hand_over(self.clone(), to, place));
        let mut response = Body::from_stream(ReceiverStream::new(pieces)).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(transfer::KIND));
        let name = HeaderValue::from_static("attachment; filename=\"waypost.queue\"");
        fields.insert(header::CONTENT_DISPOSITION, name);
        Ok(response)
    }

    pub(super) async fn import(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Body,
        caller: Caller,
    ) -> Result<Response, Problem> {
        if media_type(headers).as_deref() != Some(transfer::KIND) {
            let why = format!("send Content-Type: {}", transfer::KIND);
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let _place = self.transferring.clone().try_acquire_owned().map_err(|_| busy())?;
        let (told, ended) = self.import_all(body, &caller).await;
        let outcome = match &ended {
            Ok(()) => format!("{} taken, {} there already, {} refused", told.imported, told.present, told.refused),
            Err(broken) => format!("broken off: {broken}; {} taken before", told.imported),
        };
        self.write_down(Log::Changes, &caller, "queue-import", json!({}), outcome).await;
        let broken = match ended {
            Ok(()) => return Ok(axum::Json(told).into_response()),
            Err(broken) => broken,
        };
        let status = match broken {
            Broken::Input { .. } => StatusCode::BAD_REQUEST,
            Broken::Late { .. } => StatusCode::REQUEST_TIMEOUT,
        };
        let before =
            format!("{} messages before it are in the queue now, {} were already", told.imported, told.present);
        Err(Problem { reasons: vec![broken.to_string(), before], ..Problem::new(status, "") })
    }

    /// What was taken, and how the stream ended.
    async fn import_all(self: &Arc<Self>, body: Body, caller: &Caller) -> (ImportedForm, Result<(), Broken>) {
        let (mut reader, mut import) = (Reader::new(body), Import::default());
        let ended = self.import_from(&mut reader, &mut import, caller).await;
        while import.settle().await {}
        if ended.is_err() {
            reader.drop_rest(REST).await;
        }
        (import.told, ended)
    }

    async fn import_from(
        self: &Arc<Self>,
        reader: &mut Reader<Body>,
        import: &mut Import,
        caller: &Caller,
    ) -> Result<(), Broken> {
        reader.begin().await?;
        while let Some((id, read)) = next(reader, self).await? {
            match read {
                Ok(incoming) => import.take(self, caller, id, incoming).await,
                Err(why) => import.refused(id, why),
            }
        }
        Ok(())
    }
}

/// One that is whole or void; none: the stream is over.
type Next = Option<(String, Result<Incoming, String>)>;

/// Reads one message to its end. What is no message is an error that ends the stream, with its place; what the queue can't
/// have is left out.
async fn next(reader: &mut Reader<Body>, api: &Api) -> Result<Next, Broken> {
    let Some(Announced { id, record, mut content }) = reader.next().await? else { return Ok(None) };
    let octets = reader.octets(record).await?;
    let read: Result<Record, _> = serde_json::from_slice(&octets);
    let head_size = read.as_ref().map_or(0, |record| u64::from(record.head_size)).min(content);
    if head_size > transfer::RECORD_MAX {
        return Err(reader.wrong("its header section is larger than any may be"));
    }
    let (head, announced) = (reader.octets(head_size).await?, content);
    content -= head_size;
    let mut draft = api.control.queue_draft();
    let mut failed = None;
    while content > 0 {
        let piece = reader.piece(&mut content).await?;
        if let (Some(draft), None) = (&mut draft, &failed) {
            failed = draft.append(&piece).await.err().map(|error| error.to_string());
        }
    }
    if let Ending::Void(why) = reader.ending().await? {
        return Ok(Some((id, Err(why))));
    }
    let record = read.map_err(|error| reader.wrong(format!("its record can't be read: {error}")))?;
    if record.id.to_string() != id || u64::from(record.head_size).checked_add(record.body_size) != Some(announced) {
        return Err(reader.wrong("the record and the content do not belong together"));
    }
    let body = match (draft, failed) {
        (_, Some(why)) => Err(why),
        (None, None) => Err("this relay has no queue".to_owned()),
        (Some(draft), None) => draft.finish().await.map_err(|error| error.to_string()),
    };
    Ok(Some((id, body.map(|body| Incoming { record, head: head.into(), body }))))
}

/// Messages on their way into the queue, and what became of the others.
#[derive(Default)]
struct Import {
    told: ImportedForm,
    under_way: JoinSet<(String, Result<bool, Vec<String>>)>,
}

impl Import {
    async fn take(&mut self, api: &Arc<Api>, caller: &Caller, id: String, incoming: Incoming) {
        while self.under_way.len() >= UNDER_WAY {
            self.settle().await;
        }
        let (api, peer) = (api.clone(), caller.peer.clone());
        self.under_way.spawn(async move { (id, api.control.queue_import(peer, incoming).await) });
    }

    /// Waits for one of them; false where none is under way.
    async fn settle(&mut self) -> bool {
        match self.under_way.join_next().await {
            None => return false,
            Some(Ok((_, Ok(true)))) => self.told.imported += 1,
            Some(Ok((_, Ok(false)))) => self.told.present += 1,
            Some(Ok((id, Err(reasons)))) => self.refused(id, reasons.join("; ")),
            Some(Err(ended)) => self.refused("?".to_owned(), ended.to_string()),
        }
        true
    }

    fn refused(&mut self, id: String, reason: String) {
        self.told.refused += 1;
        if self.told.reasons.len() < NAMED {
            self.told.reasons.push(RefusedMessage { id, reason });
        }
    }
}

/// Whoever asked has gone.
struct Gone;

async fn tell(to: &Sender, octets: impl Into<Bytes>) -> Result<(), Gone> {
    match tokio::time::timeout(PATIENCE, to.send(Ok(octets.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

async fn hand_over(api: Arc<Api>, to: Sender, _place: OwnedSemaphorePermit) {
    if let Ok(Err(error)) = export_all(&api, &to).await {
        // Not by an end of its own: whoever reads it sees that it is not whole.
        let _ = to.send(Err(io::Error::other(error))).await;
    }
}

/// Every message that is there when its turn comes.
async fn export_all(api: &Api, to: &Sender) -> Result<Result<(), String>, Gone> {
    tell(to, transfer::begin()).await?;
    let (mut after, mut messages) = (None, 0);
    loop {
        let reach = Reach { after, upto: None, look: STEP, find: STEP };
        let stepped = match api.control.queue_look(Filter::default(), reach).await {
            Ok(stepped) => stepped,
            Err(reasons) => return Ok(Err(reasons.join("; "))),
        };
        for found in &stepped.found {
            messages += u64::from(export_one(api, found.record.id, to).await?);
        }
        after = stepped.next;
        if after.is_none() {
            break;
        }
    }
    tell(to, transfer::end(messages)).await?;
    Ok(Ok(()))
}

/// One message, as it is at one moment; false if it left the queue since.
async fn export_one(api: &Api, id: QueueId, to: &Sender) -> Result<bool, Gone> {
    let void = async |why: String| {
        let announced = Announced { id: id.to_string(), record: 0, content: 0 };
        tell(to, format!("{announced}{}", Ending::Void(why))).await?;
        Ok(true)
    };
    let (record, head, body) = match api.control.queue_whole(id).await {
        Ok(Some(whole)) => whole,
        Ok(None) => return Ok(false),
        Err(reasons) => return void(reasons.join("; ")).await,
    };
    // Where the content was kept here means nothing elsewhere.
    let record = Record { body: BodyPlace::Inline, ..Arc::unwrap_or_clone(record) };
    let mut octets = match serde_json::to_vec(&record) {
        Ok(octets) => octets,
        Err(error) => return void(error.to_string()).await,
    };
    octets.push(b'\n');
    let content = head.len() as u64 + body.len();
    let announced = Announced { id: id.to_string(), record: octets.len() as u64, content };
    tell(to, announced.to_string()).await?;
    let mut crc = crc32fast::Hasher::new();
    for part in [Bytes::from(octets), head] {
        crc.update(&part);
        tell(to, part).await?;
    }
    let ending = match content_of(&body, &mut crc, to).await? {
        Ok(()) => Ending::Sum(crc.finalize()),
        Err(why) => Ending::Void(why),
    };
    tell(to, ending.to_string()).await?;
    Ok(true)
}

/// So many octets as were announced, whatever becomes of the file they are in.
async fn content_of(body: &Content, crc: &mut crc32fast::Hasher, to: &Sender) -> Result<Result<(), String>, Gone> {
    let (mut at, mut failed) = (0, Ok(()));
    while at < body.len() {
        let most = usize::try_from(body.len() - at).unwrap_or(PIECE).min(PIECE);
        let piece = match body.read_at(at, most).await {
            Ok(piece) if !piece.is_empty() && failed.is_ok() => piece,
            read => {
                let why = read.map_or_else(|error| error.to_string(), |_| "the body is not whole".to_owned());
                failed = failed.and(Err(why));
                Bytes::from(vec![0; most])
            }
        };
        crc.update(&piece);
        at += piece.len() as u64;
        tell(to, piece).await?;
    }
    Ok(failed)
}

#[cfg(test)]
mod tests;
