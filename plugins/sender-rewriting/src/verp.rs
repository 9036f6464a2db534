//! Variable envelope return paths: the recipient's address inside the sender's, so that a bounce says whose mail it was. Pure.
//!
//! `news+tag=ann=example.org@lists.example`: the sender, the separator, a tag that keeps others from making bounces up, and the
//! recipient with `=` for `@`.

use waypost_plugin::Mailbox;

use crate::mac::{is_good, tag};

/// How addresses are made and judged.
#[derive(Debug)]
pub(crate) struct Scheme<'a> {
    /// The first makes tags, all are good. None: there are no tags.
    pub(crate) secrets: Option<&'a [String]>,
    pub(crate) tag_length: usize,
    pub(crate) separator: char,
}

/// What a local part is.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Of another kind.
    Ordinary,
    /// The recipient whose mail it was, and the sender's own local part.
    Bounce { recipient: Mailbox, sender: String },
    /// Of this kind, but not ours.
    Forged { sender: String },
}

impl Scheme<'_> {
    /// The local part to send from, for one recipient.
    pub(crate) fn make(&self, sender: &Mailbox, recipient: &Mailbox) -> String {
        let to = format!("{}={}", recipient.local_part, recipient.domain);
        let base = format!("{}{}", sender.local_part, self.separator);
        match self.secrets.and_then(|secrets| secrets.first()) {
            Some(secret) => {
                let tag = tag(secret, &["verp", &sender.local_part, &sender.domain, &to], self.tag_length);
                format!("{base}{tag}={to}")
            }
            None => format!("{base}{to}"),
        }
    }

    /// Reads an address that bounces may come to.
    pub(crate) fn read(&self, address: &Mailbox) -> Reading {
        let Some((sender, rest)) = address.local_part.split_once(self.separator) else { return Reading::Ordinary };
        let Some((before, domain)) = rest.rsplit_once('=') else { return Reading::Ordinary };
        if sender.is_empty() || before.is_empty() || domain.is_empty() {
            return Reading::Ordinary;
        }
        let bounce = |local: &str| Reading::Bounce {
            recipient: Mailbox { local_part: local.to_owned(), domain: domain.to_ascii_lowercase() },
            sender: sender.to_owned(),
        };
        let Some(secrets) = self.secrets else { return bounce(before) };
        match before.split_once('=') {
            Some((tag, local))
                if !local.is_empty()
                    && is_good(tag, secrets, &["verp", sender, &address.domain, local, "=", domain]) =>
            {
                bounce(local)
            }
            _ => Reading::Forged { sender: sender.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        let (local, domain) = text.rsplit_once('@').unwrap();
        Mailbox { local_part: local.to_owned(), domain: domain.to_owned() }
    }

    fn shown(reading: Reading) -> String {
        match reading {
            Reading::Ordinary => "ordinary".to_owned(),
            Reading::Bounce { recipient, sender } => format!("{recipient} of {sender}"),
            Reading::Forged { sender } => format!("forged {sender}"),
        }
    }

    #[test]
    fn what_is_made_can_be_read() {
        let secrets = ["secret".to_owned()];
        for secrets in [Some(&secrets[..]), None] {
            let scheme = Scheme { secrets, tag_length: 6, separator: '+' };
            for to in ["bob@example.com", "bob+x@example.com", "a=b@example.com"] {
                let made = scheme.make(&mailbox("news@lists.example"), &mailbox(to));
                let read = scheme.read(&Mailbox { local_part: made.clone(), domain: "lists.example".to_owned() });
                assert_eq!(shown(read), format!("{to} of news"), "{made}");
            }
        }
    }

    #[test]
    fn other_addresses_are_told_apart() {
        let secrets = ["secret".to_owned()];
        let scheme = Scheme { secrets: Some(&secrets), tag_length: 6, separator: '+' };
        let plain = Scheme { secrets: None, ..scheme };
        let plain_made = plain.make(&mailbox("news@lists.example"), &mailbox("bob@example.com"));
        assert_eq!(plain_made, "news+bob=example.com");
        for (address, expected) in [
            ("news@lists.example", "ordinary"),
            ("news+shop@lists.example", "ordinary"),
            ("news+=@lists.example", "ordinary"),
            ("+a=b@lists.example", "ordinary"),
            ("news+bob=example.com@lists.example", "forged news"),
            ("news+AAAAAA=bob=example.com@lists.example", "forged news"),
        ] {
            assert_eq!(shown(scheme.read(&mailbox(address))), expected, "{address}");
        }
        // Made for one sender, it says nothing of another.
        let made = scheme.make(&mailbox("news@lists.example"), &mailbox("bob@example.com"));
        let other = Mailbox { local_part: made.clone(), domain: "other.example".to_owned() };
        assert_eq!(shown(scheme.read(&other)), "forged news");
        assert_eq!(
            shown(scheme.read(&mailbox(&format!("{}@lists.example", made.replace("bob", "eve"))))),
            "forged news"
        );
    }
}
