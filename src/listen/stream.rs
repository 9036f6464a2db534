//! An accepted connection: TCP or a Unix socket. An enum, so that an idle one costs no allocation.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr as UnixAddr;
use tokio::net::{TcpStream, UnixStream};

use super::proxy::{Proxied, ProxyError, Reader};
use crate::hooks::Endpoint;

/// Octets from and to a client.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Reads the header that a proxy sends first, and nothing beyond it.
    ///
    /// # Errors
    /// When there is no good one.
    pub(crate) async fn read_proxy(&mut self) -> Result<Proxied, ProxyError> {
        let (mut reader, mut scratch) = (Reader::default(), [0; 256]);
        loop {
            let room = scratch.get_mut(..reader.wants().min(256)).unwrap_or_default();
            let read = self.read(room).await.unwrap_or_default();
            match room.get(..read) {
                None | Some([]) => return Err(ProxyError::Cut),
                Some(octets) => {
                    if let Some(proxied) = reader.take(octets)? {
                        return Ok(proxied);
                    }
                }
            }
        }
    }

    /// Octets that are here already.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(into),
            Self::Unix(stream) => stream.try_read(into),
        }
    }

    /// Sends words and goes, without waiting: the socket's buffer takes them.
    pub(crate) fn leave(self, words: &[u8]) {
        let socket = socket2::SockRef::from(&self);
        // Nobody is left to be told of an error.
        if !words.is_empty() {
            let _ = socket.send(words);
        }
        let _ = socket.shutdown(std::net::Shutdown::Write);
        // What the client has sent already would make the system answer with a reset, and that takes the words away from it.
        let mut rest = [std::mem::MaybeUninit::uninit(); 2048];
        let _ = socket.recv(&mut rest);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// One end of a Unix socket. Clients rarely bind theirs, so that it has no path.
pub(crate) fn unix_endpoint(address: &UnixAddr) -> Endpoint {
    unix_path(address.as_pathname().unwrap_or(Path::new("")))
}

/// A client on this machine that has no path either: the system tells whose it is.
pub fn local_client(user: u32) -> Endpoint {
    Endpoint { address: format!("unix:uid={user}").into(), port: 0 }
}

/// The same of a path. It ends up in logs and in trace fields, so one that has more than plain letters is left out.
pub(crate) fn unix_path(path: &Path) -> Endpoint {
    let plain = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-@:+=,~".contains(&b));
    let path = path.to_str().filter(plain).unwrap_or_default();
    Endpoint { address: format!("unix:{path}").into(), port: 0 }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
