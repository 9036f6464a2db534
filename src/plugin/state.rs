//! What one store holds: the call that is running, the handles given out for it, and the memory its instance took.
//!
//! One plugin per store and one call at a time. Nothing of a call survives it: [`State::end`] forgets its facts, its
//! journal and its rows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::ResourceLimiter;
use wasmtime::component::Resource;

use super::bindings::waypost::plugin::types::{ErrorCode, HostError};
use super::calls::Shared;
use super::new_body::NewBody;
use super::tape::Tape;
use super::turns::Long;
use super::wasi::{Place, Wasi};
use crate::hooks::{Edit, EditError, Hook, Journal, MessageFacts, Subject};
use crate::mail::NoteError;
use crate::store::Content;

/// What handles are typed by in the bindings; nothing stands behind them but a row number.
#[expect(unreachable_pub, reason = "the bindings re-export them")]
pub(crate) mod marks {
    /// Stands for the session of the running call.
    #[derive(Debug)]
    pub struct Session;
    /// Stands for its transaction.
    #[derive(Debug)]
    pub struct Transaction;
    /// Stands for its message.
    #[derive(Debug)]
    pub struct Message;
    /// Stands for its delivery.
    #[derive(Debug)]
    pub struct Delivery;
    /// Stands for a place in the message.
    #[derive(Debug)]
    pub struct Reader;
    /// Stands for a body on its way.
    #[derive(Debug)]
    pub struct Writer;
}

pub(crate) use marks::{Delivery, Message, Reader, Session, Transaction, Writer};

/// Writers in one call: each may hold a body in the spool.
const WRITERS_MAX: usize = 4;

/// Edits of one call: ten for each recipient of a message that has as many as are usually taken, 1000. Each is held, and made,
/// in the relay.
const EDITS_MAX: usize = 10_000;

/// Octets of all of them, bodies not counted, which are spooled: four times the header section that is usually taken, 256 KiB.
const EDITS_OCTETS_MAX: usize = 1 << 20;

/// What stands behind a handle.
#[derive(Debug)]
pub(crate) enum Row {
    /// One of the call's facts.
    Fact,
    /// See [`Reader`].
    Reader(ReadAt),
    /// See [`Writer`]; empty while it is being written to.
    Writer(Option<NewBody>),
    /// Dropped by the guest.
    Gone,
}

/// Where a reader stands.
#[derive(Clone, Debug)]
pub(crate) struct ReadAt {
    /// What comes before the body: nothing, or the header section and its separator.
    pub head: bytes::Bytes,
    /// The body.
    pub body: Content,
    /// Octets read so far.
    pub at: u64,
}

/// Handles given out, by numbers that only grow: one that a guest kept never reaches another call's row.
#[derive(Debug)]
pub(crate) struct Rows {
    base: u32,
    rows: Vec<Row>,
    /// Given out in one call. Four kinds of facts, some readers and writers: who needs more leaks.
    most: usize,
    /// Writers among them, dropped ones too: the journal keeps every body that took another's place.
    writers: usize,
}

impl Rows {
    fn new(most: usize) -> Self {
        Self { base: 0, rows: Vec::new(), most, writers: 0 }
    }

    /// Gives out a row.
    pub(crate) fn push<T: 'static>(&mut self, row: Row) -> Result<Resource<T>, HostError> {
        let at = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let number = self.base.checked_add(at).filter(|_| self.rows.len() < self.most);
        let number = number.ok_or_else(|| {
            error(ErrorCode::Exhausted, format!("more than {} handles in one call (`limits.handles`)", self.most))
        })?;
        self.writers += usize::from(matches!(row, Row::Writer(_)));
        self.rows.push(row);
        Ok(Resource::new_own(number))
    }

    /// The row behind a handle, if it is of the running call.
    pub(crate) fn at<T: 'static>(&mut self, handle: &Resource<T>) -> Option<&mut Row> {
        let at = handle.rep().checked_sub(self.base)?;
        self.rows.get_mut(usize::try_from(at).ok()?).filter(|row| !matches!(row, Row::Gone))
    }

    /// The guest drops a handle. One that is not known is of an earlier call: no harm.
    pub(crate) fn drop<T: 'static>(&mut self, handle: &Resource<T>) {
        if let Some(row) = self.at(handle) {
            *row = Row::Gone;
        }
    }

    fn sweep(&mut self) {
        let used = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.base = self.base.saturating_add(used);
        self.rows.clear();
        self.writers = 0;
    }
}

