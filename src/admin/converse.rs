//! One connection to the API, from its first octet to its end.
//!
//! Heads are bounded in size and time, and so is the time for which a client reads nothing of what it is sent: whoever has
//! gone without a word, or never wanted an answer, must not keep a place.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::http::Origin;
use super::places::{Asking, Rest, Visit};
use super::server::Served;

/// Octets of the head of a request: a filter with two thousand ids fits.
pub(super) const HEAD: usize = 64 << 10;
/// Fields of it: what browsers and proxies add, several times.
const FIELDS: usize = 100;
/// For which a client may read nothing of what it is sent: what it saves may wait for its disk.
pub(super) const UNREAD: Duration = Duration::from_secs(60);

/// Serves one connection to its end, or until `shutdown`, when what is under way is answered first.
pub(super) async fn converse<S>(
    stream: S,
    origin: Origin,
    served: Served,
    visit: Arc<Visit>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(served.routes);
    let asked = visit.clone();
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        let rest = if request.body().is_end_stream() { Rest::None } else { Rest::Comes };
        let asking = asked.asks(rest, Instant::now());
        request.extensions_mut().insert(origin);
        let answered = routes.call(request.map(|body| Came { body, visit: asked.clone() }));
        async move { answered.await.map(|response| response.map(|body| Told { body, _asking: asking })) }
    });
    let mut builder = http1::Builder::new();
    // The visit has the deadlines: hyper's would be the same between requests and within one.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_buf_size(HEAD).max_header_size(HEAD).max_headers(FIELDS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = visit.over() => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = visit.over() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// The body of a request that comes.
struct Came {
    body: Incoming,
    visit: Arc<Visit>,
}

impl Body for Came {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.visit.asked();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is being told.
struct Told {
    body: axum::body::Body,
    _asking: Asking,
}

impl Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that tells the visit of what comes, and fails once the client has read nothing for too long.
pub(super) struct Patient<S> {
    stream: S,
    visit: Arc<Visit>,
    /// Since when nothing could be written, and until when that is borne.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, visit: Arc<Visit>) -> Self {
        Self { stream, visit, unread: None }
    }

    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.unread.take().is_some() {
                self.visit.reads_nothing(None);
            }
            return written;
        }
        let visit = &self.visit;
        let unread = self.unread.get_or_insert_with(|| {
            visit.reads_nothing(Some(Instant::now()));
            Box::pin(tokio::time::sleep(UNREAD))
        });
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.visit.heard(Instant::now());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
