//! The relay's own routes, where no plugin decided. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hooks::{NextHop, Route};
use crate::mail::Domain;

/// Settings of `[routing]`: the relay's own routes, where no plugin decided.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// For recipients of exactly this domain; a leading dot means every subdomain. The most specific entry wins.
    pub domains: BTreeMap<Domain, Arc<Route>>,
    /// For everybody else; none: MX look-up of the recipient's domain.
    pub default: Option<Arc<Route>>,
}

impl Table {
    /// The route of a recipient's domain: of its own entry, else of the longest suffix, else the default, else by MX.
    pub fn route(&self, domain: &Domain) -> Arc<Route> {
        if let Some(route) = self.find(domain).or(self.default.as_ref()) {
            return own(route, domain);
        }
        Arc::new(Route { hops: vec![NextHop::Mx(domain.as_str().into())], ..Route::default() })
    }

    fn find(&self, domain: &Domain) -> Option<&Arc<Route>> {
        if self.domains.is_empty() {
            return None;
        }
        if let Some(route) = self.domains.get(domain) {
            return Some(route);
        }
        // A literal has no subdomains: the dots in it are not those of a name.
        let name = if domain.is_literal() { "" } else { domain.as_str() };
        let mut suffixes = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
        suffixes.find_map(|suffix| self.domains.get(suffix))
    }
}

/// An MX hop without a domain means the recipient's: entries for many domains can't name it.
fn own(route: &Arc<Route>, domain: &Domain) -> Arc<Route> {
    let is_open = |hop: &NextHop| matches!(hop, NextHop::Mx(of) if of.is_empty());
    if !route.hops.iter().any(is_open) {
        return Arc::clone(route);
    }
    let mut route = Route::clone(route);
    for hop in route.hops.iter_mut().filter(|hop| is_open(hop)) {
        *hop = NextHop::Mx(domain.as_str().into());
    }
    Arc::new(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(host: &str) -> Arc<Route> {
        Arc::new(Route { hops: vec![NextHop::Smtp { host: host.into(), port: 25 }], ..Route::default() })
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn mx_without_a_domain_is_the_recipients() {
        let hops = vec![NextHop::Smtp { host: "first".into(), port: 25 }, NextHop::Mx("".into())];
        let table = Table { default: Some(Arc::new(Route { hops, ..Route::default() })), ..Table::default() };
        let hops = &table.route(&domain("example.org")).hops;
        assert_eq!(hops.last(), Some(&NextHop::Mx("example.org".into())));
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let mut table = Table { default: Some(via("default")), ..Table::default() };
        let entries = [
            ("example.net", "exact"),
            (".example.net", "suffix"),
            (".Deep.example.net", "deep"),
            ("[192.0.2.1]", "literal"),
        ];
        for (pattern, host) in entries {
            table.domains.insert(Domain::parse_pattern(pattern).unwrap(), via(host));
        }
        let cases = [
            ("example.net", "exact"),
            ("a.example.net", "suffix"),
            ("a.b.example.net", "suffix"),
            ("deep.example.net", "suffix"),
            ("x.deep.example.net", "deep"),
            ("notexample.net", "default"),
            ("net", "default"),
            ("[192.0.2.1]", "literal"),
            ("[198.0.2.1]", "default"),
        ];
        for (name, want) in cases {
            assert_eq!(table.route(&domain(name)), via(want), "{name}");
        }
        table.default = None;
        assert_eq!(table.route(&domain("example.org")).hops, [NextHop::Mx("example.org".into())]);
    }
}
