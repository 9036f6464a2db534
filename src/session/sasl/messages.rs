//! What clients say in PLAIN, EXTERNAL, OAUTHBEARER and XOAUTH2: octets to fields. Must never take a message for what
//! it might have meant.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub acts_as: &'a str,
    pub name: &'a str,
    pub secret: &'a str,
}

impl<'a> Plain<'a> {
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(message).ok()?.split('\0');
        let (acts_as, name, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && is_name(name) && !secret.is_empty();
        (whole && (acts_as.is_empty() || is_name(acts_as))).then_some(Self { acts_as, name, secret })
    }
}

/// A bearer token, and whose it is said to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bearer<'a> {
    /// Empty where OAUTHBEARER names nobody: the token says it.
    pub name: String,
    pub token: &'a str,
    /// `host` and `port`, where the client named them.
    pub details: Vec<(Arc<str>, Arc<str>)>,
}

impl<'a> Bearer<'a> {
    /// OAUTHBEARER: `n,a=NAME,^Ahost=HOST^Aport=PORT^Aauth=Bearer TOKEN^A^A` (RFC 7628 section 3.1). There is no channel
    /// to bind to.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let fields = std::str::from_utf8(message).ok()?.strip_suffix("\x01\x01")?;
        let (header, fields) = fields.split_once('\x01')?;
        let authzid = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,"))?.strip_suffix(',')?;
        let name = if authzid.is_empty() { String::new() } else { unescape(authzid.strip_prefix("a=")?)? };
        let (mut token, mut details) = (None, Vec::new());
        for field in fields.split('\x01') {
            let (key, value) = field.split_once('=')?;
            match key {
                // Which of two would be the right one?
                "auth" if token.is_some() => return None,
                "auth" => token = Some(bearer(value)?),
                "host" | "port" if is_name(value) && details.len() < 2 => details.push((key.into(), value.into())),
                _ if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphabetic()) => return None,
                // Unknown keys are ignored (RFC 7628 section 3.1).
                _ => {}
            }
        }
        Some(Self { name, token: token?, details })
    }

    /// XOAUTH2: `user=NAME^Aauth=Bearer TOKEN^A^A`.
    pub(super) fn read_xoauth2(message: &'a [u8]) -> Option<Self> {
        let fields = std::str::from_utf8(message).ok()?.strip_suffix("\x01\x01")?;
        let (user, auth) = fields.split_once('\x01')?;
        let name = user.strip_prefix("user=").filter(|name| is_name(name))?;
        Some(Self { name: name.to_owned(), token: bearer(auth.strip_prefix("auth=")?)?, details: Vec::new() })
    }
}

/// `Bearer b64token` (RFC 6750 section 2.1); the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let body = token.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    (scheme.eq_ignore_ascii_case("Bearer") && !body.is_empty() && body.bytes().all(allowed)).then_some(token)
}

/// A `saslname` (RFC 5801 section 4): a comma is `=2C` in it, an equals sign `=3D`.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    (is_name(&name) && !text.contains(',')).then_some(name)
}

/// Names get into logs and fields.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control)
}

pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(super) fn encode(message: &[u8]) -> String {
    STANDARD.encode(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts() {
        let read = |message: &'static str| Plain::read(message.as_bytes()).map(|p| (p.acts_as, p.name, p.secret));
        assert_eq!(read("\0tim\0tanstaaftanstaaf"), Some(("", "tim", "tanstaaftanstaaf")), "RFC 4616 section 4");
        assert_eq!(read("Ursel\0Kurt\0xipj3plmq"), Some(("Ursel", "Kurt", "xipj3plmq")));
        for bad in ["", "\0", "tim", "\0tim", "\0tim\0", "\0\0x", "\0tim\0x\0", "\0t\nim\0x", "\n\0tim\0x"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(Plain::read(b"\0tim\0\xff"), None);
    }

    #[test]
    fn the_examples_of_rfc_7628_are_read() {
        let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let read = Bearer::read(message).unwrap();
        assert_eq!((&*read.name, read.token), ("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="));
        let details = [("host", "server.example.com"), ("port", "143")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(read.details, details);
        let nobody = Bearer::read(b"n,,\x01auth=bearer t\x01\x01").unwrap();
        assert_eq!((&*nobody.name, nobody.token), ("", "t"));
        assert_eq!(Bearer::read(b"y,a=a=2Cb=3D,\x01mtid=1=2\x01auth=Bearer t\x01\x01").unwrap().name, "a,b=");
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one() {
        for bad in [
            "",
            "\x01\x01",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer t\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearer ==\x01\x01",
            "n,,\x01auth=Bearer a b\x01\x01",
            "n,,\x01auth=Basic t\x01\x01",
            "n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
            "n,,\x01no-key\x01auth=Bearer t\x01\x01",
            "n,,\x01=x\x01auth=Bearer t\x01\x01",
            "n,a=,\x01auth=Bearer t\x01\x01",
            "n,ann,\x01auth=Bearer t\x01\x01",
            "n,a=a,b,\x01auth=Bearer t\x01\x01",
            "p=tls-exporter,,\x01auth=Bearer t\x01\x01",
            "user=ann\x01auth=Bearer t\x01\x01",
        ] {
            assert_eq!(Bearer::read(bad.as_bytes()), None, "{bad:?}");
        }
        let xoauth2 = |text: &'static str| Bearer::read_xoauth2(text.as_bytes()).map(|read| (read.name, read.token));
        let known = Some(("someuser@example.com".to_owned(), "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"));
        assert_eq!(
            xoauth2("user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"),
            known
        );
        for bad in [
            "",
            "user=\x01auth=Bearer t\x01\x01",
            "user=a\x01auth=t\x01\x01",
            "user=a\x01\x01",
            "n,,\x01auth=Bearer t\x01\x01",
        ] {
            assert_eq!(xoauth2(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn escapes_are_two() {
        assert_eq!(unescape("a=2Cb=3Dc").as_deref(), Some("a,b=c"));
        assert_eq!(unescape("=3D2C").as_deref(), Some("=2C"));
        for bad in ["", "=", "=2", "=2c", "a=", "a,b", "=ü", "a\n"] {
            assert_eq!(unescape(bad), None, "{bad:?}");
        }
    }
}
