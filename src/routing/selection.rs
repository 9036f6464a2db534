//! Which of the hosts that the DNS names are spoken to at all. Pure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Exchangers tried of one domain. Large domains list five or so; the rest is a mistake or a trap.
const HOSTS: usize = 10;

/// Addresses tried within one attempt (Postfix's number too): more would keep a worker for long.
const ADDRESSES: usize = 5;

/// What `[delivery]` says of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Networks where no mail goes that was led there by the DNS; configured hops may.
    pub never: Arc<[IpNet]>,
    /// What leads back to this relay.
    pub own: Own,
    /// Exchangers that are left out: names in lower case; with a leading dot, all below one.
    pub skip_hosts: Arc<[Arc<str>]>,
    /// Exchangers tried of one domain.
    pub max_hosts: usize,
    /// Addresses tried of one hop; RFC 5321 section 5.1 asks for two at least.
    pub max_addresses: usize,
    /// TLSA records are asked for where the route does not insist on another way.
    pub dane: bool,
}

/// What leads back to this relay (RFC 5321 section 5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its names, in lower case.
    pub names: Vec<Arc<str>>,
    /// Its addresses, at whatever port: of a host in front of it that hands connections on.
    pub addresses: Vec<IpAddr>,
    /// Where it listens.
    pub listeners: Vec<SocketAddr>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            never: Self::nowhere().into(),
            own: Own::default(),
            skip_hosts: Arc::default(),
            max_hosts: HOSTS,
            max_addresses: ADDRESSES,
            dane: true,
        }
    }
}

impl Selection {
    /// Where no other host can be, and what no single host has: unspecified, loopback, multicast, broadcast.
    pub fn nowhere() -> Vec<IpNet> {
        let four = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([224, 0, 0, 0], 4), ([255, 255, 255, 255], 32)];
        let six = [([0; 8], 128), ([0, 0, 0, 0, 0, 0, 0, 1], 128), ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)];
        let four = four.into_iter().filter_map(|(net, length)| Ipv4Net::new(net.into(), length).ok()).map(IpNet::V4);
        let six = six.into_iter().filter_map(|(net, length)| Ipv6Net::new(net.into(), length).ok()).map(IpNet::V6);
        four.chain(six).collect()
    }

    /// The network that keeps mail from this address.
    pub fn forbids(&self, ip: IpAddr) -> Option<&IpNet> {
        let ip = ip.to_canonical();
        self.never.iter().find(|net| net.contains(&ip))
    }

    /// True if the operator leaves this host out.
    pub fn skips(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let below = |above: &str| {
            let start = host.len().checked_sub(above.len());
            start.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(above))
        };
        self.skip_hosts.iter().any(|skip| if skip.starts_with('.') { below(skip) } else { same_host(skip, host) })
    }
}

impl Own {
    /// True if this is a name of the relay.
    pub fn is_name(&self, host: &str) -> bool {
        self.names.iter().any(|own| same_host(host, own))
    }

    /// True if a connection there would come back here.
    pub fn is_address(&self, to: SocketAddr) -> bool {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let to = canonical(to);
        self.addresses.iter().any(|own| own.to_canonical() == to.ip())
            || self.listeners.iter().any(|own| canonical(*own) == to)
    }
}

/// Names of hosts know neither case nor a final dot.
pub(super) fn same_host(a: &str, b: &str) -> bool {
    let (a, b) = (a.strip_suffix('.').unwrap_or(a), b.strip_suffix('.').unwrap_or(b));
    !b.is_empty() && a.eq_ignore_ascii_case(b)
}

/// The first `most` addresses of a host, with one at least of each family that it has: where one does not work, no other
/// address of it will.
pub(super) fn cut(addresses: Vec<IpAddr>, most: usize) -> Vec<IpAddr> {
    let mut kept = addresses;
    let rest = kept.split_off(most.min(kept.len()));
    let lone = kept.first().copied().filter(|first| kept.iter().all(|ip| ip.is_ipv4() == first.is_ipv4()));
    let other = lone.and_then(|first| rest.into_iter().find(|ip| ip.is_ipv4() != first.is_ipv4()));
    if let Some(other) = other.filter(|_| most > 1) {
        kept.pop();
        kept.push(other);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn nobody_is_reached_where_nobody_can_be() {
        let selection = Selection::default();
        let table = [
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("127.0.0.1", true),
            ("127.255.0.1", true),
            ("224.0.0.1", true),
            ("239.255.255.255", true),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("ff02::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("128.0.0.1", false),
            ("::2", false),
            ("2001:db8::1", false),
            ("::ffff:192.0.2.1", false),
        ];
        for (ip, forbidden) in table {
            assert_eq!(selection.forbids(ip.parse().unwrap()).is_some(), forbidden, "{ip}");
        }
    }

    #[test]
    fn hosts_are_left_out_by_name() {
        let skip_hosts = [Arc::from("mx.example.org"), Arc::from(".example.net")].into();
        let selection = Selection { skip_hosts, ..Selection::default() };
        let table = [
            ("mx.example.org", true),
            ("MX.Example.ORG.", true),
            ("a.mx.example.org", false),
            ("example.net", false),
            ("a.example.net", true),
            ("A.B.Example.NET.", true),
            ("xexample.net", false),
            (".", false),
            ("", false),
        ];
        for (host, skipped) in table {
            assert_eq!(selection.skips(host), skipped, "{host}");
        }
    }

    #[test]
    fn what_is_ours_is_known() {
        let own = Own {
            names: vec!["relay.example.org".into()],
            addresses: ips(&["192.0.2.1"]),
            listeners: vec!["192.0.2.2:25".parse().unwrap()],
        };
        assert!(own.is_name("Relay.Example.org.") && !own.is_name("example.org") && !own.is_name(""));
        for (to, ours) in [
            ("192.0.2.1:25", true),
            ("192.0.2.1:2525", true),
            ("[::ffff:192.0.2.1]:25", true),
            ("192.0.2.2:25", true),
            ("192.0.2.2:26", false),
            ("192.0.2.3:25", false),
        ] {
            assert_eq!(own.is_address(to.parse().unwrap()), ours, "{to}");
        }
    }

    #[test]
    fn both_families_survive_a_cut() {
        let (six, four) = (ips(&["2001:db8::1", "2001:db8::2", "2001:db8::3"]), ips(&["192.0.2.1", "192.0.2.2"]));
        let all: Vec<IpAddr> = six.iter().chain(&four).copied().collect();
        assert_eq!(cut(all.clone(), 9), all);
        assert_eq!(cut(all.clone(), 4), all[..4]);
        assert_eq!(cut(all.clone(), 3), [six[0], six[1], four[0]]);
        assert_eq!(cut(all.clone(), 2), [six[0], four[0]]);
        assert_eq!(cut(all.clone(), 1), [six[0]]);
        assert_eq!(cut(six.clone(), 2), six[..2]);
        assert_eq!(cut(Vec::new(), 2), Vec::<IpAddr>::new());
    }
}
