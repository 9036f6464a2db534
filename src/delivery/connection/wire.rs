//! The stream of a connection: replies read whole, commands and content written, each within its time.
//!
//! Must never send the final dot after content that could not be read whole, nor take what was said without being asked for
//! an answer.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::delivery::client::OutboundMail;
use crate::delivery::connector::Stream;
use crate::smtp::{Encoder, Reply, ReplyReader};
use crate::store::Content;

/// Content up to this size is sent in one write.
const SMALL: u64 = 64 * 1024;
/// Read from the spool at a time.
const READ: usize = 256 * 1024;
/// Written within one time limit.
const BLOCK: usize = 64 * 1024;
/// A slice of content as long as this is written from where it is; shorter ones are gathered first.
const LARGE_SLICE: usize = 16 * 1024;
/// What a server said before it closed is here already.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Replies are read into this much; a group of replies seldom has more.
const INBOX: usize = 4096;

/// The stream, and what is on its way in and out.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Box<dyn Stream>,
    pub(super) reader: ReplyReader,
    /// Empty while the connection stands idle.
    inbox: Vec<u8>,
    /// Read, not yet looked at.
    pub(super) unread: std::ops::Range<usize>,
    pub(super) out: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, reader: ReplyReader::default(), inbox: Vec::new(), unread: 0..0, out: Vec::new() }
    }

    /// Gives up what only a transaction needs.
    pub(super) fn idle(&mut self) {
        if self.unread.is_empty() {
            self.inbox = Vec::new();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// The next reply, whole within `limit`: one that trickles in must not hold a worker for longer than silence does.
    pub(super) async fn reply(&mut self, limit: Duration) -> io::Result<Reply> {
        within(limit, self.whole_reply()).await
    }

    async fn whole_reply(&mut self) -> io::Result<Reply> {
        loop {
            let mut unread = self.inbox.get(self.unread.clone()).unwrap_or_default();
            let reply = self.reader.push(&mut unread).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            self.unread.start = self.unread.end - unread.len();
            if let Some(reply) = reply {
                return Ok(reply);
            }
            self.fill().await?;
            if self.inbox.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread = 0..self.inbox.len();
        }
    }

    /// Reads what is there. Waiting takes no room: there are many servers that never say a word.
    async fn fill(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut room = [MaybeUninit::uninit(); INBOX];
            let mut buffer = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            self.inbox.clear();
            self.inbox.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Sends commands while no answer is outstanding. What the server has said by then was not asked for: it is returned
    /// if it is 421 (RFC 5321 section 3.8). Anything else would be taken for the answer to another command.
    pub(super) async fn ask(&mut self, octets: &[u8], limit: Duration) -> io::Result<Option<Reply>> {
        if !self.unread.is_empty() || !self.reader.is_empty() {
            let reply = self.reply(limit).await?;
            let unasked = || io::Error::new(io::ErrorKind::InvalidData, "a reply to nothing");
            return if reply.code == 421 { Ok(Some(reply)) } else { Err(unasked()) };
        }
        write(&mut self.stream, octets, limit).await?;
        within(limit, self.stream.flush()).await?;
        Ok(None)
    }

    /// Why the server closed the connection while the message was sent, if it said so before.
    pub(super) async fn last_words(&mut self) -> Option<Reply> {
        let reply = self.reply(LAST_WORDS).await.ok()?;
        (reply.is_transient() || reply.is_permanent()).then_some(reply)
    }

    async fn send_out(&mut self, limit: Duration) -> io::Result<()> {
        write(&mut self.stream, &self.out, limit).await?;
        self.out.clear();
        within(limit, self.stream.flush()).await
    }

    /// The content in its wire form, the final dot, and `after` it. Small content goes out in one write.
    pub(super) async fn send_content(
        &mut self,
        mail: &OutboundMail<'_>,
        after: &[u8],
        limit: Duration,
    ) -> io::Result<()> {
        if mail.is_binary() {
            return self.send_chunk(mail, after, limit).await;
        }
        let mut encoder = Encoder::default();
        self.out.clear();
        encoder.push(&mail.prepended(), &mut self.out);
        encoder.push(mail.head, &mut self.out);
        match mail.body {
            Content::Memory(body) if mail.size <= SMALL => encoder.push(body, &mut self.out),
            Content::Memory(body) => return self.send_memory(body, encoder, after, limit).await,
            body => self.stream_body(body, &mut encoder, limit).await?,
        }
        self.out.extend_from_slice(encoder.finish());
        self.out.extend_from_slice(after);
        let sent = self.send_out(limit).await;
        // A large head must not be held for as long as the connection lives.
        self.out.shrink_to(2 * SMALL as usize);
        sent
    }

    /// The content as it is, as one chunk (RFC 3030 section 2).
    async fn send_chunk(&mut self, mail: &OutboundMail<'_>, after: &[u8], limit: Duration) -> io::Result<()> {
        let prepended = mail.prepended();
        let size = (prepended.len() + mail.head.len()) as u64 + mail.body.len();
        self.out.clear();
        self.out.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
        self.out.extend_from_slice(&prepended);
        self.out.extend_from_slice(mail.head);
        let mut offset = 0;
        while offset < mail.body.len() {
            let piece = mail.body.read_at(offset, READ).await?;
            if piece.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stored body is shorter than it was"));
            }
            offset += piece.len() as u64;
            write(&mut self.stream, &self.out, limit).await?;
            self.out.clear();
            write(&mut self.stream, &piece, limit).await?;
        }
        self.out.extend_from_slice(after);
        let sent = self.send_out(limit).await;
        self.out.shrink_to(2 * SMALL as usize);
        sent
    }

    /// What is in memory goes out from where it is, the rest of `out` before it and the end behind it, in few system calls.
    async fn send_memory(
        &mut self,
        body: &[u8],
        mut encoder: Encoder,
        after: &[u8],
        limit: Duration,
    ) -> io::Result<()> {
        let mut held: &[u8] = &[];
        for slice in encoder.slices(body) {
            let large = slice.len() >= LARGE_SLICE;
            if !held.is_empty() || self.out.len() >= SMALL as usize {
                write_parts(&mut self.stream, [&self.out, held, &[]], limit).await?;
                self.out.clear();
                held = &[];
            }
            if large {
                held = slice;
            } else {
                self.out.extend_from_slice(slice);
            }
        }
        let end = [encoder.finish(), after].concat();
        write_parts(&mut self.stream, [&self.out, held, &end], limit).await?;
        self.out.clear();
        self.out.shrink_to(2 * SMALL as usize);
        within(limit, self.stream.flush()).await
    }

    async fn stream_body(&mut self, body: &Content, encoder: &mut Encoder, limit: Duration) -> io::Result<()> {
        let mut offset = 0;
        while offset < body.len() {
            let piece = body.read_at(offset, READ).await?;
            if piece.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stored body is shorter than it was"));
            }
            offset += piece.len() as u64;
            for slice in encoder.slices(&piece) {
                if slice.len() < LARGE_SLICE && self.out.len() < SMALL as usize {
                    self.out.extend_from_slice(slice);
                    continue;
                }
                write(&mut self.stream, &self.out, limit).await?;
                self.out.clear();
                if slice.len() < LARGE_SLICE {
                    self.out.extend_from_slice(slice);
                } else {
                    write(&mut self.stream, slice, limit).await?;
                }
            }
        }
        Ok(())
    }

    /// True if the server neither closed nor said anything.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut room = [MaybeUninit::uninit(); INBOX];
        let mut buffer = ReadBuf::uninit(&mut room);
        let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer);
        read.is_pending() && self.unread.is_empty() && self.reader.is_empty()
    }

    pub(super) async fn quit(&mut self, limit: Duration) {
        // RFC 5321 section 4.1.1.10 would have us wait for the reply. It changes nothing, and every message's lane would
        // wait with us: as most clients do, this one closes at once.
        self.out.clear();
        self.out.extend_from_slice(b"QUIT\r\n");
        let _ = self.send_out(limit).await;
        let _ = within(limit, self.stream.shutdown()).await;
    }
}

async fn write(stream: &mut Box<dyn Stream>, octets: &[u8], limit: Duration) -> io::Result<()> {
    // The limit holds for each piece that makes progress (RFC 5321 section 4.5.3.2.5), not for a whole large write.
    for piece in octets.chunks(BLOCK) {
        within(limit, stream.write_all(piece)).await?;
    }
    Ok(())
}

/// Several pieces one after the other, together as far as the stream takes them.
async fn write_parts(stream: &mut Box<dyn Stream>, mut parts: [&[u8]; 3], limit: Duration) -> io::Result<()> {
    while parts.iter().any(|part| !part.is_empty()) {
        let slices = parts.map(IoSlice::new);
        let mut written = within(limit, stream.write_vectored(&slices)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        for part in &mut parts {
            let of_it = written.min(part.len());
            *part = part.get(of_it..).unwrap_or_default();
            written -= of_it;
        }
    }
    Ok(())
}

pub(super) async fn within<T>(limit: Duration, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, doing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
