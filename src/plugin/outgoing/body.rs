//! Bodies on their way, with an end: after so many octets, at a time, with the call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::Error;

/// When an exchange is over, done or not.
#[derive(Clone, Debug)]
pub(super) struct Until {
    pub end: Instant,
    pub call: CancellationToken,
}

impl Until {
    fn is_past(&self) -> bool {
        self.call.is_cancelled() || Instant::now() >= self.end
    }

    /// Done when it is over.
    pub(super) async fn past(&self) {
        // Either way it is over.
        let _ = tokio::time::timeout_at(self.end, self.call.cancelled()).await;
    }
}

/// A body that fails where it is larger or later than it may be.
pub(super) struct Bounded<B> {
    body: B,
    max: u64,
    left: u64,
    too_large: fn(Option<u64>) -> Error,
    until: Until,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B> Bounded<B> {
    pub(super) fn new(body: B, max: u64, too_large: fn(Option<u64>) -> Error, until: Until) -> Self {
        Self { body, max, left: max, too_large, until, pause: None }
    }

    /// It also fails when nothing comes for so long.
    pub(super) fn with_pause(mut self, pause: Option<Duration>) -> Self {
        self.pause = pause.map(|pause| (pause, Box::pin(sleep(pause))));
        self
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(size).ok_or_else(|| (self.too_large)(Some(self.max)))?;
        if let Some((pause, timer)) = &mut self.pause {
            timer.as_mut().reset(Instant::now() + *pause);
        }
        Ok(())
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Asked afterwards: a connection that was given up looks like a body that came to its end.
        if self.until.is_past() {
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.count(&frame).map(|()| frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let timer = self.pause.as_mut().map(|(_, timer)| timer.as_mut().poll(context));
                match timer {
                    Some(Poll::Ready(())) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                    Some(Poll::Pending) | None => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
