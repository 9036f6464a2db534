//! Settings of the dialogue: of `[smtp]`, `[relay]` and one `[listeners.NAME]`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::AuthRules;
use crate::mail::Domain;
use crate::smtp::Extensions;

/// What a session needs to know. Times are not here: the loop that drives it keeps them.
#[derive(Clone, Debug)]
pub struct Config {
    /// This relay's name, in the greeting and in trace fields.
    pub hostname: Arc<str>,
    /// The listener speaks LMTP (RFC 2033) in place of SMTP.
    pub lmtp: bool,
    /// Who may relay where.
    pub relay: RelayRules,
    /// What is offered at EHLO, to clients for whom it makes sense at the time.
    pub extensions: Extensions,
    /// Octets of a message, header section and body; below 2 GiB.
    pub max_message_size: u64,
    /// Octets of a header section: it is held in memory.
    pub max_header_size: usize,
    /// Recipients of one transaction; RFC 5321 section 4.5.3.1.8 asks for at least 100.
    pub max_recipients: usize,
    /// Transactions of one connection.
    pub max_transactions: u32,
    /// Refused or unknown commands before the connection is closed.
    pub max_errors: u32,
    /// Received fields before a message is taken for a loop (RFC 5321 section 6.3).
    pub max_hops: usize,
    /// Mail is submitted here (RFC 6409): what it lacks is added, and its domains are whole names.
    pub submission: bool,
    /// Octets of a line of a message, CRLF included.
    pub max_line_length: usize,
    /// What is done about bare CR and LF.
    pub line_ends: LineEnds,
    /// Clients that don't wait for answers they must wait for are turned away (RFC 2920 section 3.1).
    pub strict_pipelining: bool,
    /// Peers of these networks may say for whom they speak (XCLIENT).
    pub xclient_from: Vec<ipnet::IpNet>,
    /// How long a message may be asked to wait (RFC 4865), in seconds.
    pub max_hold: u64,
    /// This listener takes mail from authenticated clients only.
    pub require_auth: bool,
    /// AUTH is offered only under TLS unless this is set; never by default.
    pub allow_plaintext_auth: bool,
    /// Which mechanisms, and what EXTERNAL takes.
    pub auth: AuthRules,
}

/// What is done about a CR or LF that is not part of CRLF, and about NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnds {
    /// The message is refused (RFC 5321 section 2.3.8).
    #[default]
    Reject,
    /// A bare LF becomes CRLF, others a space; only CRLF, dot, CRLF ends a message all the same.
    Normalise,
}

impl Config {
    /// True if a peer at this address may say for whom it speaks.
    pub fn may_xclient(&self, address: &str) -> bool {
        let address = address.parse::<IpAddr>().map(|address| address.to_canonical());
        address.is_ok_and(|address| self.xclient_from.iter().any(|net| net.contains(&address)))
    }
}

/// Relay access (RFC 5321 section 7.8 and every blocklist): closed unless one of these says otherwise.
#[derive(Clone, Debug, Default)]
pub struct RelayRules {
    /// Clients of these networks may send to anybody.
    pub networks: Vec<ipnet::IpNet>,
    /// Anybody may send to these domains; a leading dot means every subdomain.
    pub domains: BTreeSet<Domain>,
}

impl RelayRules {
    /// True if the client's address alone lets it relay.
    pub fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.networks.iter().any(|net| net.contains(&client))
    }

    /// True if anybody may send to this domain. An address literal is one only where it is listed itself.
    pub fn takes(&self, domain: &Domain) -> bool {
        let name = domain.as_str();
        self.domains.contains(name)
            || name.match_indices('.').any(|(at, _)| name.get(at..).is_some_and(|suffix| self.domains.contains(suffix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_taken_exactly_or_by_suffix() {
        let listed = ["example.net", ".example.org", "[192.0.2.1]"].map(|text| Domain::parse_pattern(text).unwrap());
        let rules = RelayRules { domains: listed.into(), ..RelayRules::default() };
        let takes = |text| rules.takes(&Domain::parse(text).unwrap());
        for domain in ["example.net", "EXAMPLE.NET", "a.example.org", "a.b.example.org", "[192.0.2.1]"] {
            assert!(takes(domain), "{domain}");
        }
        for domain in ["a.example.net", "example.org", "badexample.org", "[192.0.2.2]", "org"] {
            assert!(!takes(domain), "{domain}");
        }
    }

    #[test]
    fn mapped_addresses_are_those_they_map() {
        let rules = RelayRules { networks: vec!["192.0.2.0/24".parse().unwrap()], ..RelayRules::default() };
        assert!(rules.trusts("::ffff:192.0.2.7".parse().unwrap()));
        assert!(!rules.trusts("::ffff:192.0.3.7".parse().unwrap()) && !rules.trusts("::1".parse().unwrap()));
    }
}
