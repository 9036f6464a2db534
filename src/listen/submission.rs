//! Submission (RFC 6409): what a message lacks that comes from a person's mail program, and whose it may be.
//!
//! Pure but for the parser it asks. Adds Date and Message-ID where they are missing, and Sender where the author is not who
//! authenticated; holds the author to the addresses the operator gave to that name. Must never touch what is there and good,
//! and nothing of mail that was not submitted.

use std::sync::Arc;

use mail_parser::{HeaderName, MessageParser};

use super::senders::Senders;
use crate::hooks::{SessionFacts, TransactionFacts};
use crate::mail::{Header, HeaderEdit, Mailbox};
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
        let authors = authors(header);
        self.check_authors(&authors)?;
        if let Some(sender) = self.sender(&authors) {
            for field in header.fields().filter(|field| field.is_named("Sender")) {
                edits.push(HeaderEdit::Remove { index: field.index });
            }
            edits.push(HeaderEdit::Append { name: "Sender".into(), value: sender });
        }
        Ok(edits)
    }

    /// RFC 6409 section 6.1: who writes as somebody else is refused, where the operator says who is who.
    fn check_authors(&self, authors: &[Mailbox]) -> Result<(), Reply> {
        let (Some(senders), Some(identity)) = (self.senders, &self.session.identity) else { return Ok(()) };
        let foreign = authors.iter().find(|author| !senders.owns(&identity.name, author));
        // One of several authors may send for all of them, and is named as the sender.
        let one = authors.iter().any(|author| senders.owns(&identity.name, author));
        match foreign {
            Some(foreign) if !one => {
                tracing::info!(name = %identity.name, author = %foreign, "From is not the client's to use");
                Err(Reply::new(550, Status::new(5, 7, 1), "From is not an address of yours"))
            }
            _ => Ok(()),
        }
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

/// The addresses of the From field.
fn authors(header: &Header) -> Vec<Mailbox> {
    let parsed = MessageParser::new().with_address_headers().parse_headers(header.block().as_ref());
    let Some(message) = parsed else { return Vec::new() };
    let addresses = message.header(HeaderName::From).and_then(|value| value.as_address());
    let texts = addresses.into_iter().flat_map(|list| list.iter()).filter_map(|addr| addr.address());
    texts.filter_map(|text| Mailbox::parse(text, true).ok()).collect()
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
                Some("ann: ann@b.example"),
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
        assert!(repaired("Subject: no author\n", Some("ann"), Some("ann: ann@example.org")).is_ok());
    }
}
