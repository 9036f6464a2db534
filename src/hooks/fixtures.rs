//! Facts for the tests of this room.

use std::sync::Arc;

use super::{Endpoint, Protocol, SenderAuthentication, SessionFacts, Subject, TransactionFacts};
use crate::mail::{Annotations, BodyKind, Domain, Mailbox, QueueId, Recipient, ReversePath};
use crate::time::Timestamp;

pub(crate) fn mailbox(local_part: &str, domain: &str) -> Mailbox {
    Mailbox { local_part: local_part.into(), domain: Domain::parse(domain).unwrap() }
}

/// A session, and a transaction with the recipients 0 and 1.
pub(crate) fn subject() -> Subject {
    let recipient = |index, local_part| Recipient {
        index,
        mailbox: mailbox(local_part, "example.com"),
        original: mailbox(local_part, "example.com"),
        params: Vec::new(),
    };
    let session = SessionFacts {
        id: "session-1".into(),
        listener: "mx".into(),
        connected_at: Timestamp::from_secs(1_795_473_060),
        client: Endpoint { address: "192.0.2.1".into(), port: 40_000 },
        server: Endpoint { address: "192.0.2.2".into(), port: 25 },
        client_name: Some("client.example".into()),
        protocol: Protocol::Esmtp,
        helo: Some("client.example".into()),
        tls: None,
        identity: None,
        may_relay: false,
        transactions: 0,
        refused_recipients: 0,
        withheld: Default::default(),
        notes: Annotations::default(),
    };
    let sender = ReversePath(Some(mailbox("alice", "example.org")));
    let transaction = TransactionFacts {
        id: QueueId::from_u64(1 << 40),
        started_at: Timestamp::from_secs(1_795_473_061),
        authentication: SenderAuthentication::of(sender.clone()),
        sender,
        sender_params: Vec::new(),
        declared_size: None,
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: Arc::new(vec![recipient(0, "bob"), recipient(1, "carol")]),
        next_index: 2,
        annotations: Annotations::default(),
        tags: Vec::new(),
    };
    Subject { session: Some(Arc::new(session)), transaction: Some(Arc::new(transaction)), ..Subject::default() }
}
