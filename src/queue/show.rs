//! Looking at single messages.

use std::sync::Arc;

use bytes::Bytes;

use super::backlog::Place;
use super::{Queue, QueueError, Record, Shared, keys, stored};
use crate::mail::QueueId;
use crate::store::{Content, StoreError};

/// How often a message that is being shown may be moved meanwhile.
const MOVES: u32 = 5;

impl Queue {
    /// One message: its record and its trace, header section and empty line.
    ///
    /// # Errors
    /// When the store can't be read, or what it holds of the message is damaged.
    pub async fn show(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes)>, QueueError> {
        let mut moved = 0;
        loop {
            let shared = Arc::clone(&self.shared);
            let shown = tokio::task::spawn_blocking(move || shared.show(id)).await;
            match shown.unwrap_or(Err(StoreError::Closed.into())) {
                // The write that moved it may not be applied yet: let it be, and look where it is then.
                Err(QueueError::Store(StoreError::Damaged(_))) if moved < MOVES => self.shared.barrier().await?,
                done => return done,
            }
            moved += 1;
        }
    }
}

impl Queue {
    /// One message with all of its content, of which no reading is under way: for rehearsals and tools.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn whole(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes, Content)>, QueueError> {
        self.shared.barrier().await?;
        let shared = Arc::clone(&self.shared);
        let read = move || {
            let Some((record, place)) = shared.find(id)? else { return Ok(None) };
            let hot = shared.backlog.lock().get(id).and_then(|active| active.hot.clone());
            let (head, body) = match hot {
                Some(hot) => (hot.head, hot.body),
                None => {
                    let read = shared.read_content(&record, place);
                    // Asked after it was opened: let go of before, its place may hold another's body; later, that waits
                    // for the reader.
                    if shared.find(id)?.is_none_or(|(now, _)| now.body != record.body) {
                        return Ok(None);
                    }
                    read?
                }
            };
            Ok(Some((record, head, body)))
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed.into()))
    }
}

impl Shared {
    /// Blocks.
    fn show(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes)>, QueueError> {
        let Some((record, place)) = self.find(id)? else { return Ok(None) };
        let hot = self.backlog.lock().get(id).and_then(|active| active.hot.as_ref().map(|hot| hot.head.clone()));
        if let Some(head) = hot {
            return Ok(Some((record, head)));
        }
        let (blob, size) = (self.read_blob(&record, place)?, record.head_size as usize);
        if blob.len() < size {
            return Err(StoreError::Damaged("the head is not whole".into()).into());
        }
        Ok(Some((record, blob.slice(..size))))
    }

    /// A message, wherever it is.
    pub(super) fn find(&self, id: QueueId) -> Result<Option<(Arc<Record>, Place)>, QueueError> {
        if let Some(current) = self.backlog.lock().current(id) {
            return Ok(current);
        }
        let damaged = |error: stored::FormError| QueueError::Damaged(id, error.to_string().into());
        if let Some(value) = self.store.get(keys::TREE, &keys::fresh(id))? {
            return stored::decode(&value).map(|(record, _)| Some((Arc::new(record), Place::Fresh))).map_err(damaged);
        }
        let Some(value) = self.store.get(keys::TREE, &keys::waiting(id))? else { return Ok(None) };
        let (record, _) = stored::decode(&value).map_err(damaged)?;
        let place = super::accept::later_place(&record);
        Ok(Some((Arc::new(record), place)))
    }
}