/// Data of one store.
pub(crate) struct State {
    /// The plugin.
    pub shared: Arc<Shared>,
    /// The station; none outside a hook (at load).
    pub hook: Option<Hook>,
    /// What the call is about, with its own edits made, but for header edits.
    pub subject: Subject,
    /// The message as the hook found it, once this call has replaced its body.
    pub entered: Option<Arc<MessageFacts>>,
    /// Its edits so far.
    pub journal: Journal,
    /// Octets of them.
    edited: usize,
    /// Its handles.
    pub rows: Rows,
    /// Milliseconds that the clock found the guest computing in this call.
    pub spent: u32,
    /// It ran past a tick.
    long: Option<Long>,
    /// How many it may have.
    pub budget: u32,
    /// When this call has no use any more for what it waits for; none outside a hook.
    pub patience: Option<Instant>,
    /// Services of the relay it called in this call.
    pub host_calls: u32,
    /// Names it looked up in this call.
    pub lookups: u32,
    /// Octets of linear memory.
    pub memory: usize,
    /// The guest wanted more than it may have.
    pub refused_memory: bool,
    /// WASI, once the guest has used any of it.
    pub wasi: Option<Box<Wasi>>,
    /// All its calls are recorded, or replayed.
    pub tape: Option<Tape>,
    memory_max: usize,
}

impl State {
    pub(crate) fn new(shared: Arc<Shared>, memory_max: usize, tape: Option<Tape>) -> Self {
        let rows = Rows::new(shared.limits.handles);
        Self {
            shared,
            hook: None,
            subject: Subject::default(),
            entered: None,
            journal: Journal::default(),
            edited: 0,
            rows,
            spent: 0,
            long: None,
            budget: 0,
            patience: None,
            host_calls: 0,
            lookups: 0,
            memory: 0,
            refused_memory: false,
            wasi: None,
            tape,
            memory_max,
        }
    }

    /// Begins a call.
    pub(crate) fn begin(&mut self, hook: Option<Hook>, subject: Subject, budget: u32) {
        self.hook = hook;
        self.subject = subject;
        self.spent = 0;
        self.long = None;
        self.patience = None;
        self.host_calls = 0;
        self.lookups = 0;
        self.edited = 0;
        self.budget = budget;
        if let Some(wasi) = &mut self.wasi {
            wasi.begin(Place::of(self.hook, &self.subject));
        }
    }

    /// A tick found the call computing: done when it may go on.
    pub(crate) fn turn(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let turns = &self.shared.turns;
        self.long.get_or_insert_with(|| turns.long()).turn()
    }

    /// Counts a call of one of the relay's services. Past the limit it is a trap: who calls on and on does not look at
    /// errors.
    pub(crate) fn charge(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        let most = self.shared.limits.host_calls;
        if self.host_calls <= most {
            return Ok(());
        }
        Err(wasmtime::Error::msg(format!(
            "it called the relay's services more than {most} times in one call (`limits.host-calls`)"
        )))
    }

    /// Ends it: what is left is the journal.
    pub(crate) fn end(&mut self) -> Journal {
        self.hook = None;
        self.long = None;
        self.entered = None;
        self.rows.sweep();
        if let Some(wasi) = &mut self.wasi {
            wasi.end();
        }
        let mut journal = std::mem::take(&mut self.journal);
        let made = std::mem::take(&mut self.subject);
        if !journal.is_empty() {
            journal.made = Some(made);
        }
        journal
    }

    /// Services of the relay it called so far, requests over HTTP among them.
    pub(crate) fn host_calls(&self) -> u32 {
        self.host_calls.saturating_add(self.wasi.as_ref().map_or(0, |wasi| wasi.requests()))
    }

