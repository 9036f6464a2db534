//! How much of the world a network is. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks whose addresses nobody has on the internet: loopback, private (RFC 1918, RFC 6598, RFC 4193), link-local,
/// documentation (RFC 5737, RFC 3849).
const OWN: [&str; 13] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "2001:db8::/32",
];

/// True if strangers may have addresses of it.
pub(super) fn is_public(net: &IpNet) -> bool {
    !OWN.iter().filter_map(|own| own.parse::<IpNet>().ok()).any(|own| own.contains(net))
}

/// True if strangers may have this address.
pub(super) fn is_public_address(address: IpAddr) -> bool {
    is_public(&IpNet::from(address.to_canonical()))
}

/// True if it is larger than these prefixes of IPv4 and IPv6 say.
pub(super) fn is_wider(net: &IpNet, (v4, v6): (u8, u8)) -> bool {
    net.prefix_len() < if net.addr().is_ipv4() { v4 } else { v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_have_is_public() {
        for (net, public) in [
            ("10.0.0.0/8", false),
            ("10.1.0.0/16", false),
            ("0.0.0.0/0", true),
            ("8.0.0.0/9", true),
            ("192.168.7.0/24", false),
            ("fd00::/8", false),
            ("::/0", true),
            ("2a00::/16", true),
        ] {
            assert_eq!(is_public(&net.parse().unwrap()), public, "{net}");
        }
        assert!(
            is_public_address("8.8.8.8".parse().unwrap()) && !is_public_address("::ffff:10.0.0.1".parse().unwrap())
        );
        assert!(
            is_wider(&"10.0.0.0/8".parse().unwrap(), (24, 64)) && !is_wider(&"fd00::/64".parse().unwrap(), (24, 64))
        );
    }
}
