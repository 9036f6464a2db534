//! What the Received field says of a client and its transaction (RFC 5321 section 4.4).
//!
//! Only facts that the relay has seen itself, but for the name that the client gave. Pure.

use std::borrow::Cow;

use crate::hooks::{Endpoint, Protocol, SessionFacts, TransactionFacts};
use crate::mail::{Dialogue, Received, with_protocol};
use crate::time::Timestamp;

/// The whole field.
pub(super) fn received(session: &SessionFacts, transaction: &TransactionFacts, by: &str, now: Timestamp) -> String {
    let only = match transaction.recipients.as_slice() {
        [one] => Some(one.original.to_string()),
        _ => None,
    };
    let suite = session.tls.as_ref().map(|tls| registered(&tls.cipher));
    let tls = session.tls.as_ref().map(|tls| &*tls.protocol).zip(suite.as_deref());
    let dialogue = match session.protocol {
        Protocol::Smtp => Dialogue::Smtp,
        Protocol::Esmtp => Dialogue::Esmtp,
        Protocol::Lmtp => Dialogue::Lmtp,
    };
    Received {
        helo: session.helo.as_deref().unwrap_or("unknown"),
        client_name: session.client_name.as_deref(),
        client: &place(&session.client),
        by,
        with: with_protocol(dialogue, tls.is_some(), session.identity.is_some(), transaction.smtputf8),
        id: &transaction.id.to_string(),
        only_recipient: only.as_deref(),
        tls,
        date: &now.rfc5322(),
    }
    .render()
}

/// An address literal; a socket file has no address, and must not look as if it had.
fn place(client: &Endpoint) -> Cow<'static, str> {
    let address = &client.address;
    match address.strip_prefix("unix:") {
        Some("") => "unix socket".into(),
        Some(path) => format!("unix socket {path}").into(),
        None if address.contains(':') => format!("[IPv6:{address}]").into(),
        None => format!("[{address}]").into(),
    }
}

/// The suite as IANA registered it, which is what RFC 8314 section 4.3 asks for: rustls marks those of TLS 1.3.
fn registered(cipher: &str) -> Cow<'_, str> {
    cipher.strip_prefix("TLS13_").map_or(cipher.into(), |suite| format!("TLS_{suite}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::subject;
    use crate::hooks::{Identity, TlsFacts};

    /// The field on one line, of a client that was changed like this.
    fn field(change: impl Fn(&mut SessionFacts)) -> String {
        let subject = subject();
        let mut session = (*subject.session.unwrap()).clone();
        session.client_name = None;
        session.helo = Some("client.example".into());
        change(&mut session);
        let transaction = subject.transaction.unwrap();
        received(&session, &transaction, "mx.example.net", Timestamp::from_secs(0)).replace("\r\n\t", " ")
    }

    #[test]
    fn a_client_is_where_it_is() {
        let at = |address: &str| {
            let field = field(|session| session.client.address = address.into());
            field.split(" by ").next().unwrap().replace("Received: from client.example ", "")
        };
        assert_eq!(at("192.0.2.1"), "([192.0.2.1])");
        assert_eq!(at("2001:db8::1"), "([IPv6:2001:db8::1])");
        assert_eq!(at("unix:"), "(unix socket)");
        assert_eq!(at("unix:/run/client.sock"), "(unix socket /run/client.sock)");
    }

    #[test]
    fn what_was_spoken_and_what_protected_it() {
        let identity =
            Identity { mechanism: "PLAIN".into(), name: "ann".into(), acts_as: None, attributes: Vec::new() };
        let tls =
            TlsFacts { protocol: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into(), ..TlsFacts::default() };
        let text = field(|session| {
            session.protocol = Protocol::Lmtp;
            session.client.address = "unix:".into();
        });
        assert!(
            text.starts_with("Received: from client.example (unix socket) by mx.example.net with LMTP id "),
            "{text}"
        );
        let text = field(|session| {
            session.protocol = Protocol::Lmtp;
            session.tls = Some(tls.clone());
            session.identity = Some(identity.clone());
        });
        assert!(text.contains(" (TLSv1.3) by mx.example.net with LMTPSA id "), "{text}");
        assert!(text.contains(" tls TLS_AES_256_GCM_SHA384; "), "{text}");
        let text = field(|session| {
            session.protocol = Protocol::Esmtp;
            session.tls = Some(TlsFacts { protocol: "TLSv1.2".into(), cipher: "TLS_ECDHE_X".into(), ..tls.clone() });
        });
        assert!(text.contains(" with ESMTPS id ") && text.contains(" tls TLS_ECDHE_X; "), "{text}");
    }
}
