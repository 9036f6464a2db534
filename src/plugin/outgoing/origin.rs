//! Scheme, host and port: what a request is held against.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
}

/// The two that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A name in lower case, or an address that was written as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Origin {
    /// From a URI's scheme and authority, whatever its path. None where they are not plain: a user name, a port that is
    /// none.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let (scheme, port) = match uri.scheme_str()? {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return None,
        };
        let authority = uri.authority()?;
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => port,
            rest => rest.strip_prefix(':')?.parse().ok()?,
        };
        Some(Self { scheme, host: Host::parse(authority.host())?, port })
    }

    /// From an entry of the list of origins.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::of(&text.parse().ok()?)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match literal {
            Some(literal) => Some(IpAddr::V6(literal.parse().ok()?)),
            None => text.parse().ok(),
        };
        match address {
            Some(address) => Some(Self::Address(address)),
            None if text.is_empty() => None,
            None => Some(Self::Name(text.to_ascii_lowercase())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Origin> {
        Origin::of(&text.parse().ok()?)
    }

    #[test]
    fn a_request_is_held_against_scheme_host_and_port() {
        let table = [
            ("https://api.example.com:443", "https://api.example.com/v1?key=s", true),
            ("https://api.example.com:443", "https://API.example.COM:443", true),
            ("https://api.example.com:443", "http://api.example.com/", false),
            ("https://api.example.com:443", "http://api.example.com:443/", false),
            ("https://api.example.com:443", "https://api.example.com:8443/", false),
            ("https://api.example.com:443", "https://example.com/", false),
            ("https://api.example.com:443", "https://api.example.com.evil.test/", false),
            ("https://api.example.com:443", "https://evil.test/api.example.com", false),
            ("https://api.example.com:443", "https://api.example.com./", false),
            ("http://127.0.0.1:11333", "http://127.0.0.1:11333/check", true),
            ("http://127.0.0.1:11333", "http://127.0.0.1/check", false),
            ("http://127.0.0.1:11333", "http://localhost:11333/", false),
            ("http://127.0.0.1:11333", "http://[::ffff:127.0.0.1]:11333/", false),
            ("http://127.0.0.1:80", "http://2130706433/", false),
            ("http://127.0.0.1:80", "http://127.1/", false),
            ("http://[::1]:80", "http://[0:0:0:0:0:0:0:1]/", true),
            ("http://[::1]:80", "http://[::]/", false),
        ];
        for (allowed, asked, same) in table {
            assert_eq!(Origin::parse(allowed) == of(asked), same, "{allowed} {asked}");
        }
    }

    #[test]
    fn what_is_not_plain_is_no_origin() {
        for uri in [
            "https://user@api.example.com/",
            "https://api.example.com@evil.test/",
            "https://api.example.com:99999/",
            "https://[fe80::1%25eth0]/",
            "ftp://api.example.com/",
            "/path",
        ] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }

    #[test]
    fn it_is_written_as_the_configuration_has_it() {
        for text in ["https://api.example.com:443", "http://[::1]:8080", "http://192.0.2.1:80"] {
            assert_eq!(of(text).map(|origin| origin.to_string()).as_deref(), Some(text));
        }
    }
}
