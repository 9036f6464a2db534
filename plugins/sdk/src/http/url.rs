//! URLs as far as a request needs them: scheme, authority, and what is asked for. Pure.

use std::fmt;
use std::str::FromStr;

/// An absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    authority: String,
    path: String,
}

impl Url {
    /// Scheme, host and perhaps port, as `grants.http.allow` has them: `https://api.example.com`.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }

    /// True for `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and perhaps port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query, at least `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// True where what is said to the server does not leave this machine: a loopback address or `localhost`.
    pub fn is_local(&self) -> bool {
        let host = match self.authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.authority.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

impl FromStr for Url {
    type Err = String;

    /// The errors do not repeat the URL: there may be a token in it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it does not begin with https:// or http://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("it does not begin with https:// or http://".to_owned()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("it has a name or password in it; put that into a header".to_owned());
        }
        check_authority(authority)?;
        if !path.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("its path has characters that have to be written as %XX".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_ascii_lowercase(), path })
    }
}

fn check_authority(authority: &str) -> Result<(), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("its address has no closing bracket")?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "there is no IPv6 address between its brackets")?;
            (address, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")))
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p)));
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || !host.chars().all(fits) {
                return Err("its host is no name; write other scripts as xn-- labels".to_owned());
            }
            (host, Some(port.unwrap_or_default()).filter(|p| !p.is_empty() || port.is_none()))
        }
    };
    let port = port.ok_or("its port is missing or odd")?;
    if !port.is_empty() && !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("its port is not from 1 to 65535".to_owned());
    }
    if host.len() > 253 { Err("its host is too long".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, origin, path) in [
            ("https://api.example.com", "https://api.example.com", "/"),
            ("HTTP://API.example.com:8080/a/b?c=d#e", "http://api.example.com:8080", "/a/b?c=d"),
            ("http://127.0.0.1:11333/checkv2", "http://127.0.0.1:11333", "/checkv2"),
            ("http://[::1]:80?x=1", "http://[::1]:80", "/?x=1"),
            ("https://[2001:db8::1]/", "https://[2001:db8::1]", "/"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.origin().as_str(), url.path()), (origin, path), "{text}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com/",
            "https://",
            "https:///path",
            "https://user:secret@example.com/",
            "https://exa mple.com/",
            "https://example.com:0/",
            "https://example.com:/",
            "https://example.com:99999/",
            "https://example.com/a b",
            "https://example.com/\u{fc}",
            "https://m\u{fc}ller.example/",
            "https://[::1",
            "https://[::1]x/",
            "https://[x]/",
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (text, local) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.9/", true),
            ("http://[::1]:8/", true),
            ("http://192.0.2.1/", false),
            ("http://localhost.example/", false),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().is_local(), local, "{text}");
        }
    }
}
