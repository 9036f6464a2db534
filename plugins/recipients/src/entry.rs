//! What a table says of a recipient, and how that is written in the settings and in kv. Pure.

use waypost_plugin::{Mailbox, Reply, reply, split_address};

/// What becomes of mail for a recipient.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Delivered as it is addressed.
    Mailbox,
    /// Goes to these instead.
    Forward(Vec<Target>),
    /// Taken and thrown away.
    Discard,
    /// Turned away with words of its own.
    Refuse(Reply),
}

/// Where an alias leads.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// `ann`: in the alias's own domain.
    Local(String),
    /// `ann@example.org`
    Address(Mailbox),
    /// `@example.org`: the same local part in another domain.
    SameIn(String),
}

/// Reads what stands in a table: nothing or `mailbox`, `:discard`, `:refuse 550 5.1.6 text`, or targets with commas or
/// line ends between them.
pub(crate) fn entry(text: &str) -> Result<Entry, String> {
    let text = text.trim();
    if text.is_empty() || text == ":mailbox" {
        return Ok(Entry::Mailbox);
    }
    if text == ":discard" {
        return Ok(Entry::Discard);
    }
    if let Some(words) = text.strip_prefix(":refuse") {
        let reply = reply::parse(words, (550, (5, 1, 6)))?;
        return if reply.code >= 500 {
            Ok(Entry::Refuse(reply))
        } else {
            Err(format!("{} is no code from 500 to 599", reply.code))
        };
    }
    if text.starts_with(':') {
        return Err(format!("`{text}` is none of :mailbox, :discard and :refuse"));
    }
    let words = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
    words.map(target).collect::<Result<_, _>>().map(Entry::Forward)
}

/// Reads a target.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let wrong = || format!("`{text}` is no target; write ann, ann@example.org or @example.org");
    let local =
        |local: &str| !local.is_empty() && local.len() <= 64 && !local.chars().any(|c| c.is_control() || c == ' ');
    if let Some(domain) = text.strip_prefix('@') {
        return is_domain(domain).then(|| Target::SameIn(domain.to_ascii_lowercase())).ok_or_else(wrong);
    }
    match split_address(text) {
        Some((name, domain)) if local(name) && is_domain(domain) => {
            Ok(Target::Address(Mailbox { local_part: name.to_owned(), domain: domain.to_ascii_lowercase() }))
        }
        None if local(text) && !text.contains('@') => Ok(Target::Local(text.to_owned())),
        _ => Err(wrong()),
    }
}

/// True for names as the relay writes domains: labels of ASCII, or an address literal.
pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && (text.split('.').all(label) || text.starts_with('[') && text.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        for (text, expected) in [
            ("", "Mailbox"),
            (" :mailbox ", "Mailbox"),
            (":discard", "Discard"),
            ("ann", "ann"),
            ("ann, bob@Example.org\n @example.net", "ann bob@example.org @example.net"),
        ] {
            let shown = match entry(text).unwrap() {
                Entry::Mailbox => "Mailbox".to_owned(),
                Entry::Discard => "Discard".to_owned(),
                Entry::Refuse(reply) => format!("{reply:?}"),
                Entry::Forward(targets) => targets
                    .iter()
                    .map(|target| match target {
                        Target::Local(local) => local.clone(),
                        Target::Address(mailbox) => mailbox.to_string(),
                        Target::SameIn(domain) => format!("@{domain}"),
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            assert_eq!(shown, expected, "{text}");
        }
        let Entry::Refuse(reply) = entry(":refuse she left").unwrap() else { panic!("no refusal") };
        assert_eq!((reply.code, reply.lines), (550, vec!["she left".to_owned()]));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [":drop", ":refuse", ":refuse 450 later", "a b", "a@", "@", "a@b@c d", "ann@exa mple", "\u{1}"] {
            assert!(entry(text).is_err(), "{text}");
        }
    }
}
