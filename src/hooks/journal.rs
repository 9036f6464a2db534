//! The journal: every edit of one call, written down while the hook runs and applied only if it returned ok.
//!
//! Pure. So there is no half-edited message after a trap, and a shadow run is a journal thrown away.

use std::sync::Arc;

use crate::mail::{BodyKind, HeaderEdit, Mailbox, NoteError, Recipient, ReversePath};
use crate::smtp::Extension;
use crate::store::Content;

use super::{Subject, TransactionFacts};

/// The edits of one call of one plugin, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// In order.
    pub edits: Vec<Edit>,
    /// The subject with all of them made, if whoever wrote them down made them on a copy as well: then they need not be
    /// made again. Of header edits see [`Journal::complete`].
    pub made: Option<Subject>,
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
    /// An extension that the client is not to be offered.
    Withhold(Extension),
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
    ReplaceBody {
        /// It.
        body: Content,
        /// The plugin wrote octets beyond ASCII into it. What it copied is as the client declared it.
        eight_bit: bool,
    },
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
    /// True when the call changed nothing.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Applies every edit, or none.
    ///
    /// # Errors
    /// [`EditError`]; `subject` is unchanged then.
    pub fn apply(&mut self, subject: &mut Subject, plugin: &Arc<str>, version: &Arc<str>) -> Result<(), EditError> {
        if self.edits.is_empty() {
            return Ok(());
        }
        if let Some(edited) = self.made.take() {
            *subject = edited;
            return Ok(());
        }
        let mut edited = subject.clone();
        for edit in &self.edits {
            if !matches!(edit, Edit::Header(_)) {
                edited.edit(edit, plugin, version)?;
            }
        }
        make_header_edits(&self.edits, &mut edited)?;
        *subject = edited;
        Ok(())
    }

    /// Makes the header edits on `made`, which has all others: whoever wrote the journal down learns whether it fits.
    ///
    /// # Errors
    /// [`EditError`]; the journal is of no use then.
    pub fn complete(&mut self) -> Result<(), EditError> {
        match &mut self.made {
            Some(made) => make_header_edits(&self.edits, made),
            None => Ok(()),
        }
    }
}

/// Their indexes all count fields of the section as it was before the call, so they are made together.
fn make_header_edits(edits: &[Edit], subject: &mut Subject) -> Result<(), EditError> {
    let of_header = |edit: &Edit| match edit {
        Edit::Header(edit) => Some(edit.clone()),
        _ => None,
    };
    let edits: Vec<HeaderEdit> = edits.iter().filter_map(of_header).collect();
    if edits.is_empty() {
        return Ok(());
    }
    let message = Arc::make_mut(subject.message.as_mut().ok_or(EditError::NotHere)?);
    message.header = message.header.edit(&edits)?;
    Ok(())
}

impl Subject {
    /// Makes one edit. A header edit is only checked here: [`Journal::apply`] makes those of a call together.
    ///
    /// # Errors
    /// [`EditError`]; nothing changes then.
    pub fn edit(&mut self, edit: &Edit, plugin: &Arc<str>, version: &Arc<str>) -> Result<(), EditError> {
        match edit {
            Edit::Note { key, value } => {
                let session = Arc::make_mut(self.session.as_mut().ok_or(EditError::NotHere)?);
                session.notes.set(plugin.clone(), version.clone(), key.clone(), value.clone())?;
            }
            Edit::Withhold(extension) => {
                Arc::make_mut(self.session.as_mut().ok_or(EditError::NotHere)?).withheld.set(*extension, true);
            }
            Edit::Annotate { key, value } => self.annotate(plugin, version, key, value.as_ref())?,
            Edit::Tag(tag) => self.transaction_mut()?.tags.push(tag.clone()),
            Edit::SetSender(sender) => match &mut self.delivery {
                Some(delivery) => Arc::make_mut(delivery).sender = sender.clone(),
                None => self.transaction_mut()?.sender = sender.clone(),
            },
            Edit::AddRecipient { index, mailbox } => self.add_recipient(*index, mailbox)?,
            Edit::RemoveRecipient { index } => {
                let transaction = self.transaction_mut()?;
                let at = transaction.recipients.iter().position(|r| r.index == *index);
                Arc::make_mut(&mut transaction.recipients).remove(at.ok_or(EditError::Recipient(*index))?);
            }
            Edit::RewriteRecipient { index, mailbox } => match &mut self.candidate {
                Some(candidate) if candidate.index == *index => candidate.mailbox = mailbox.clone(),
                Some(_) => return Err(EditError::Recipient(*index)),
                None => {
                    let slot = self.transaction_mut()?.recipient_mailbox_mut(*index);
                    *slot.ok_or(EditError::Recipient(*index))? = mailbox.clone();
                }
            },
            Edit::Header(edit) => {
                self.message.as_ref().ok_or(EditError::NotHere)?;
                edit.check()?;
            }
            Edit::ReplaceBody { body, eight_bit } => self.replace_body(body, *eight_bit)?,
            Edit::PrependForAttempt { name, value } => {
                let delivery = Arc::make_mut(self.delivery.as_mut().ok_or(EditError::NotHere)?);
                let field = (name.clone(), value.clone());
                delivery.prepended = std::iter::once(field).chain(delivery.prepended.iter().cloned()).collect();
            }
        }
        Ok(())
    }

