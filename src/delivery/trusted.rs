//! Which hosts each credential is for: those that the configuration itself uses it with, and those that it lists.
//!
//! Must never let the word of a plugin, or a route that was stored with a message, show a password to another host, nor to one of
//! these under less protection than the configuration asks for there. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::shaping::stricter;
use crate::hooks::{NextHop, Route, TlsPolicy};
use crate::mail::Domain;

/// A host that an operator lists for a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedHost {
    /// A name, or with a dot in front all names below it.
    Name(Domain),
    /// An address.
    Address(IpAddr),
}

/// By credential: where it may be presented, and how well protected it has to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(BTreeMap<Arc<str>, Vec<(Place, TlsPolicy)>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Exactly this hop: the configuration names it together with the credential.
    Hop(NextHop),
    /// This host, at whatever port.
    Host(TrustedHost),
}

impl Trusted {
    /// Takes in a route of the configuration.
    pub fn add_route(&mut self, route: &Route) {
        let Some(credential) = &route.credential else { return };
        let places = route.hops.iter().map(|hop| (Place::Hop(hop.clone()), asked(route)));
        self.0.entry(credential.clone()).or_default().extend(places);
    }

    /// Takes in a host that is listed for a credential: its certificate has to verify.
    pub fn add_host(&mut self, credential: &Arc<str>, host: TrustedHost) {
        self.0.entry(credential.clone()).or_default().push((Place::Host(host), TlsPolicy::Verify));
    }

    /// Whether a credential can be presented anywhere.
    pub fn is_anywhere(&self, credential: &str) -> bool {
        self.0.get(credential).is_some_and(|places| !places.is_empty())
    }

    /// How a connection to `hop` has to be protected for a route's credential; at least as the route itself wants it. None: the
    /// credential is not for this hop.
    pub(super) fn tls(&self, credential: &str, hop: &NextHop, route: &Route) -> Option<TlsPolicy> {
        let places = self.0.get(credential)?.iter().filter(|(place, _)| place.is(hop));
        // Of two routes of the configuration with the same hop, each is taken at its word: the weaker is what is asked for at least.
        let least = places.map(|(_, tls)| *tls).reduce(|a, b| if stricter(a, Some(b)) == a { b } else { a })?;
        Some(stricter(asked(route), Some(least)))
    }
}

/// A password is for a host that has proved itself; a route that says otherwise is taken at its word.
fn asked(route: &Route) -> TlsPolicy {
    match route.tls {
        TlsPolicy::Inherit => TlsPolicy::Verify,
        own => own,
    }
}

impl Place {
    fn is(&self, hop: &NextHop) -> bool {
        match (self, hop) {
            (Self::Hop(NextHop::Mx(own)), NextHop::Mx(domain)) => own.eq_ignore_ascii_case(domain),
            (Self::Hop(NextHop::Smtp { host: own, port: at }), NextHop::Smtp { host, port })
            | (Self::Hop(NextHop::Lmtp { host: own, port: at }), NextHop::Lmtp { host, port }) => {
                let is_path = own.starts_with("unix:");
                (if is_path { own == host } else { own.eq_ignore_ascii_case(host) }) && (is_path || at == port)
            }
            (Self::Host(listed), NextHop::Smtp { host, .. } | NextHop::Lmtp { host, .. }) => listed.is(host),
            // Whoever writes a domain's MX records would choose the host.
            _ => false,
        }
    }
}

impl TrustedHost {
    fn is(&self, host: &str) -> bool {
        match self {
            Self::Address(own) => host.trim_matches(['[', ']']).parse() == Ok(*own),
            Self::Name(own) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let own = own.as_str();
                host == own || own.starts_with('.') && host.len() > own.len() && host.ends_with(own)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(host: &str, port: u16) -> NextHop {
        NextHop::Smtp { host: host.into(), port }
    }

    fn route(hop: NextHop, tls: TlsPolicy) -> Route {
        Route { hops: vec![hop], tls, credential: Some("smart".into()), ..Route::default() }
    }

    fn trusted() -> Trusted {
        let mut trusted = Trusted::default();
        trusted.add_route(&route(smtp("smart.test", 587), TlsPolicy::Inherit));
        trusted.add_route(&route(smtp("lax.test", 587), TlsPolicy::Encrypt));
        trusted.add_route(&route(smtp("both.test", 25), TlsPolicy::Verify));
        trusted.add_route(&route(smtp("both.test", 25), TlsPolicy::Encrypt));
        trusted.add_route(&route(NextHop::Mx("mx.test".into()), TlsPolicy::Verify));
        trusted.add_route(&route(NextHop::Lmtp { host: "unix:/run/Lmtp".into(), port: 0 }, TlsPolicy::Verify));
        trusted.add_route(&Route { credential: None, ..route(smtp("open.test", 25), TlsPolicy::Off) });
        for name in ["one.test", ".below.test"] {
            trusted.add_host(&"smart".into(), TrustedHost::Name(Domain::parse_pattern(name).unwrap()));
        }
        trusted.add_host(&"smart".into(), TrustedHost::Address("2001:db8::1".parse().unwrap()));
        trusted
    }

    #[test]
    fn a_credential_is_for_the_hosts_that_the_configuration_names() {
        use TlsPolicy::{Dane, Encrypt, Inherit, Off, Verify};
        let trusted = trusted();
        let lmtp = |host: &str, port| NextHop::Lmtp { host: host.into(), port };
        let cases = [
            (smtp("SMART.test", 587), Inherit, Some(Verify)),
            (smtp("smart.test", 587), Dane, Some(Dane)),
            // A plugin can't have it sent with less care.
            (smtp("smart.test", 587), Encrypt, Some(Verify)),
            (smtp("smart.test", 587), Off, Some(Verify)),
            (smtp("smart.test", 25), Verify, None),
            (smtp("evil.test", 587), Verify, None),
            (smtp("smart.test.evil.test", 587), Verify, None),
            (lmtp("smart.test", 587), Verify, None),
            (smtp("lax.test", 587), Encrypt, Some(Encrypt)),
            (smtp("lax.test", 587), Inherit, Some(Verify)),
            (smtp("both.test", 25), Encrypt, Some(Encrypt)),
            (smtp("both.test", 25), Verify, Some(Verify)),
            (NextHop::Mx("mx.test".into()), Inherit, Some(Verify)),
            (NextHop::Mx("one.test".into()), Verify, None),
            (NextHop::Mx("evil.test".into()), Verify, None),
            (lmtp("unix:/run/Lmtp", 24), Inherit, Some(Verify)),
            (lmtp("unix:/run/lmtp", 0), Inherit, None),
            (smtp("open.test", 25), Verify, None),
            (smtp("One.Test.", 2525), Encrypt, Some(Verify)),
            (lmtp("one.test", 24), Inherit, Some(Verify)),
            (smtp("a.one.test", 25), Verify, None),
            (smtp("a.below.test", 25), Verify, Some(Verify)),
            (smtp("below.test", 25), Verify, None),
            (smtp("evilbelow.test", 25), Verify, None),
            (smtp("2001:DB8:0::1", 25), Verify, Some(Verify)),
            (smtp("2001:db8::2", 25), Verify, None),
            (NextHop::Named("smart.test".into()), Verify, None),
        ];
        for (hop, tls, want) in cases {
            assert_eq!(trusted.tls("smart", &hop, &route(hop.clone(), tls)), want, "{hop:?} {tls:?}");
            assert_eq!(trusted.tls("other", &hop, &route(hop.clone(), tls)), None);
        }
        assert!(trusted.is_anywhere("smart") && !trusted.is_anywhere("other"));
    }
}
