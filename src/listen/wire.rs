//! One connection's octets: plain or under TLS, read without a buffer of its own, written in one go.
//!
//! An idle connection holds no read buffer: octets pass through one buffer of the worker thread straight into the
//! session. Never interprets what it carries.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::stream::Stream;
use crate::hooks::TlsFacts;
use crate::tls::{ClientCertificates, Tls};

/// Octets taken from a socket at a time: a large message costs few system calls.
const SCRATCH: usize = 64 * 1024;

/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// The connection.
pub(crate) enum Wire {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
    /// While a handshake owns the socket, and after one failed.
    Gone,
}

/// How a read ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Octets were handed over.
    Octets,
    /// The other end closed.
    End,
    /// The time was up.
    TimedOut,
    /// The relay is draining; nothing was read.
    Draining,
}

impl Wire {
    /// Hands the next octets to `take`.
    pub(crate) async fn read(&mut self, patience: &mut Patience, mut take: impl FnMut(&[u8])) -> io::Result<Arrived> {
        patience.start();
        poll_fn(|cx| {
            let read = BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let ready = self.poll_read(cx, &mut buffer)?;
                Ok::<_, io::Error>(ready.map(|()| {
                    take(buffer.filled());
                    if buffer.filled().is_empty() { Arrived::End } else { Arrived::Octets }
                }))
            })?;
            match read {
                Poll::Ready(arrived) => Poll::Ready(Ok(arrived)),
                Poll::Pending => patience.poll(cx).map(Ok),
            }
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> io::Result<Poll<()>> {
        let read = match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        };
        match read {
            // Many clients close without TLS's farewell. Nothing can be cut short by that: mail data has its own end.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Poll::Ready(())),
            Poll::Ready(done) => done.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Writes everything.
    pub(crate) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The server's half of a handshake. The wire is gone when it fails.
    pub(crate) async fn start_tls(&mut self, tls: &Tls, clients: ClientCertificates) -> io::Result<TlsFacts> {
        let acceptor = tls.acceptor(clients).ok_or(io::ErrorKind::Unsupported)?;
        match std::mem::replace(self, Self::Gone) {
            Self::Plain(stream) => {
                // In a box of its own: a handshake needs more room than the connection that waits afterwards.
                let stream = Box::new(Box::pin(acceptor.accept(stream)).await?);
                let facts = tls.facts(stream.get_ref().1);
                // A resumed session brings the certificate of its first handshake, which is judged again.
                let verified = facts.client.as_ref().is_some_and(|client| client.verified);
                if clients == ClientCertificates::Require && !verified {
                    return Err(io::Error::other("the client's certificate does not verify any more"));
                }
                *self = Self::Tls(stream);
                Ok(facts)
            }
            _ => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    /// Says goodbye on both layers; errors are of no interest any more. Under TLS it takes octets, for which a client that
    /// reads nothing may have left no room: it is not waited for.
    pub(crate) async fn close(&mut self) {
        let close = async {
            match self {
                Self::Plain(stream) => stream.shutdown().await,
                Self::Tls(stream) => stream.shutdown().await,
                Self::Gone => Ok(()),
            }
        };
        let _ = tokio::time::timeout(FAREWELL, close).await;
    }
}

/// How long a read may take. One timer for the life of a connection: it is set again only when it fires too early,
/// so a busy connection never touches the timer wheel.
pub(crate) struct Patience {
    limit: Duration,
    until: Instant,
    timer: Pin<Box<Sleep>>,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// The whole connection ends then, whatever it does.
    pub(crate) last: Instant,
}

impl Patience {
    pub(crate) fn new(limit: Duration, session: Duration, draining: WaitForCancellationFutureOwned) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep(limit));
        Self { limit, until: now + limit, timer, draining: Some(Box::pin(draining)), last: now + session }
    }

    /// Another limit from the next read on.
    pub(crate) fn set(&mut self, limit: Duration) {
        self.limit = limit;
    }

    fn start(&mut self) {
        self.until = (Instant::now() + self.limit).min(self.last);
        if self.timer.deadline() > self.until {
            let until = self.until;
            self.timer.as_mut().reset(until);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        if let Some(draining) = &mut self.draining
            && draining.as_mut().poll(cx).is_ready()
        {
            // Told once: a transaction under way then goes on to its end.
            self.draining = None;
            return Poll::Ready(Arrived::Draining);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.until {
                return Poll::Ready(Arrived::TimedOut);
            }
            let until = self.until;
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
