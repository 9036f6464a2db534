//! HTTP over the admin socket, as much of it as the relay's own answers need: one request, one answer, whole or as it comes.
//!
//! For this machine's own relay only. Sizes are bounded all the same: what answers may be anything that listens there.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::admin::ClientError;

/// A line of a header section, or of a stream of events.
const LINE: u64 = 1 << 20;
/// A whole answer.
const BODY: usize = 16 << 20;
const FIELDS: usize = 100;

/// An answer that comes.
pub(super) struct Answer {
    from: BufReader<UnixStream>,
    /// 200, 404.
    pub(super) status: u16,
    body: Body,
    /// What was read of the body and not handed out.
    held: Vec<u8>,
}

enum Body {
    /// So many octets are left.
    Sized(u64),
    /// In chunks; so many octets of the one at hand are left.
    Chunked(u64),
    /// Until the end of the connection.
    Open,
    Over,
}

fn broken(why: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(why.to_string())
}

impl Answer {
    /// Asks, and reads the head of the answer.
    pub(super) async fn get(socket: &Path, target: &str) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).await;
        let mut stream = stream.map_err(|error| ClientError::NotReachable(socket.to_owned(), error))?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: waypost\r\nAccept: */*\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut answer = Self { from: BufReader::new(stream), status: 0, body: Body::Open, held: Vec::new() };
        let line = answer.raw_line().await?.ok_or_else(|| broken("nothing came"))?;
        let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|c| c.parse().ok());
        answer.status = code.ok_or_else(|| broken("it does not speak HTTP: is it an older relay?"))?;
        for _ in 0..FIELDS {
            let line = answer.raw_line().await?.ok_or_else(|| broken("its header section is cut off"))?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", length) => answer.body = Body::Sized(length.parse().map_err(broken)?),
                ("transfer-encoding", "chunked") => answer.body = Body::Chunked(0),
                _ => {}
            }
        }
        Err(broken("its header section has no end"))
    }

    /// All of the body.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, ClientError> {
        while self.more().await? {
            if self.held.len() > BODY {
                return Err(broken("it is too long"));
            }
        }
        Ok(self.held)
    }

    /// The next line of the body, without its end; none where the body is over.
    pub(super) async fn line(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(at) = self.held.iter().position(|octet| *octet == b'\n') {
                let rest = self.held.split_off(at + 1);
                let line = std::mem::replace(&mut self.held, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()));
            }
            if self.held.len() as u64 > LINE {
                return Err(broken("a line of it is too long"));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads on; false at the end of the body.
    async fn more(&mut self) -> Result<bool, ClientError> {
        if let Body::Chunked(0) = self.body {
            let mut line = self.raw_line().await?.unwrap_or_default();
            // The line after the chunk before.
            if line.is_empty() {
                line = self.raw_line().await?.unwrap_or_default();
            }
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| broken("it broke off"))?;
            self.body = if size == 0 { Body::Over } else { Body::Chunked(size) };
        }
        let most = match self.body {
            Body::Over | Body::Sized(0) => return Ok(false),
            Body::Sized(left) | Body::Chunked(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Body::Open => usize::MAX,
        };
        let mut buffer = [0; 8192];
        let room = buffer.get_mut(..most.min(8192)).unwrap_or_default();
        let read = self.from.read(room).await.map_err(broken)?;
        if read == 0 {
            return if matches!(self.body, Body::Open) { Ok(false) } else { Err(broken("it broke off")) };
        }
        self.held.extend(buffer.iter().take(read));
        match &mut self.body {
            Body::Sized(left) | Body::Chunked(left) => *left = left.saturating_sub(read as u64),
            Body::Open | Body::Over => {}
        }
        Ok(true)
    }

    /// A line as it is on the wire; none at its end.
    async fn raw_line(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.from).take(LINE).read_until(b'\n', &mut line).await.map_err(broken)?;
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        Ok((read > 0).then_some(text))
    }
}

/// A value in a query: all but letters, digits and a few signs as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(octet).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use std::path::PathBuf;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Answers every request at a socket with these octets; what was asked comes back first.
    pub(in crate::cli) fn answering(
        octets: &'static [u8],
    ) -> (tempfile::TempDir, PathBuf, tokio::sync::mpsc::Receiver<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (tell, told) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                let _ = tell.send(String::from_utf8_lossy(&buffer[..read]).into_owned()).await;
                let _ = stream.write_all(octets).await;
            }
        });
        (dir, path, told)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::answering;
    use super::*;

    #[tokio::test]
    async fn answers_come_whole_or_in_chunks_or_until_the_end() {
        for octets in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na\nb\ncrubbish".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n2;x=y\r\n\nc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: y\r\n\r\na\nb\nc",
        ] {
            let (_dir, path, mut told) = answering(octets);
            let answer = Answer::get(&path, "/api/v1/rates").await.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.whole().await.unwrap(), b"a\nb\nc");
            assert!(told.recv().await.unwrap().starts_with("GET /api/v1/rates HTTP/1.1\r\n"));
            let mut answer = Answer::get(&path, "/").await.unwrap();
            assert_eq!(answer.line().await.unwrap().as_deref(), Some("a"));
            assert_eq!(answer.line().await.unwrap().as_deref(), Some("b"));
        }
    }

    #[tokio::test]
    async fn what_is_cut_off_or_no_http_is_an_error() {
        for octets in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer",
            b"{\"refused\":[]}\n",
            b"",
        ] {
            let (_dir, path, _told) = answering(octets);
            let whole = match Answer::get(&path, "/").await {
                Ok(answer) => answer.whole().await.err(),
                Err(error) => Some(error),
            };
            assert!(matches!(whole, Some(ClientError::Broken(_))), "{:?}", String::from_utf8_lossy(octets));
        }
        assert_eq!(escaped("ann+x@example.org"), "ann%2Bx%40example.org");
    }
}