    /// Writes an edit down, and makes it on the call's own view of its subject.
    pub(crate) fn edit(&mut self, edit: Edit) -> Result<(), HostError> {
        let edited = self.edited.saturating_add(edit.octets());
        if self.journal.edits.len() >= EDITS_MAX {
            return Err(error(ErrorCode::Exhausted, format!("more than {EDITS_MAX} edits in one call")));
        }
        if edited > EDITS_OCTETS_MAX {
            return Err(error(ErrorCode::Exhausted, "the edits of one call are beyond 1 MiB"));
        }
        self.subject.edit(&edit, &self.shared.name, &self.shared.version).map_err(|e| refused(&e))?;
        self.journal.edits.push(edit);
        self.edited = edited;
        Ok(())
    }

    /// `not-here` unless the call is at one of these hooks.
    pub(crate) fn only_at(&self, hooks: &[Hook]) -> Result<(), HostError> {
        match self.hook {
            Some(hook) if hooks.contains(&hook) => Ok(()),
            _ => Err(error(ErrorCode::NotHere, "not allowed at this hook")),
        }
    }

    /// `exhausted` when the call has all the writers it may have.
    pub(crate) fn room_for_a_writer(&self) -> Result<(), HostError> {
        if self.rows.writers < WRITERS_MAX {
            return Ok(());
        }
        Err(error(ErrorCode::Exhausted, "too many body writers in one call"))
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        let fits = total <= self.memory_max;
        if fits {
            self.memory = total;
        }
        self.refused_memory |= !fits;
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.shared.limits.table)
    }

    fn instances(&self) -> usize {
        200
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        16
    }
}

/// An error for a guest.
pub(crate) fn error(code: ErrorCode, detail: impl Into<String>) -> HostError {
    HostError { code, detail: detail.into() }
}

/// The handle is of an earlier call, or was dropped.
pub(crate) fn dead() -> HostError {
    error(ErrorCode::NotHere, "the handle is no longer good")
}

/// For functions that have no error to answer with.
pub(crate) fn dead_trap() -> wasmtime::Error {
    wasmtime::Error::msg("a handle was used that is no longer good: ask for it again in each hook")
}

fn refused(why: &EditError) -> HostError {
    let code = match why {
        EditError::Note(NoteError::PluginFull | NoteError::Full) => ErrorCode::Exhausted,
        EditError::Header(_) => ErrorCode::InvalidArgument,
        EditError::NotHere => ErrorCode::NotHere,
        EditError::Recipient(_) => ErrorCode::NotFound,
    };
    error(code, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_out_twice() {
        let mut rows = Rows::new(10);
        let kept: Resource<Message> = rows.push(Row::Fact).unwrap();
        let dropped: Resource<Message> = rows.push(Row::Fact).unwrap();
        rows.drop(&dropped);
        assert!(rows.at(&kept).is_some() && rows.at(&dropped).is_none());
        rows.sweep();
        let new: Resource<Message> = rows.push(Row::Fact).unwrap();
        assert_ne!(new.rep(), kept.rep());
        assert!(rows.at(&kept).is_none());
        rows.drop(&kept);
        assert!(rows.at(&new).is_some(), "dropping an old handle is harmless");
    }

    #[test]
    fn a_writer_that_was_dropped_counts_until_the_call_ends() {
        let mut rows = Rows::new(10);
        for writers in 1..=3 {
            let writer: Resource<Writer> = rows.push(Row::Writer(None)).unwrap();
            rows.push::<Message>(Row::Fact).unwrap();
            rows.drop(&writer);
            assert_eq!(rows.writers, writers);
        }
        rows.sweep();
        assert_eq!(rows.writers, 0);
    }

    #[test]
    fn a_call_that_leaks_handles_is_stopped() {
        let mut rows = Rows::new(1024);
        let pushed = (0..2000).take_while(|_| rows.push::<Message>(Row::Fact).is_ok()).count();
        assert_eq!(pushed, 1024);
    }
}
