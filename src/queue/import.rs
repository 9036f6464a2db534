//! Messages that come back from a backup, and stored records brought into the form of today.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::refill::after;
use super::{Incoming, Queue, QueueError, Record, keys, stored};
use crate::mail::{Mailbox, Param, QueueId, QueueIds};
use crate::store::{Store, StoreError, Write};
use crate::time::Timestamp;

/// Records looked at, and written in one batch, at a time.
const PAGE: usize = 256;

/// One that was tried is never taken for a fresh one: it is due a moment later.
const SOON: Duration = Duration::from_secs(1);

/// How far clocks of two machines may be apart.
const AHEAD: Duration = Duration::from_secs(86_400);

/// How often, and how far apart, it is looked whether an id is free again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

impl Queue {
    /// Takes a message with the id it had, durable when this returns; false, and nothing is taken, if there is one of that id.
    ///
    /// # Errors
    /// As [`Self::accept`]; and [`QueueError::Damaged`] for one that no queue can have had.
    pub async fn import(&self, mut incoming: Incoming) -> Result<bool, QueueError> {
        let id = incoming.record.id;
        sound(&incoming.record, self.shared.clock.now()).map_err(|why| QueueError::Damaged(id, why.into()))?;
        let shared = Arc::clone(&self.shared);
        let known = tokio::task::spawn_blocking(move || shared.find(id).map(|found| found.is_some())).await;
        if known.unwrap_or(Err(StoreError::Closed.into()))? {
            return Ok(false);
        }
        self.let_go(id).await?;
        let now = self.shared.clock.now();
        for recipient in &mut incoming.record.recipients {
            let state = &mut recipient.state;
            // The rules of another time or place are not those in force here.
            let waits = state.parked.take().is_some();
            if state.attempts > 0 && (state.due <= now || waits) {
                state.due = now.plus(SOON);
            }
        }
        self.shared.ids.start_above(id);
        let taken = self.accept(incoming).await?;
        if taken != id {
            // Only where two bring back the same message at the same moment.
            tracing::warn!(%id, %taken, "a message that came back has another id");
        }
        Ok(true)
    }
}

impl Queue {
    /// Waits until nothing is remembered of a message that left the queue a moment ago.
    async fn let_go(&self, id: QueueId) -> Result<(), QueueError> {
        for _ in 0..TRIES {
            self.shared.barrier().await?;
            let remembered = {
                let mut backlog = self.shared.backlog.lock();
                backlog.forget(self.shared.store.applied());
                backlog.remembers(id)
            };
            if !remembered {
                return Ok(());
            }
            // Somebody is going through the queue just now.
            tokio::time::sleep(PAUSE).await;
        }
        Err(QueueError::Recent(id))
    }
}

/// Whether a record can be one that a queue had: what it says goes into commands and keys as it is.
fn sound(record: &Record, now: Timestamp) -> Result<(), &'static str> {
    // Ids only grow, from the highest one that was seen: one of another century would be the last there is.
    let newest = QueueIds::default().next(now.plus(AHEAD));
    if record.id.to_u64() == 0 || record.id > newest {
        return Err("its id is of no time there was");
    }
    let plain = |text: &str| !text.chars().any(char::is_control);
    let mailbox = |mailbox: &Mailbox| plain(&mailbox.local_part) && plain(mailbox.domain.as_str());
    let params = |params: &[Param]| {
        let word = |text: &str| text.bytes().all(|octet| octet > b' ' && octet != 127);
        params.iter().all(|param| word(&param.keyword) && param.value.as_deref().is_none_or(word))
    };
    let recipients = &record.recipients;
    let addresses = recipients.iter().all(|r| mailbox(&r.mailbox) && mailbox(&r.original) && params(&r.params));
    if !addresses || !record.sender.0.as_ref().is_none_or(mailbox) || !params(&record.sender_params) {
        return Err("an address or a parameter in it can't be sent");
    }
    let indices: HashSet<u32> = recipients.iter().map(|recipient| recipient.index).collect();
    if recipients.is_empty() || indices.len() != recipients.len() {
        return Err("its recipients are none, or not told apart");
    }
    Ok(())
}

/// What a migration found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Records in the form of today already.
    pub current: u64,
    /// Records of an older form, which are of today's now.
    pub rewritten: u64,
    /// Records that can't be read; they are left as they are.
    pub damaged: u64,
}

/// Brings every record of a queue that nobody has open into the form that this program writes. Each batch is flushed before the
/// next one begins: broken off, it goes on where it was. With `look`, nothing is written. Blocks, within a tokio runtime.
///
/// # Errors
/// When the store can't be read or written, or holds records of a later version.
pub fn migrate(store: &dyn Store, look: bool) -> Result<Migrated, QueueError> {
    let runtime = tokio::runtime::Handle::current();
    let mut migrated = Migrated::default();
    for prefix in [b'n', b'm'] {
        let mut from = bytes::Bytes::copy_from_slice(&[prefix]);
        loop {
            let page = store.range(keys::TREE, &from, &keys::end(prefix), PAGE)?;
            let mut writes = Vec::new();
            for (key, value) in &page {
                let Some(id) = keys::id_of(key) else { continue };
                match stored::renewed(value) {
                    Ok(None) => migrated.current += 1,
                    Ok(Some(value)) => {
                        migrated.rewritten += 1;
                        writes.push(Write::Put { key: key.clone(), value });
                    }
                    Err(error @ stored::FormError::Future(_)) => return Err(later(id, &error)),
                    Err(_) => migrated.damaged += 1,
                }
            }
            if !look && !writes.is_empty() {
                runtime.block_on(store.commit(keys::TREE, writes))?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = after(key),
                _ => break,
            }
        }
    }
    Ok(migrated)
}

fn later(id: QueueId, error: &stored::FormError) -> QueueError {
    QueueError::Damaged(id, error.to_string().into())
}

/// The file beside the database that says of which form the newest records in it are.
const FORM_FILE: &str = "form";

/// Says so, or that a later version of this program wrote here. Called before the queue is opened.
///
/// # Errors
/// What to do, for people.
pub fn check_form(folder: &Path) -> Result<(), String> {
    let path = folder.join(FORM_FILE);
    let own = stored::VERSION;
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u8>() {
            Ok(form) if form > own => Err(format!(
                "the queue in {} was written by a later version of this program (form {form}, this one knows {own}): \
                 install that version again, or take a backup with it and restore that here",
                folder.display()
            )),
            Ok(form) if form == own => Ok(()),
            Ok(_) | Err(_) => write_form(&path, own),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_form(&path, own),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn write_form(path: &Path, form: u8) -> Result<(), String> {
    std::fs::write(path, format!("{form}\n")).map_err(|error| format!("{}: {error}", path.display()))
}
