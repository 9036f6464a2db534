//! Edits as data: described for people and records, and brought into a form in which two journals can be compared.
//!
//! Pure. A body is described by its size alone: what it holds is for whoever may read it.

use serde_json::{Value, json};

use super::Edit;
use crate::mail::{HeaderEdit, Mailbox};

/// What an edit is about: of two with the same slot only the later one stands. In the order of comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Note(std::sync::Arc<str>),
    Withheld(&'static str),
    Annotation(std::sync::Arc<str>),
    Tag(std::sync::Arc<str>),
    Sender,
    /// All of them, in the order they were made: an index may be given out, rewritten and removed.
    Recipients,
    /// In the order they were made.
    Prepended,
    /// In the order they were made.
    Appended,
    Field(u32),
    Body,
    /// In the order they were made.
    PrependedForAttempt,
}

impl Slot {
    fn of(edit: &Edit) -> Self {
        match edit {
            Edit::Note { key, .. } => Self::Note(key.clone()),
            Edit::Withhold(extension) => Self::Withheld(extension.keyword()),
            Edit::Annotate { key, .. } => Self::Annotation(key.clone()),
            Edit::Tag(tag) => Self::Tag(tag.clone()),
            Edit::SetSender(_) => Self::Sender,
            Edit::AddRecipient { .. } | Edit::RemoveRecipient { .. } | Edit::RewriteRecipient { .. } => {
                Self::Recipients
            }
            Edit::Header(HeaderEdit::Prepend { .. }) => Self::Prepended,
            Edit::Header(HeaderEdit::Append { .. }) => Self::Appended,
            Edit::Header(HeaderEdit::Replace { index, .. } | HeaderEdit::Remove { index }) => Self::Field(*index),
            Edit::ReplaceBody { .. } => Self::Body,
            Edit::PrependForAttempt { .. } => Self::PrependedForAttempt,
        }
    }

    /// True where every edit counts, not the last one alone.
    const fn is_list(&self) -> bool {
        matches!(self, Self::Recipients | Self::Prepended | Self::Appended | Self::PrependedForAttempt)
    }
}

/// What edits come to: those that others made void are left out, and those that don't depend on each other are in one
/// order. Two journals that do the same have the same normal form.
pub fn normal_form(edits: &[Edit]) -> Vec<&Edit> {
    let mut slots: Vec<(Slot, &Edit)> = edits.iter().map(|edit| (Slot::of(edit), edit)).collect();
    // Stable: edits of one slot stay in the order they were made.
    slots.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut normal = Vec::with_capacity(slots.len());
    let mut rest = slots.into_iter().peekable();
    while let Some((slot, edit)) = rest.next() {
        let void = !slot.is_list() && rest.peek().is_some_and(|(next, _)| *next == slot);
        if !void {
            normal.push(edit);
        }
    }
    normal
}

impl Edit {
    /// Octets of its texts. A body is not among them: it is spooled.
    pub fn octets(&self) -> usize {
        let of = |mailbox: &Mailbox| mailbox.local_part.len() + mailbox.domain.as_str().len();
        match self {
            Self::Note { key, value } => key.len() + value.len(),
            Self::Annotate { key, value } => key.len() + value.as_ref().map_or(0, |value| value.len()),
            Self::Tag(tag) => tag.len(),
            Self::SetSender(sender) => sender.0.as_ref().map_or(0, of),
            Self::AddRecipient { mailbox, .. } | Self::RewriteRecipient { mailbox, .. } => of(mailbox),
            Self::Header(HeaderEdit::Prepend { name, value } | HeaderEdit::Append { name, value })
            | Self::PrependForAttempt { name, value } => name.len() + value.len(),
            Self::Header(HeaderEdit::Replace { value, .. }) => value.len(),
            Self::Header(HeaderEdit::Remove { .. })
            | Self::Withhold(_)
            | Self::RemoveRecipient { .. }
            | Self::ReplaceBody { .. } => 0,
        }
    }

    /// One edit as an object with one key.
    pub fn describe(&self) -> Value {
        match self {
            Self::Note { key, value } => json!({"note": {"key": key, "value": value}}),
            Self::Withhold(extension) => json!({"withhold-extension": extension.keyword()}),
            Self::Annotate { key, value } => json!({"annotate": {"key": key, "value": value}}),
            Self::Tag(tag) => json!({"tag": tag}),
            Self::SetSender(sender) => json!({"set-sender": sender.to_string()}),
            Self::AddRecipient { index, mailbox } => {
                json!({"add-recipient": {"index": index, "mailbox": mailbox.to_string()}})
            }
            Self::RemoveRecipient { index } => json!({"remove-recipient": {"index": index}}),
            Self::RewriteRecipient { index, mailbox } => {
                json!({"rewrite-recipient": {"index": index, "mailbox": mailbox.to_string()}})
            }
            Self::Header(HeaderEdit::Prepend { name, value }) => json!({"prepend": {"name": name, "value": value}}),
            Self::Header(HeaderEdit::Append { name, value }) => json!({"append": {"name": name, "value": value}}),
            Self::Header(HeaderEdit::Replace { index, value }) => json!({"replace": {"index": index, "value": value}}),
            Self::Header(HeaderEdit::Remove { index }) => json!({"remove": {"index": index}}),
            Self::ReplaceBody { body, .. } => json!({"replace-body": {"octets": body.len()}}),
            Self::PrependForAttempt { name, value } => {
                json!({"prepend-for-attempt": {"name": name, "value": value}})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::mailbox;
    use crate::mail::ReversePath;

    fn described(edits: &[Edit]) -> Vec<String> {
        normal_form(edits).into_iter().map(|edit| edit.describe().to_string()).collect()
    }

    fn note(key: &str, value: &str) -> Edit {
        Edit::Note { key: key.into(), value: value.into() }
    }

    fn top(value: &str) -> Edit {
        Edit::Header(HeaderEdit::Prepend { name: "X".into(), value: value.into() })
    }

    #[test]
    fn the_order_of_what_is_independent_does_not_matter() {
        let field = |index| Edit::Header(HeaderEdit::Remove { index });
        let edits = [
            note("b", "1"),
            Edit::Tag("t".into()),
            field(4),
            note("a", "2"),
            field(1),
            Edit::SetSender(ReversePath(None)),
        ];
        let mut others = edits.to_vec();
        others.reverse();
        assert_eq!(described(&edits), described(&others));
        assert_eq!(described(&edits).len(), 6);
    }

    #[test]
    fn the_order_of_what_depends_on_it_does() {
        assert_ne!(described(&[top("1"), top("2")]), described(&[top("2"), top("1")]));
        let (add, remove) =
            (Edit::AddRecipient { index: 2, mailbox: mailbox("x", "example.net") }, Edit::RemoveRecipient { index: 2 });
        assert_ne!(described(&[add.clone(), remove.clone()]), described(&[remove, add]));
    }

    #[test]
    fn what_is_made_void_is_left_out() {
        let replace = Edit::Header(HeaderEdit::Replace { index: 3, value: "v".into() });
        let remove = Edit::Header(HeaderEdit::Remove { index: 3 });
        assert_eq!(described(&[replace, remove]), [r#"{"remove":{"index":3}}"#]);
        assert_eq!(described(&[note("k", "1"), note("k", "2")]), [r#"{"note":{"key":"k","value":"2"}}"#]);
        let annotate = |value: Option<&str>| Edit::Annotate { key: "k".into(), value: value.map(Into::into) };
        assert_eq!(described(&[annotate(Some("1")), annotate(None)]), [r#"{"annotate":{"key":"k","value":null}}"#]);
    }
}
