//! Submission (RFC 6409): what a message lacks that comes from a person's mail program, and whose it may be.
//!
//! Pure. Adds Date and Message-ID where they are missing, and Sender where the author is not who
//! authenticated; holds the author to the addresses the operator gave to that name. Must never touch what is there and good,
//! and nothing of mail that was not submitted.

use std::sync::Arc;

use super::senders::Senders;
use crate::hooks::{SessionFacts, TransactionFacts};
use crate::mail::{Authors, Header, HeaderEdit, Mailbox};
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

/// What is known of the submission.
pub(crate) struct Submission<'a> {
    pub(crate) session: &'a SessionFacts,
    pub(crate) transaction: &'a TransactionFacts,
    /// This relay's name.
    pub(crate) hostname: &'a str,
    pub(crate) senders: Option<&'a Senders>,
    pub(crate) now: Timestamp,
}

impl Submission<'_> {
    /// The edits that make the header section whole.
    ///
    /// # Errors
    /// The reply to a message whose author is not the client's to name.
    pub(crate) fn repair(&self, header: &Header) -> Result<Vec<HeaderEdit>, Reply> {
        let has = |name: &str| header.fields().any(|field| field.is_named(name));
        let mut edits = Vec::new();
        let mut add = |name: &str, value: String| {
            edits.push(HeaderEdit::Append { name: name.into(), value: value.into() });
        };
        // RFC 6409 section 8.2 and 8.3.
        if !has("Date") {
            add("Date", self.now.rfc5322());
        }
        if !has("Message-ID") {
            add("Message-ID", format!("<{}.{}@{}>", self.transaction.id, self.now.secs(), self.hostname));
        }
        let authors = Authors::of(header);
        self.check_authors(&authors)?;
        if let Some(sender) = self.sender(&authors.mailboxes) {
            for field in header.fields().filter(|field| field.is_named("Sender")) {
                edits.push(HeaderEdit::Remove { index: field.index });
            }
            edits.push(HeaderEdit::Append { name: "Sender".into(), value: sender });
        }
        Ok(edits)
    }

    /// RFC 6409 section 6.1: who writes as somebody else is refused, where the operator says who is who. Whom a reader, or
    /// who signs, takes for the author must not depend on how they read: there is one From field (RFC 5322 section 3.6), all of it
    /// is understood, and every author in it is the client.
    fn check_authors(&self, authors: &Authors) -> Result<(), Reply> {
        let (Some(senders), Some(identity)) = (self.senders, &self.session.identity) else { return Ok(()) };
        let foreign = authors.mailboxes.iter().find(|author| !senders.owns(&identity.name, author));
        let why = match foreign {
            _ if authors.fields != 1 => "a message has one From field",
            _ if authors.unreadable => "From holds more than addresses that can be read",
            Some(_) => "From is not an address of yours",
            None if authors.mailboxes.is_empty() => "From names nobody",
            None => return Ok(()),
        };
        let author = foreign.map(tracing::field::display);
        tracing::info!(name = %identity.name, author, why, "From is not the client's to use");
        Err(Reply::new(550, Status::new(5, 7, 1), why))
    }

    /// RFC 6409 section 8.1, RFC 5322 section 3.6.2: who sent it, where that is not the author alone.
    fn sender(&self, authors: &[Mailbox]) -> Option<Arc<str>> {
        let name = &self.session.identity.as_ref()?.name;
        let by_name = Mailbox::parse(name, false).ok().filter(|mailbox| !mailbox.is_bare_postmaster());
        let own = |author: &&Mailbox| self.senders.is_some_and(|senders| senders.owns(name, author));
        let sender = authors.iter().find(own).cloned().or(by_name)?;
        let alone = matches!(authors, [author] if *author == sender || own(&author));
        (!alone && !authors.is_empty()).then(|| sender.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Identity;
    use crate::hooks::fixtures::subject;

    fn repaired(header: &str, name: Option<&str>, senders: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("senders");
        let senders = senders.map(|text| {
            std::fs::write(&path, text).unwrap();
            Senders::load(&path).unwrap()
        });
        let subject = subject();
        let mut session = SessionFacts::clone(subject.session.as_ref().unwrap());
        session.identity = name.map(|name| Identity {
            mechanism: "PLAIN".into(),
            name: name.into(),
            acts_as: None,
            attributes: Vec::new(),
        });
        let submission = Submission {
            session: &session,
            transaction: subject.transaction.as_ref().unwrap(),
            hostname: "relay.example",
            senders: senders.as_ref(),
            now: Timestamp::from_secs(0),
        };
        let header = Header::parse(header.replace('\n', "\r\n").into());
        let edits = submission.repair(&header).map_err(|reply| reply.to_string())?;
        let edited = header.edit(&edits).unwrap();
        Ok(String::from_utf8(edited.block().to_vec()).unwrap().replace("\r\n", "\n"))
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let whole = "Date: Mon, 23 Nov 2026 22:31:00 +0000\nMessage-ID: <a@b>\nFrom: ann@example.org\n";
        assert_eq!(repaired(whole, None, None).unwrap(), whole);
        let made = repaired("From: ann@example.org\n", None, None).unwrap();
        assert!(made.contains("\nDate: Thu, 01 Jan 1970 00:00:00 +0000\n"), "{made}");
        assert!(made.contains("\nMessage-ID: <") && made.ends_with(".0@relay.example>\n"), "{made}");
    }

    #[test]
    fn who_sent_it_is_named_where_that_is_not_the_author() {
        let table = [
            ("From: ann@example.org\n", Some("ann@example.org"), None, None),
            ("From: Ann <Ann@example.org>\n", Some("ann"), Some("ann: ann@example.org"), None),
            ("From: bob@example.org\n", Some("ann@example.org"), None, Some("Sender: ann@example.org\n")),
            (
                "From: bob@example.org\nSender: eve@x.example\n",
                Some("a@b.example"),
                None,
                Some("Sender: a@b.example\n"),
            ),
            (
                "From: ann@b.example, bob@b.example\n",
                Some("ann"),
                Some("ann: @b.example"),
                Some("Sender: ann@b.example\n"),
            ),
            ("From: bob@example.org\n", Some("ann"), None, None),
            ("From: bob@example.org\n", None, None, None),
        ];
        for (header, name, senders, sender) in table {
            let made = repaired(header, name, senders).unwrap();
            assert_eq!(made.contains("Sender:"), sender.is_some(), "{header} {name:?}: {made}");
            assert!(
                sender.is_none_or(|sender| made.contains(sender) && made.matches("Sender:").count() == 1),
                "{made}"
            );
        }
    }

    #[test]
    fn nobody_writes_as_somebody_else() {
        let refused = repaired("From: bob@example.org\n", Some("ann"), Some("ann: ann@example.org")).unwrap_err();
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
        assert!(repaired("From: bob@example.org\n", Some("eve"), Some("ann: ann@example.org")).is_err());
        for (header, refusal) in [
            ("From: ceo@corp.example\nFrom: ann@own.example\n", "a message has one From field"),
            ("From: ann@own.example\nfrom : ceo@corp.example\n", "a message has one From field"),
            ("Subject: no author\n", "a message has one From field"),
            ("From: CEO <ceo@corp.example>, ann@own.example\n", "From is not an address of yours"),
            ("From: ann@own.example, CEO <ceo@corp.example>\n", "From is not an address of yours"),
            ("From: Us: ann@own.example, ceo@corp.example;\n", "From is not an address of yours"),
            ("FROM : CEO\n <ceo@corp.example>\n", "From is not an address of yours"),
            ("From: ann@own.example <ceo@corp.example>\n", "From is not an address of yours"),
            ("From: <ceo@corp.example.>\n", "From holds more than addresses that can be read"),
            ("From: <ceo@corp.example.>, ann@own.example\n", "From holds more than addresses that can be read"),
            ("From: Nobody:;\n", "From names nobody"),
        ] {
            let refused = repaired(header, Some("ann"), Some("ann: ann@own.example")).unwrap_err();
            assert_eq!(refused.trim_end(), format!("550 5.7.1 {refusal}"), "{header}");
            assert!(repaired(header, Some("ann"), None).is_ok(), "nobody is held to anything: {header}");
        }
        for header in [
            "From: ann@own.example\n",
            "FROM : \"ceo@corp.example\"\n <Ann@own.example> (us)\n",
            "From: Us: ann @ own.example;\n",
        ] {
            assert!(repaired(header, Some("ann"), Some("ann: ann@own.example")).is_ok(), "{header}");
        }
    }
}
