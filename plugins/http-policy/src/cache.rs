//! The key under which an answer is kept, made of a template. Pure.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::question::Question;

/// A text with `{names}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(Fact),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Listener,
    Client,
    ReverseName,
    Helo,
    Identity,
    Sender,
    SenderDomain,
    Recipient,
    RecipientDomain,
}

const NAMES: [(&str, Fact); 9] = [
    ("listener", Fact::Listener),
    ("client", Fact::Client),
    ("client-name", Fact::ReverseName),
    ("helo", Fact::Helo),
    ("identity", Fact::Identity),
    ("sender", Fact::Sender),
    ("sender-domain", Fact::SenderDomain),
    ("recipient", Fact::Recipient),
    ("recipient-domain", Fact::RecipientDomain),
];

impl Template {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// A name that nobody knows, a brace without its other, or no name at all.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a { has no }")?;
            let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, known)| *known);
            let known = known.ok_or_else(|| {
                let all: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("{{{name}}} is not known; there are {}", all.join(", "))
            })?;
            parts.extend([Part::Text(before.to_owned()), Part::Name(known)]);
            rest = after;
        }
        if parts.is_empty() {
            return Err("it has no {name}, so that every question would have the same answer".to_owned());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The key for a question: a digest, because addresses are longer than keys may be, with the hook in front.
    pub(crate) fn key(&self, question: &Question) -> String {
        let mut digest = Sha256::new();
        for part in &self.0 {
            let text = match part {
                Part::Text(text) => text.clone(),
                Part::Name(name) => value(*name, question).to_lowercase(),
            };
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        let mut key = format!("c:{}:", question.hook.name());
        for octet in digest.finalize().iter().take(20) {
            // Writing to a String can't fail.
            let _ = write!(key, "{octet:02x}");
        }
        key
    }
}

fn value(name: Fact, question: &Question) -> String {
    let session = question.session.as_ref();
    let sender = || question.transaction.as_ref().map(|t| t.sender.clone()).unwrap_or_default();
    let recipient = || question.recipient.as_ref().map(|r| r.address.clone()).unwrap_or_default();
    let text = match name {
        Fact::Listener => session.map(|s| s.listener.clone()),
        Fact::Client => session.map(|s| s.client.address.clone()),
        Fact::ReverseName => session.and_then(|s| s.client.name.clone()),
        Fact::Helo => question.helo.clone().or_else(|| session.and_then(|s| s.helo.clone())),
        Fact::Identity => session.and_then(|s| s.identity.as_ref().map(|i| i.name.clone())),
        Fact::Sender => Some(sender()),
        Fact::SenderDomain => Some(domain(&sender())),
        Fact::Recipient => Some(recipient()),
        Fact::RecipientDomain => Some(domain(&recipient())),
    };
    text.unwrap_or_default()
}

fn domain(address: &str) -> String {
    address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::testing::rcpt;

    #[test]
    fn the_same_question_has_the_same_key() {
        let template = Template::parse("{client} to {recipient}").unwrap();
        let key = |client: &str, recipient: &str| template.key(&rcpt(client, "ann@example.org", recipient));
        let first = key("192.0.2.1", "bob@example.com");
        assert!(first.starts_with("c:rcpt:") && first.len() == 47, "{first}");
        assert_eq!(first, key("192.0.2.1", "Bob@Example.com"));
        assert_ne!(first, key("192.0.2.2", "bob@example.com"));
        assert_ne!(first, key("192.0.2.1", "eve@example.com"));
        let by_domain = Template::parse("{recipient-domain}").unwrap();
        let key = |recipient: &str| by_domain.key(&rcpt("192.0.2.1", "", recipient));
        assert_eq!(key("bob@example.com"), key("eve@example.com"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in
            [("", "no {name}"), ("fixed", "no {name}"), ("{client", "no }"), ("{who}", "{who} is not known")]
        {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
