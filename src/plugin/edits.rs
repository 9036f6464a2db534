//! Edits as they are written down, for people and for programs that compare them.
//!
//! Bodies are named by their length only: whoever may keep their octets adds them. Pure.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::hooks::Edit;
use crate::mail::HeaderEdit;

/// An edit: its kind, what it is about, and of its value at most so many octets.
pub(crate) struct Written<'a> {
    pub edit: &'a Edit,
    pub most: usize,
}

/// A text of at most so many octets; one that was longer ends with `…`.
pub(crate) struct Cut<'a>(pub &'a str, pub usize);

impl Serialize for Cut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(text, most) = *self;
        if text.len() <= most {
            return serializer.serialize_str(text);
        }
        let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        serializer.collect_str(&format_args!("{kept}…"))
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cut = |text| Cut(text, self.most);
        let mut map = serializer.serialize_map(None)?;
        match self.edit {
            Edit::Note { key, value } => {
                map.serialize_entry("edit", "note")?;
                map.serialize_entry("key", &cut(key))?;
                map.serialize_entry("value", &cut(value))?;
            }
            Edit::Withhold(extension) => {
                map.serialize_entry("edit", "withhold-extension")?;
                map.serialize_entry("value", extension.keyword())?;
            }
            Edit::Annotate { key, value } => {
                map.serialize_entry("edit", if value.is_some() { "annotate" } else { "remove-annotation" })?;
                map.serialize_entry("key", &cut(key))?;
                if let Some(value) = value {
                    map.serialize_entry("value", &cut(value))?;
                }
            }
            Edit::Tag(tag) => {
                map.serialize_entry("edit", "tag")?;
                map.serialize_entry("value", &cut(tag))?;
            }
            Edit::SetSender(sender) => {
                map.serialize_entry("edit", "set-sender")?;
                map.serialize_entry("value", &sender.to_string())?;
            }
            Edit::AddRecipient { index, mailbox } => {
                map.serialize_entry("edit", "add-recipient")?;
                map.serialize_entry("index", index)?;
                map.serialize_entry("value", &mailbox.to_string())?;
            }
            Edit::RemoveRecipient { index } => {
                map.serialize_entry("edit", "remove-recipient")?;
                map.serialize_entry("index", index)?;
            }
            Edit::RewriteRecipient { index, mailbox } => {
                map.serialize_entry("edit", "rewrite-recipient")?;
                map.serialize_entry("index", index)?;
                map.serialize_entry("value", &mailbox.to_string())?;
            }
            Edit::Header(edit) => self.header::<S>(edit, &mut map)?,
            Edit::ReplaceBody { body, .. } => {
                map.serialize_entry("edit", "replace-body")?;
                map.serialize_entry("octets", &body.len())?;
            }
            Edit::PrependForAttempt { name, value } => {
                map.serialize_entry("edit", "prepend-for-attempt")?;
                map.serialize_entry("name", &cut(name))?;
                map.serialize_entry("value", &cut(value))?;
            }
        }
        map.end()
    }
}

impl Written<'_> {
    fn header<S: Serializer>(&self, edit: &HeaderEdit, map: &mut S::SerializeMap) -> Result<(), S::Error> {
        let cut = |text| Cut(text, self.most);
        match edit {
            HeaderEdit::Prepend { name, value } => {
                map.serialize_entry("edit", "prepend-header")?;
                map.serialize_entry("name", &cut(name))?;
                map.serialize_entry("value", &cut(value))
            }
            HeaderEdit::Append { name, value } => {
                map.serialize_entry("edit", "append-header")?;
                map.serialize_entry("name", &cut(name))?;
                map.serialize_entry("value", &cut(value))
            }
            HeaderEdit::Replace { index, value } => {
                map.serialize_entry("edit", "replace-header")?;
                map.serialize_entry("index", index)?;
                map.serialize_entry("value", &cut(value))
            }
            HeaderEdit::Remove { index } => {
                map.serialize_entry("edit", "remove-header")?;
                map.serialize_entry("index", index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::mailbox;
    use crate::mail::ReversePath;
    use crate::store::Content;

    #[test]
    fn each_edit_has_its_form_and_long_values_are_cut() {
        let header = |edit| Edit::Header(edit);
        let edits = [
            Edit::Note { key: "k".into(), value: "é".repeat(8).into() },
            Edit::Annotate { key: "k".into(), value: None },
            Edit::Tag("bulk".into()),
            Edit::SetSender(ReversePath(None)),
            Edit::RewriteRecipient { index: 1, mailbox: mailbox("x", "example.net") },
            header(HeaderEdit::Append { name: "X-A".into(), value: "a\u{7}b".into() }),
            header(HeaderEdit::Remove { index: 2 }),
            Edit::ReplaceBody { body: Content::Memory("secret".into()), eight_bit: false },
        ];
        let written: Vec<Written<'_>> = edits.iter().map(|edit| Written { edit, most: 5 }).collect();
        let expected = concat!(
            r#"[{"edit":"note","key":"k","value":"éé…"},{"edit":"remove-annotation","key":"k"},"#,
            r#"{"edit":"tag","value":"bulk"},{"edit":"set-sender","value":"<>"},"#,
            r#"{"edit":"rewrite-recipient","index":1,"value":"x@example.net"},"#,
            r#"{"edit":"append-header","name":"X-A","value":"a\u0007b"},{"edit":"remove-header","index":2},"#,
            r#"{"edit":"replace-body","octets":6}]"#
        );
        assert_eq!(serde_json::to_string(&written).unwrap(), expected);
    }
}
