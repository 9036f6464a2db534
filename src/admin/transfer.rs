//! Messages that leave the queue for a backup and come back: the relay's end of the admin socket.
//!
//! A message is exported as it is at one moment, its record and then its content; imported, it keeps its id, and one that is there
//! already is left alone. Content goes through in pieces: never all of it in memory.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufWriter};

use super::queue_api::read_id;
use super::{Control, Done, Peer, Response, frame};
use crate::queue::{BodyPlace, Incoming, Record};

/// Octets of content in one line.
const PIECE: usize = 48 << 10;

/// Octets of a record: ten thousand recipients with all that was said of them.
const RECORD_MAX: u64 = 16 << 20;

/// Octets of a header section, far above what any relay takes.
const HEAD_MAX: u32 = 16 << 20;

/// Octets of a message.
const CONTENT_MAX: u64 = 2 << 30;

/// The record of a message, then its content in base64, piece by piece.
pub(super) async fn export(
    id: &str,
    control: &dyn Control,
    to: &mut BufWriter<impl AsyncWrite + Unpin>,
) -> std::io::Result<()> {
    let read = match read_id(id) {
        Ok(id) => control.queue_whole(id).await,
        Err(why) => Err(vec![why]),
    };
    let (record, head, body) = match read {
        Ok(Some(whole)) => whole,
        Ok(None) => return frame::write(to, &Response::Refused(vec![format!("no message {id} in the queue")])).await,
        Err(reasons) => return frame::write(to, &Response::Refused(reasons)).await,
    };
    // Where the content was kept here means nothing elsewhere.
    let record = Record { body: BodyPlace::Inline, ..Arc::unwrap_or_clone(record) };
    frame::write(to, &Response::Item(serde_json::to_value(&record)?)).await?;
    for piece in head.chunks(PIECE) {
        frame::write(to, &Response::Item(STANDARD.encode(piece).into())).await?;
    }
    let mut at = 0;
    while at < body.len() {
        let piece = match body.read_at(at, PIECE).await {
            Ok(piece) if !piece.is_empty() => piece,
            Ok(_) => return frame::write(to, &Response::Refused(vec!["the body is not whole".to_owned()])).await,
            Err(error) => return frame::write(to, &Response::Refused(vec![format!("the body: {error}")])).await,
        };
        at += piece.len() as u64;
        frame::write(to, &Response::Item(STANDARD.encode(&piece).into())).await?;
    }
    frame::write(to, &Response::Done(Done::Content(head.len() as u64 + at))).await
}

/// What follows the request's line on the wire: so many octets of a record, so many of content.
///
/// # Errors
/// When the connection breaks, or is of no use any more: what was announced was not read to its end.
pub(super) async fn import(
    sizes: (u64, u64),
    peer: Peer,
    control: &dyn Control,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut BufWriter<impl AsyncWrite + Unpin>,
) -> std::io::Result<()> {
    let answer = match receive(sizes, control, from).await? {
        Ok(incoming) => {
            let id = incoming.record.id.to_string();
            match control.queue_import(peer, incoming).await {
                Ok(true) => Response::Done(Done::Imported { id }),
                Ok(false) => Response::Refused(vec![format!("{id} is in the queue already")]),
                Err(reasons) => Response::Refused(reasons),
            }
        }
        Err(why) => Response::Refused(vec![why]),
    };
    frame::write(to, &answer).await
}

async fn receive(
    (record, content): (u64, u64),
    control: &dyn Control,
    from: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Result<Incoming, String>> {
    if record > RECORD_MAX || content > CONTENT_MAX {
        // Nobody reads what would follow.
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a message of more octets than one may have"));
    }
    let mut octets = Vec::new();
    (&mut *from).take(record).read_to_end(&mut octets).await?;
    let read: Result<Record, _> = serde_json::from_slice(&octets);
    let head_size = read.as_ref().map_or(0, |record| record.head_size.min(HEAD_MAX));
    let mut head = Vec::new();
    (&mut *from).take(u64::from(head_size).min(content)).read_to_end(&mut head).await?;
    let mut draft = control.queue_draft();
    let (mut failed, mut left) = (None, content - head.len() as u64);
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let read = from.read(piece.get_mut(..most).unwrap_or_default()).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left -= read as u64;
        if let (Some(draft), None) = (&mut draft, &failed) {
            failed = draft.append(piece.get(..read).unwrap_or_default()).await.err();
        }
    }
    let record = match (read, failed, draft.is_some()) {
        (Err(error), _, _) => return Ok(Err(format!("the record can't be read: {error}"))),
        (_, Some(error), _) => return Ok(Err(error.to_string())),
        (_, _, false) => return Ok(Err("this relay has no queue".to_owned())),
        (Ok(record), None, true) => record,
    };
    if u64::from(record.head_size) + record.body_size != content || record.recipients.is_empty() {
        return Ok(Err("the record and the content do not belong together".to_owned()));
    }
    let Some(draft) = draft else { return Ok(Err("this relay has no queue".to_owned())) };
    Ok(draft.finish().await.map(|body| Incoming { record, head: head.into(), body }).map_err(|error| error.to_string()))
}
