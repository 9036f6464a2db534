//! One JSON value a line, with a limit on the line: what a peer sends never decides how much memory is used.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Requests: a filter with a thousand ids has 16 KiB.
pub(super) const REQUEST_MAX: usize = 64 << 10;
/// Lines of answers: a message with its header section and a thousand recipients fits many times.
pub(super) const RESPONSE_MAX: usize = 16 << 20;

/// The next value; none at the end.
///
/// # Errors
/// `InvalidData` for a line that is too long or not such a value.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let bounded = limit as u64 + 1;
    from.take(bounded).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if line.pop() != Some(b'\n') {
        let why =
            if line.len() >= limit { format!("a line of more than {limit} octets") } else { "a cut-off line".into() };
        return Err(invalid(why));
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| invalid(error.to_string()))
}

/// Writes a value and its line end, in one piece.
pub(super) async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await
}
