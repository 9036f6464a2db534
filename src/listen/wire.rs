//! One connection's octets: plain or under TLS, read without a buffer of its own, written in one go.
//!
//! An idle connection holds no read buffer: octets pass through one buffer of the worker thread straight into the
//! session. Never interprets what it carries.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::patience::Patience;
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
        poll_fn(|cx| {
            let read = BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let ready = self.poll_read(cx, &mut buffer)?;
                Ok::<_, io::Error>(ready.map(|()| {
                    patience.arrived(buffer.filled());
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

    /// True if the client has sent something already. The runtime learns of that a little later: the system is asked.
    pub(crate) fn has_early(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let Self::Plain(stream) = self else { return false };
        let mut octet = [0; 1];
        recv(stream, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(_, octets)| octets > 0)
    }

    /// Hands octets to `take` as soon as there are some; also ends at the end of the stream.
    pub(crate) async fn read_early(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        poll_fn(|cx| {
            let read = BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let ready = self.poll_read(cx, &mut buffer)?;
                Ok::<_, io::Error>(ready.map(|()| take(buffer.filled())))
            })?;
            read.map(Ok)
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
        self.drop_rest();
    }

    /// Octets that came and were not read would make the system answer with a reset, and that may take the last reply away
    /// from the client. Nothing is waited for.
    fn drop_rest(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Gone => return,
        };
        let mut rest = [0; 2048];
        // As much as a socket usually holds; a client that goes on and on is not owed more.
        let _all = (0..32).take_while(|_| stream.try_read(&mut rest).is_ok_and(|read| read > 0)).count();
    }
}
