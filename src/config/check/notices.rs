//! `[notices]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::raw::{Table, Value};
use crate::delivery::{Bounces, NoticeClass, Notices};
use crate::mail::Mailbox;

const BOUNCES: [(&str, Bounces); 3] =
    [("always", Bounces::Always), ("authenticated", Bounces::Authenticated), ("never", Bounces::Never)];

const CLASSES: [(&str, NoticeClass); 3] =
    [("bounce", NoticeClass::Bounce), ("delay", NoticeClass::Delay), ("double-bounce", NoticeClass::DoubleBounce)];

/// Reads the section.
pub(super) fn config(root: &Table<'_>) -> Notices {
    let table = root.table("notices");
    let usual = Notices::default();
    let classes = table.get("classes").and_then(|value| value.array());
    let notices = Notices {
        bounces: table.choice("bounces", usual.bounces, &BOUNCES),
        by_listener: by_listener(root, &table),
        // More would be a lever: a forged sender gets what somebody else has written.
        return_size: table.size("return-size", usual.return_size, 0..=16 << 20),
        postmaster: table.get("postmaster").and_then(|value| mailbox(&value)),
        classes: classes.map_or(usual.classes, |c| c.iter().filter_map(|value| value.choice(&CLASSES)).collect()),
        signing: usual.signing,
    };
    table.finish();
    notices
}

fn mailbox(value: &Value<'_>) -> Option<Mailbox> {
    let help = "write a whole address, such as \"postmaster@example.org\"";
    value.parsed(|text| match Mailbox::parse(text, true) {
        Ok(mailbox) if !mailbox.is_bare_postmaster() => Ok(mailbox),
        Ok(_) => Err((format!("{text:?} has no domain"), help.to_owned())),
        Err(error) => Err((format!("{text:?}: {error}"), help.to_owned())),
    })
}

fn by_listener(root: &Table<'_>, table: &Table<'_>) -> BTreeMap<Arc<str>, Bounces> {
    let listeners: Vec<Arc<str>> = root.named("listeners").into_iter().map(|(name, _)| name).collect();
    let mut found = BTreeMap::new();
    for (name, value) in table.named("by-listener") {
        if !listeners.contains(&name) {
            value.wrong(format!("there is no [listeners.{name}]"), "write the name of a listener");
        }
        if let Some(bounces) = value.choice(&BOUNCES) {
            found.insert(name, bounces);
        }
    }
    found
}
