//! A report as mail (RFC 8460 section 5.3): multipart/report of a few words for people and the packed report. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::TAG;
use super::report::About;
use crate::mail::{Annotations, BodyKind, Mailbox, QueueId, ReversePath};
use crate::queue::{BodyPlace, Incoming, QueuedRecipient, RecipientState, Record};
use crate::time::Timestamp;

/// Characters of base64 in a line (RFC 2045 section 6.8).
const LINE: usize = 76;

/// Its content.
pub(super) struct Letter {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// What it says.
pub(super) fn letter(about: &About<'_>, packed: &[u8], to: &Mailbox, id: QueueId, now: Timestamp) -> Letter {
    let boundary = format!("=_{id}_tlsrpt");
    Letter { head: head(about, to, &boundary, id, now), body: body(about, packed, &boundary) }
}

/// As it is queued.
pub(super) fn message(letter: Letter, to: &Mailbox, id: QueueId, now: Timestamp) -> Incoming {
    let Letter { head, body } = letter;
    let recipient = QueuedRecipient {
        index: 0,
        original: to.clone(),
        mailbox: to.clone(),
        params: Vec::new(),
        route: None,
        state: RecipientState::new(now),
    };
    let record = Record {
        id,
        arrived: now,
        origin: None,
        // What can't be delivered within a day is of no use to anybody, and nobody is to be told.
        sender: ReversePath(None),
        sender_params: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: vec![recipient],
        annotations: Annotations::default(),
        tags: vec![TAG.into()],
        held: None,
        head_size: u32::try_from(head.len()).unwrap_or(u32::MAX),
        body_size: body.len() as u64,
        body: BodyPlace::Inline,
    };
    Incoming { record, head, body: crate::store::Content::Memory(body) }
}

fn head(about: &About<'_>, to: &Mailbox, boundary: &str, id: QueueId, now: Timestamp) -> Bytes {
    let About { reporter, submitter, domain, .. } = about;
    // `TLS-Required: No` (RFC 8689): the host whose TLS is broken is the very one that has to hear of it.
    format!(
        "Date: {}\r\n\
         From: <{}>\r\n\
         To: <{to}>\r\n\
         Subject: Report Domain: {domain}\r\n Submitter: {submitter}\r\n Report-ID: <{}>\r\n\
         Message-ID: <{id}@{submitter}>\r\n\
         TLS-Report-Domain: {domain}\r\n\
         TLS-Report-Submitter: {submitter}\r\n\
         TLS-Required: No\r\n\
         Auto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n",
        now.rfc5322(),
        reporter.from,
        about.id(),
    )
    .into()
}

fn body(about: &About<'_>, packed: &[u8], boundary: &str) -> Bytes {
    let mut body = format!(
        "This is a report about TLS in MIME format (RFC 8460).\r\n\r\n\
         --{boundary}\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n\
         Attached is how TLS went between {} and the mail servers of\r\n\
         {} from {} to {}.\r\n\r\n\
         --{boundary}\r\n\
         Content-Type: application/tlsrpt+gzip\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment;\r\n filename=\"{}\"\r\n\r\n",
        about.submitter,
        about.domain,
        about.begins().rfc3339_seconds(),
        about.ends().rfc3339_seconds(),
        about.file(),
    );
    let encoded = STANDARD.encode(packed);
    for line in encoded.as_bytes().chunks(LINE) {
        body.push_str(&String::from_utf8_lossy(line));
        body.push_str("\r\n");
    }
    body.push_str(&format!("\r\n--{boundary}--\r\n"));
    body.into()
}
