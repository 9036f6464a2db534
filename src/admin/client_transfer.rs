//! The command line's end of the admin socket, for messages that leave the queue for a backup and come back.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::client::unexpected;
use super::{Client, ClientError, Done, Request, frame};

/// Octets passed on at a time.
const PIECE: usize = 64 << 10;

impl Client {
    /// The record of a message as JSON, then its content piece by piece.
    ///
    /// # Errors
    /// When there is none of that id, it can't be read, or one of the two fails.
    pub async fn queue_export(
        &mut self,
        id: String,
        mut record: impl FnMut(&Value) -> io::Result<()>,
        mut content: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let broken = |error: String| ClientError::Broken(error);
        let mut first = true;
        let each = |item: Value| {
            if std::mem::take(&mut first) {
                return record(&item).map_err(|error| broken(error.to_string()));
            }
            let octets =
                STANDARD.decode(item.as_str().unwrap_or_default()).map_err(|error| broken(error.to_string()))?;
            content(&octets).map_err(|error| broken(error.to_string()))
        };
        match self.ask_each(&Request::QueueExport { id }, each).await? {
            Done::Content(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a message taken back, with its record and so many octets of content.
    ///
    /// # Errors
    /// When there is one of its id, or it can't be taken; [`ClientError::Broken`] where the connection is of no use any more.
    pub async fn queue_import(
        &mut self,
        record: &[u8],
        size: u64,
        content: &mut impl Read,
    ) -> Result<String, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let request = Request::QueueImport { record: record.len() as u64, content: size };
        frame::write(&mut self.to, &request).await.map_err(broken)?;
        self.to.write_all(record).await.map_err(broken)?;
        let (mut left, mut piece) = (size, vec![0; PIECE]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let room = piece.get_mut(..most).unwrap_or_default();
            content.read_exact(room).map_err(broken)?;
            self.to.write_all(room).await.map_err(broken)?;
            left -= most as u64;
        }
        self.to.flush().await.map_err(broken)?;
        match self.answer::<()>(|()| Ok(())).await? {
            Done::Imported { id } => Ok(id),
            other => Err(unexpected(&other)),
        }
    }
}
