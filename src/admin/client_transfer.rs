//! The command line's end of the admin API, for a queue that leaves the relay for a backup and comes back: bodies that are never whole
//! in memory, on either side.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, header};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::client_http::{Connection, Incoming, broken, refused, whole};
use super::http::ImportedForm;
use super::transfer::{self, Announced, Ending, Reader};
use super::{Client, ClientError};

/// Octets passed on at a time, and how many pieces of them ahead of the wire.
const PIECE: usize = 64 << 10;
const AHEAD: usize = 4;

/// A queue as it comes out, part by part.
#[derive(Clone, Copy, Debug)]
pub enum Exported<'a> {
    /// A message of this id begins: letters and digits.
    Begins(&'a str),
    /// Octets of it: the record, a line of JSON, and then the content.
    Octets(&'a [u8]),
    /// It is whole: CRC-32 over its octets.
    Whole(u32),
    /// It could not be read to its end, because …
    Void(&'a str),
}

/// A message on its way back.
pub struct Saved {
    /// Its id.
    pub id: String,
    /// The record as it was exported, a line of JSON with its end.
    pub record: Vec<u8>,
    /// Octets of content.
    pub size: u64,
    /// The content.
    pub content: Box<dyn Read>,
    /// CRC-32 over record and content.
    pub crc: u32,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Messages in the queue now, flushed.
    pub messages: u64,
    /// Messages that were there already.
    pub present: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Of those the first ones: id and why.
    pub reasons: Vec<(String, String)>,
}

/// A body that is still being made.
#[derive(Debug)]
pub(super) struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

impl Client {
    /// All of the queue, as it comes.
    ///
    /// # Errors
    /// When it is cut off, or can't be passed on.
    pub async fn queue_export(
        &mut self,
        mut take: impl FnMut(Exported<'_>) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let response = self.connection.get("/api/v1/queue/export").await?;
        let (status, body) = (response.status(), response.into_body());
        if !status.is_success() {
            return Err(refused(status, &whole(body).await?));
        }
        let mut reader = Reader::new(body);
        reader.begin().await.map_err(broken)?;
        while let Some(announced) = reader.next().await.map_err(broken)? {
            one(&mut reader, announced, &mut take).await?;
        }
        Ok(())
    }

    /// Has messages taken back, as long as `next` gives some.
    ///
    /// # Errors
    /// When the relay refuses all of them, or one can't be read; what came before it is in the queue.
    pub async fn queue_import(
        &mut self,
        next: impl FnMut() -> io::Result<Option<Saved>>,
    ) -> Result<Imported, ClientError> {
        let (to, pieces) = mpsc::channel(AHEAD);
        let request = http::Request::builder()
            .method(Method::POST)
            .uri("/api/v1/queue/import")
            .header(header::HOST, "waypost")
            .header(header::CONTENT_TYPE, transfer::KIND)
            .body(Pieces(pieces))
            .map_err(broken)?;
        let answer = async {
            let response = Connection::once(&self.path, request).await?;
            let status = response.status();
            let body = whole(response.into_body()).await?;
            if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
        };
        let (answer, fed) = tokio::join!(answer, feed(to, next));
        // Why no more was sent says more than that the relay missed it.
        fed.map_err(broken)?;
        let told: ImportedForm = serde_json::from_slice(&answer?).map_err(broken)?;
        let ImportedForm { imported, present, refused, reasons } = told;
        let reasons = reasons.into_iter().map(|refused| (refused.id, refused.reason)).collect();
        Ok(Imported { messages: imported, present, refused, reasons })
    }
}

async fn one(
    reader: &mut Reader<Incoming>,
    announced: Announced,
    take: &mut impl FnMut(Exported<'_>) -> io::Result<()>,
) -> Result<(), ClientError> {
    let Announced { id, record, content } = announced;
    let plain = !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if !plain {
        return Err(broken(reader.wrong("its id is none")));
    }
    take(Exported::Begins(&id)).map_err(broken)?;
    let mut left = record.saturating_add(content);
    while left > 0 {
        let piece = reader.piece(&mut left).await.map_err(broken)?;
        take(Exported::Octets(&piece)).map_err(broken)?;
    }
    match reader.ending().await.map_err(broken)? {
        Ending::Sum(crc) => take(Exported::Whole(crc)).map_err(broken),
        Ending::Void(why) => take(Exported::Void(&why)).map_err(broken),
    }
}

/// Sends it all, or up to where the relay does not want any more; then the relay says why.
async fn feed(
    to: mpsc::Sender<io::Result<Bytes>>,
    mut next: impl FnMut() -> io::Result<Option<Saved>>,
) -> io::Result<()> {
    let mut messages = 0;
    let mut wanted = to.send(Ok(transfer::begin().into())).await.is_ok();
    while wanted {
        let done = match next() {
            Ok(Some(saved)) => {
                messages += 1;
                message(&to, saved).await
            }
            Ok(None) => {
                let _ = to.send(Ok(transfer::end(messages).into())).await;
                return Ok(());
            }
            Err(error) => Err(error),
        };
        wanted = match done {
            Ok(wanted) => wanted,
            Err(error) => {
                // So that it does not end as if it were whole.
                let _ = to.send(Err(io::ErrorKind::InvalidData.into())).await;
                return Err(error);
            }
        };
    }
    Ok(())
}

/// False where no more is wanted.
async fn message(to: &mpsc::Sender<io::Result<Bytes>>, saved: Saved) -> io::Result<bool> {
    let Saved { id, record, size, mut content, crc } = saved;
    let announced = Announced { id, record: record.len() as u64, content: size }.to_string();
    for part in [announced.into_bytes(), record] {
        if to.send(Ok(part.into())).await.is_err() {
            return Ok(false);
        }
    }
    let mut left = size;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        content.read_exact(&mut piece)?;
        left -= piece.len() as u64;
        if to.send(Ok(piece.into())).await.is_err() {
            return Ok(false);
        }
    }
    Ok(to.send(Ok(Ending::Sum(crc).to_string().into())).await.is_ok())
}
