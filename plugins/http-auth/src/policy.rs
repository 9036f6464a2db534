//! What is asked and what the answer means. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use waypost_plugin::Network;

/// What the service is asked with `request = "json"`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Question<'a> {
    #[serde(flatten)]
    pub(crate) proof: BTreeMap<&'a str, &'a str>,
    pub(crate) acts_as: Option<&'a str>,
    pub(crate) mechanism: &'a str,
    pub(crate) client: Option<String>,
    pub(crate) helo: Option<String>,
    pub(crate) listener: Option<String>,
}

/// What the service knows of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Known {
    /// Another name than the one that was offered.
    pub(crate) name: Option<String>,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Success(Known),
    Failure,
    /// Nobody can tell now.
    Unavailable(String),
}

/// Attributes that are passed on, and octets of one: they are kept with every session.
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_MAX: usize = 1024;

/// Judges by status; what is known of somebody is read where the answer is JSON.
pub(crate) fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Judgement {
    match status {
        200..300 => known(content_type, body).map_or_else(Judgement::Unavailable, Judgement::Success),
        401 | 403 => Judgement::Failure,
        other => Judgement::Unavailable(format!("its status is {other}")),
    }
}

fn known(content_type: Option<&str>, body: &[u8]) -> Result<Known, String> {
    let kind = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") || body.trim_ascii().is_empty() {
        return Ok(Known::default());
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("its answer is no table of JSON".to_owned());
    }
    let known: Known = serde_json::from_slice(body).map_err(|error| {
        format!("its answer is not of the form that was agreed on, at line {} column {}", error.line(), error.column())
    })?;
    let long = |text: &String| text.len() > ATTRIBUTE_MAX;
    let odd = known.attributes.iter().any(|(key, value)| key.is_empty() || long(key) || long(value));
    if known.attributes.len() > ATTRIBUTES_MAX
        || odd
        || known.name.as_ref().is_some_and(|name| name.is_empty() || long(name))
    {
        return Err(format!("its answer has more than {ATTRIBUTES_MAX} attributes, or one that is empty or too long"));
    }
    Ok(known)
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        escape(name, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(value: &str, into: &mut String) {
    for octet in value.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => into.push(char::from(octet)),
            b' ' => into.push('+'),
            // Writing to a String can't fail.
            _ => drop(write!(into, "%{octet:02X}")),
        }
    }
}

/// A brake's key for a client: its network, because who guesses has more than one address.
pub(crate) fn client_key(address: &str) -> String {
    let network = address.parse::<IpAddr>().map(|address| Network::around(address, 24, 64).to_string());
    format!("c:{}", network.unwrap_or_else(|_| "local".to_owned()))
}

/// A brake's key for a name, cut to what a key may have.
pub(crate) fn name_key(name: &str) -> String {
    let name: String = name.to_lowercase().chars().take(120).collect();
    format!("n:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn the_status_decides() {
        for (status, expected) in [(200, "success"), (204, "success"), (401, "failure"), (403, "failure")] {
            let told = match judge(status, None, b"whatever") {
                Judgement::Success(_) => "success",
                Judgement::Failure => "failure",
                Judgement::Unavailable(_) => "unavailable",
            };
            assert_eq!(told, expected, "{status}");
        }
        for status in [302, 400, 404, 429, 500, 503] {
            assert!(matches!(judge(status, None, b""), Judgement::Unavailable(_)), "{status}");
        }
    }

    #[test]
    fn what_is_known_is_read() {
        let body = br#"{"name": "ann", "attributes": {"tenant": "a"}, "more": 1}"#;
        let Judgement::Success(known) = judge(200, JSON, body) else { panic!() };
        assert_eq!((known.name.as_deref(), known.attributes["tenant"].as_str()), (Some("ann"), "a"));
        assert_eq!(judge(200, JSON, b" "), Judgement::Success(Known::default()));
        assert_eq!(judge(200, Some("text/plain"), body), Judgement::Success(Known::default()));
        for body in [
            &b"{"[..],
            b"[]",
            b"ok",
            br#"{"name": ""}"#,
            br#"{"attributes": {"a": 1}}"#,
            br#"{"attributes": {"": "x"}}"#,
        ] {
            assert!(matches!(judge(200, JSON, body), Judgement::Unavailable(_)), "{body:?}");
        }
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(
            form(&[("user", "ann@example.org"), ("pass", "a b&c=d%\u{e9}")]),
            "user=ann%40example.org&pass=a+b%26c%3Dd%25%C3%A9"
        );
    }

    #[test]
    fn questions_name_the_fields_as_the_settings_do() {
        let question = Question {
            proof: BTreeMap::from([("user", "ann"), ("pass", "x")]),
            acts_as: None,
            mechanism: "PLAIN",
            client: Some("192.0.2.1".to_owned()),
            helo: None,
            listener: None,
        };
        assert_eq!(
            serde_json::to_string(&question).unwrap(),
            r#"{"pass":"x","user":"ann","acts-as":null,"mechanism":"PLAIN","client":"192.0.2.1","helo":null,"listener":null}"#
        );
    }

    #[test]
    fn brakes_are_for_networks_and_names() {
        assert_eq!(client_key("192.0.2.77"), "c:192.0.2.0/24");
        assert_eq!(client_key("2001:db8:1:2:3::4"), "c:2001:db8:1:2::/64");
        assert_eq!(client_key("unix:/run/x"), "c:local");
        assert_eq!(name_key("Ann"), "n:ann");
        assert!(name_key(&"\u{e9}".repeat(500)).len() < 512);
    }
}
