//! Names that nobody uses, and names that are nowhere defined. Often a slip of the pen in one of two places.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Advice;
use crate::delivery::{Config, Credential, Destination, Proxy};
use crate::hooks::{NextHop, Route};

pub(super) fn advise(advice: &mut Advice<'_>) {
    // A plugin may name any of them in a route of its own.
    if advice.settings.plugins.plugins.is_empty() {
        unused(advice);
    } else {
        useless(advice);
    }
}

/// Credentials that no plugin's route can use either.
fn useless(advice: &mut Advice<'_>) {
    let delivery = &advice.settings.delivery;
    let proxied = proxied(delivery);
    let useless =
        delivery.credentials.iter().filter(|(name, own)| !delivery.trusted.is_anywhere(name) && !proxied.contains(own));
    let keys: Vec<String> = useless.map(|(name, _)| format!("credentials.{name}")).collect();
    for key in keys {
        let problem = "no route names it, and no plugin can have it presented: it has no hosts";
        advice.say(&key, problem, "list the hosts that it is for, or name it in a route");
    }
}

/// Credentials for proxies.
fn proxied(delivery: &Config) -> Vec<&Credential> {
    let proxies = delivery.sources.values().filter_map(|source| source.proxy.as_ref());
    proxies
        .filter_map(|proxy| match proxy {
            Proxy::Socks5 { credential, .. } => credential.as_ref(),
            Proxy::HaProxy { .. } => None,
        })
        .collect()
}

/// What the routes of the configuration name.
#[derive(Default)]
struct Used {
    lanes: BTreeSet<Arc<str>>,
    credentials: BTreeSet<Arc<str>>,
    sources: BTreeSet<Arc<str>>,
    retries: BTreeSet<Arc<str>>,
    destinations: BTreeSet<Arc<str>>,
}

impl Used {
    fn add(&mut self, route: &Route) {
        self.lanes.extend(route.lane.clone());
        self.credentials.extend(route.credential.clone());
        self.sources.extend(route.source.clone());
        self.retries.extend(route.retry_schedule.clone());
        self.destinations.extend(route.hops.iter().filter_map(|hop| match hop {
            NextHop::Named(name) => Some(name.clone()),
            _ => None,
        }));
    }
}

fn unused(advice: &mut Advice<'_>) {
    let (routing, delivery) = (&advice.settings.routing, &advice.settings.delivery);
    let mut used = Used::default();
    routing.domains.values().chain(routing.default.iter()).for_each(|route| used.add(route));
    for destination in delivery.destinations.values() {
        if let Destination::Route(route) = destination {
            used.add(route);
        }
    }
    used.sources.extend(delivery.shaping.rules.iter().flat_map(|rule| rule.set.from.clone()));
    let pools = delivery.pools.iter().filter(|(name, _)| used.sources.contains(*name));
    let members: Vec<_> = pools.flat_map(|(_, pool)| pool.members.iter().map(|(name, _)| name.clone())).collect();
    used.sources.extend(members);
    let proxied = proxied(delivery);
    // What lists its hosts is for routes that operators give to mail in the queue.
    let is_used = |name: &str, own: &Credential| proxied.contains(&own) || delivery.trusted.is_anywhere(name);
    let known = delivery.credentials.iter().filter(|(name, own)| is_used(name, own));
    used.credentials.extend(known.map(|(name, _)| name.clone()));
    let defined = [
        ("lanes", delivery.lanes.keys().collect::<Vec<_>>(), &used.lanes),
        ("credentials", delivery.credentials.keys().collect(), &used.credentials),
        ("sources", delivery.sources.keys().collect(), &used.sources),
        ("pools", delivery.pools.keys().collect(), &used.sources),
        ("retry", delivery.schedules.keys().collect(), &used.retries),
        ("destinations", delivery.destinations.keys().collect(), &used.destinations),
    ];
    let unused = defined.into_iter().flat_map(|(section, names, used)| {
        names.into_iter().filter(|name| !used.contains(*name)).map(move |name| format!("{section}.{name}"))
    });
    for key in unused.collect::<Vec<_>>() {
        advice.say(&key, "no route names it", "name it in a route, or take it out");
    }
}