    /// Delivery asks of a next hop what the kind says (RFC 6152 section 3): it must stay true.
    fn replace_body(&mut self, body: &Content, eight_bit: bool) -> Result<(), EditError> {
        let message = Arc::make_mut(self.message.as_mut().ok_or(EditError::NotHere)?);
        message.body = body.clone();
        message.separator = true;
        if let Some(transaction) = self.transaction.as_mut().filter(|t| eight_bit && t.body_kind == BodyKind::SevenBit)
        {
            Arc::make_mut(transaction).body_kind = BodyKind::EightBitMime;
        }
        Ok(())
    }

    fn transaction_mut(&mut self) -> Result<&mut TransactionFacts, EditError> {
        self.transaction.as_mut().map(Arc::make_mut).ok_or(EditError::NotHere)
    }

    /// On the delivery where there is one, else on the transaction.
    fn annotate(
        &mut self,
        plugin: &Arc<str>,
        version: &Arc<str>,
        key: &Arc<str>,
        value: Option<&Arc<str>>,
    ) -> Result<(), EditError> {
        let annotations = match &mut self.delivery {
            Some(delivery) => Arc::make_mut(&mut Arc::make_mut(delivery).annotations),
            None => &mut self.transaction_mut()?.annotations,
        };
        match value {
            Some(value) => annotations.set(plugin.clone(), version.clone(), key.clone(), value.clone())?,
            None => annotations.remove(plugin, key),
        }
        Ok(())
    }

    /// The index was given out when the edit was made: it must still be the next one.
    fn add_recipient(&mut self, index: u32, mailbox: &Mailbox) -> Result<(), EditError> {
        let transaction = self.transaction_mut()?;
        if index != transaction.next_index {
            return Err(EditError::Recipient(index));
        }
        transaction.next_index = index.checked_add(1).ok_or(EditError::Recipient(index))?;
        Arc::make_mut(&mut transaction.recipients).push(Recipient {
            index,
            mailbox: mailbox.clone(),
            original: mailbox.clone(),
            params: Vec::new(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::{mailbox, subject};

    #[test]
    fn all_edits_are_made_or_none() {
        let mut subject = subject();
        let good = Edit::AddRecipient { index: 2, mailbox: mailbox("new", "example.net") };
        let bad = Edit::RemoveRecipient { index: 77 };
        let refused =
            Journal { edits: vec![good.clone(), bad], made: None }.apply(&mut subject, &"p".into(), &"1".into());
        assert_eq!(refused, Err(EditError::Recipient(77)));
        assert_eq!(subject.transaction.as_ref().unwrap().recipients.len(), 2);

        let remove = Edit::RemoveRecipient { index: 0 };
        let rewrite = Edit::RewriteRecipient { index: 1, mailbox: mailbox("other", "example.net") };
        Journal { edits: vec![good, remove, rewrite], made: None }
            .apply(&mut subject, &"p".into(), &"1".into())
            .unwrap();
        let transaction = subject.transaction.as_ref().unwrap();
        let left: Vec<_> = transaction.recipients.iter().map(|r| (r.index, &*r.mailbox.local_part)).collect();
        assert_eq!((left, transaction.next_index), (vec![(1, "other"), (2, "new")], 3));
    }

    #[test]
    fn others_who_hold_the_facts_do_not_see_the_edit() {
        let mut subject = subject();
        let before = subject.session.clone().unwrap();
        let note = Edit::Note { key: "k".into(), value: "v".into() };
        Journal { edits: vec![note], made: None }.apply(&mut subject, &"p".into(), &"1.2".into()).unwrap();
        assert!(before.notes.is_empty());
        Journal { edits: vec![Edit::Withhold(Extension::Dsn)], made: None }
            .apply(&mut subject, &"p".into(), &"1".into())
            .unwrap();
        assert!(subject.session.as_ref().unwrap().withheld.has(Extension::Dsn));
        let notes = &subject.session.unwrap().notes;
        assert_eq!(notes.get("p", "k").map(|a| (&*a.value, &*a.version)), Some(("v", "1.2")));
    }

    #[test]
    fn a_candidate_is_the_only_one_to_be_rewritten_at_rcpt() {
        let mut subject = subject();
        let mut candidate = subject.transaction.as_ref().unwrap().recipients[0].clone();
        candidate.index = 2;
        subject.candidate = Some(candidate);
        let rewrite = |index| Journal {
            edits: vec![Edit::RewriteRecipient { index, mailbox: mailbox("x", "y.example") }],
            made: None,
        };
        assert_eq!(rewrite(1).apply(&mut subject, &"p".into(), &"1".into()), Err(EditError::Recipient(1)));
        assert_eq!(rewrite(2).apply(&mut subject, &"p".into(), &"1".into()), Ok(()));
        assert_eq!(&*subject.candidate.unwrap().mailbox.local_part, "x");
    }

    #[test]
    fn an_edit_without_its_fact_does_not_fit() {
        let mut nothing = Subject::default();
        for edit in [
            Edit::Tag("t".into()),
            Edit::ReplaceBody { body: Content::default(), eight_bit: false },
            Edit::Note { key: "k".into(), value: "v".into() },
            Edit::Annotate { key: "k".into(), value: None },
            Edit::PrependForAttempt { name: "X".into(), value: "v".into() },
        ] {
            assert_eq!(
                Journal { edits: vec![edit], made: None }.apply(&mut nothing, &"p".into(), &"1".into()),
                Err(EditError::NotHere)
            );
        }
    }
}
