//! Why mail goes the way it goes: for one domain, the route and where it comes from, the exchangers, TLS, the limits and the
//! setting that caused each, and how its site stands. And a list of all sites.
//!
//! Looks and asks the DNS; changes nothing, and makes no site or lane that was not there.

mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use parts::{BackoffPart, ExchangerPart, HopPart, RetryPart, RoutePart, Setting, SitePart, show};
pub use parts::{Explanation, SiteLine};

use super::Config;
use super::config::{Leg, Way};
use super::dispatch::Dispatcher;
use super::egress::Pool;
use super::job::{HopName, LaneKey};
use super::shaping::{Effective, Reaction, stricter};
use super::site::{Site, SiteKey};
use super::sites::{Exchangers, describe};
use crate::hooks::{Hook, NextHop, Route, TlsPolicy};
use crate::mail::Domain;
use crate::queue::Schedule;
use crate::routing::{Mx, ResolveError, Resolver, Table};
use crate::sts;

/// Exchangers whose addresses are looked up.
const HOSTS: usize = 10;

/// Waits of a schedule that are shown.
const WAITS: u32 = 8;

/// Lanes named of one site.
const LANES: usize = 5;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The recipients' domain.
    pub domain: Domain,
    /// The value of the tenant's annotation.
    pub tenant: Option<String>,
    /// A bounce, which is given up sooner.
    pub null_sender: bool,
}

impl Dispatcher {
    /// Explains the way of mail for a domain.
    pub async fn explain(&self, question: &Question) -> Explanation {
        let (config, table) = (self.config(), self.table());
        let mut told = explain(&config, &table, self.resolver(), question).await;
        told.live = true;
        if self.hooks().listens(Hook::Route) {
            told.notes.push("plugins at the hook route may choose another route for a message".to_owned());
        }
        if self.hooks().listens(Hook::DeliveryAttempt) {
            told.notes
                .push("plugins at the hook delivery-attempt may hold a message back or send it elsewhere".to_owned());
        }
        let way = way(&config, &table, question);
        if let (Some(NextHop::Mx(domain)), Some(policies)) = (config.first_hop(&way.key.route), &self.wisdom().policies)
        {
            told.notes.push(policies.describe(domain, &config.tls_out.sts).await);
        }
        if let Some(source) = &way.key.source
            && let Some((_, why)) = self.sources().lock().trouble(source, self.clock().now())
        {
            told.notes.push(format!("the source {source} can't be used now: {why}"));
        }
        if let Some(found) = found(self.resolver(), &config, &way.key).await {
            let (key, _) = describe(&config, &way.key, &found);
            let sites = self.sites().all().into_iter().filter(|site| way.leads_to(&config, &site.key, &key));
            told.states = self.lines(sites.collect());
            let warmth = |source| {
                let (sent, most) = self.sources().lock().warmth(&config, source, &found.name, self.clock().now())?;
                Some(format!("the source {source} has sent {sent} of {most} messages there today"))
            };
            told.notes.extend(way.key.source.as_ref().and_then(warmth));
        }
        told
    }

    /// What is known of a domain's MTA-STS policy; asked for if that is due. None: policies are not looked for.
    pub async fn policy(&self, domain: &Domain) -> Option<sts::Found> {
        let config = self.config();
        let policies = self.wisdom().policies.as_ref().filter(|_| config.tls_out.sts.enabled)?;
        Some(policies.find(domain.as_str(), &config.tls_out.sts).await)
    }

    /// The same, fetched now. An address literal has none.
    pub async fn fresh_policy(&self, domain: &Domain) -> Option<sts::Found> {
        if domain.is_literal() {
            return self.policy(domain).await;
        }
        let config = self.config();
        let policies = self.wisdom().policies.as_ref().filter(|_| config.tls_out.sts.enabled)?;
        Some(policies.refresh(domain.as_str(), &config.tls_out.sts).await)
    }

    /// Every site that is known now, those with most to do first.
    pub fn destinations(&self) -> Vec<SiteLine> {
        let mut lines = self.lines(self.sites().all());
        lines.sort_by(|a, b| (b.ready, b.open).cmp(&(a.ready, a.open)).then_with(|| a.site.cmp(&b.site)));
        lines
    }

    /// What could not be reached a moment ago is looked at again once there is mail for it: an operator says that it is worth it.
    pub fn look_again(&self) {
        self.sites().all().iter().for_each(|site| site.look_again());
        self.lanes().iter().for_each(|lane| lane.impasse().end());
    }

    fn lines(&self, sites: Vec<Arc<Site>>) -> Vec<SiteLine> {
        let now = Instant::now();
        let mut lanes: BTreeMap<usize, (usize, usize, Vec<String>)> = BTreeMap::new();
        for lane in self.lanes() {
            let Some(site) = lane.site() else { continue };
            let (count, ready, names) = lanes.entry(Arc::as_ptr(&site) as usize).or_default();
            (*count, *ready) = (*count + 1, *ready + lane.ready());
            if names.len() < LANES {
                let rest = lane.impasse().rest(now);
                let why = |(_, why): (Duration, Option<Arc<str>>)| why.map(|why| format!(" (resting: {why})"));
                names.push(format!("{}{}", lane.name, rest.and_then(why).unwrap_or_default()));
            }
        }
        let line = |site: Arc<Site>| {
            let (count, ready, names) = lanes.remove(&(Arc::as_ptr(&site) as usize)).unwrap_or_default();
            SiteLine { lanes: count, ready, names, ..SiteLine::of(&site, now) }
        };
        sites.into_iter().map(line).collect()
    }
}

/// A route, where it is from, and the lane it makes.
struct WayOf {
    key: LaneKey,
    because: String,
    source_because: Option<String>,
}

impl WayOf {
    /// True for the site of `key`, and, where the route names a pool, for the same site from any member of it.
    fn leads_to(&self, config: &Config, site: &SiteKey, key: &SiteKey) -> bool {
        let named = config.source_for(&self.key.route, self.key.tenant.as_deref());
        let pool = named.and_then(|(name, _)| config.pools.get(name));
        let member = |pool: &Pool| pool.members.iter().any(|(name, _)| Some(name) == site.source.as_ref());
        site == key || pool.is_some_and(member) && SiteKey { source: key.source.clone(), ..site.clone() } == *key
    }
}

fn way(config: &Config, table: &Table, question: &Question) -> WayOf {
    let route = table.route(&question.domain);
    let because = match entry(table, &question.domain) {
        Some(entry) => format!("routing.domains.{:?}", entry.as_str()),
        None if table.default.is_some() => "routing.default".to_owned(),
        None => "no entry in [routing]: by MX".to_owned(),
    };
    let tenant = question.tenant.as_deref().and_then(|name| config.shaping.tenant_named(name));
    let (source, source_because) = match config.source_for(&route, tenant.as_deref()) {
        Some((name, rule)) => {
            let because = rule.map_or_else(|| "the route".to_owned(), ToString::to_string);
            match config.pools.get(name) {
                None => (Some(Arc::clone(name)), Some(because)),
                Some(pool) => {
                    let members: Vec<String> =
                        pool.members.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
                    let because = format!("one of the pool {name}, {}; {because}", members.join(", "));
                    (pool.members.first().map(|(first, _)| Arc::clone(first)), Some(because))
                }
            }
        }
        None => (None, None),
    };
    WayOf { key: LaneKey { route, source, tenant }, because, source_because }
}

/// The entry of the table that a domain's route is from.
fn entry<'a>(table: &'a Table, domain: &Domain) -> Option<&'a Domain> {
    let whole = table.domains.get_key_value(domain);
    let name = if domain.is_literal() { "" } else { domain.as_str() };
    let mut suffixes = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
    whole.or_else(|| suffixes.find_map(|suffix| table.domains.get_key_value(suffix))).map(|(entry, _)| entry)
}

/// Explains the way of mail for a domain, from the configuration and the DNS alone.
pub async fn explain(config: &Config, table: &Table, resolver: &dyn Resolver, question: &Question) -> Explanation {
    let way = way(config, table, question);
    let found = found(resolver, config, &way.key).await;
    let known = found.is_some();
    let found = found.unwrap_or_else(|| Exchangers { name: "".into(), best: Arc::default() });
    let (site, effective) = describe(config, &way.key, &found);
    let route = &way.key.route;
    let text = |name: &Option<Arc<str>>| name.as_ref().map(ToString::to_string);
    let mut hops = Vec::new();
    for leg in config.legs(route, way.key.source.as_ref()) {
        hops.push(hop(resolver, config, route, leg, &effective).await);
    }
    let because = match effective.causes.get("site") {
        Some(rule) => rule.to_string(),
        None if known => "its exchangers, or its host".to_owned(),
        None => "its exchangers can't be looked up".to_owned(),
    };
    Explanation {
        domain: question.domain.to_string(),
        live: false,
        route: RoutePart {
            hops: route.hops.iter().map(hop_text).collect(),
            because: way.because,
            lane: text(&route.lane),
            source: text(&way.key.source),
            source_because: way.source_because,
            credential: text(&route.credential),
        },
        hops,
        site: SitePart {
            name: site.name.to_string(),
            because,
            source: text(&site.source),
            lane: text(&site.lane),
            tenant: text(&site.tenant),
            apart: !site.rules.is_empty(),
        },
        limits: limits(config, &effective),
        backoff: backoffs(config, &way.key, &found),
        states: Vec::new(),
        retry: retry(config, route, question.null_sender),
        notes: Vec::new(),
    }
}

/// Where the first hop leads; none: that can't be found out now.
async fn found(resolver: &dyn Resolver, config: &Config, key: &LaneKey) -> Option<Exchangers> {
    match config.first_hop(&key.route) {
        Some(NextHop::Mx(domain)) if !domain.starts_with('[') => {
            let answer = resolver.mx(domain).await;
            let known = !matches!(answer, Err(ResolveError::Temporary(_) | ResolveError::NoSuchName));
            known.then(|| Exchangers::of(domain, answer).0)
        }
        Some(hop) => Some(Exchangers::fixed(hop)),
        None => None,
    }
}

async fn hop(resolver: &dyn Resolver, config: &Config, route: &Route, leg: Leg, effective: &Effective) -> HopPart {
    let mut part = HopPart {
        hop: hop_text(&leg.hop),
        exchangers: Vec::new(),
        tls: None,
        tls_because: None,
        sources: Vec::new(),
        targets: Vec::new(),
        error: None,
    };
    match leg.way {
        Way::Host { hop, tls, source, .. } => {
            if hop != leg.hop {
                part.hop = format!("{} ({})", part.hop, hop_text(&hop));
            }
            let strict = stricter(tls, effective.tls);
            let because = match effective.causes.get("tls").filter(|_| strict != tls) {
                Some(rule) => rule.to_string(),
                None if route.tls != TlsPolicy::Inherit || hop != leg.hop => "the route".to_owned(),
                None => "delivery.tls".to_owned(),
            };
            (part.tls, part.tls_because) = (Some(format!("{strict:?}").to_ascii_lowercase()), Some(because));
            part.sources = source.iter().map(|name| source_text(config, name)).collect();
            (part.exchangers, part.error) = exchangers(resolver, &hop).await;
            part.targets = crate::routing::describe(resolver, &hop, config.mx_port, &config.selection).await;
        }
        Way::Maildir(path) => part.hop = format!("{} (Maildir {})", part.hop, path.display()),
        Way::Discard => part.hop = format!("{} (dropped)", part.hop),
        Way::Unknown(text) => part.error = Some(text),
    }
    part
}

/// `west: 192.0.2.1, EHLO out.example.org, through socks5://192.0.2.2:1080`.
fn source_text(config: &Config, name: &str) -> String {
    let Some(source) = config.sources.get(name) else { return name.to_owned() };
    let mut parts: Vec<String> = source.addresses.iter().map(ToString::to_string).collect();
    parts.extend(source.interface.as_ref().map(|interface| format!("interface {interface}")));
    parts.extend(source.ehlo.as_ref().map(|ehlo| format!("EHLO {ehlo}")));
    parts.extend(source.proxy.as_ref().map(|proxy| format!("through {proxy}")));
    parts.extend(source.warm_up.as_ref().map(|plan| format!("warmed up over {} days", plan.plan.len())));
    format!("{name}: {}", parts.join(", "))
}

/// The hosts of a hop and their addresses.
async fn exchangers(resolver: &dyn Resolver, hop: &NextHop) -> (Vec<ExchangerPart>, Option<String>) {
    let hosts: Vec<Mx> = match hop {
        NextHop::Mx(domain) if domain.starts_with('[') => Vec::new(),
        NextHop::Mx(domain) => match resolver.mx(domain).await {
            Ok(mut records) => {
                records.sort_by(|a, b| (a.preference, &a.exchange).cmp(&(b.preference, &b.exchange)));
                records
            }
            Err(ResolveError::NoData) => return (vec![host(resolver, None, domain).await], None),
            Err(error) => return (Vec::new(), Some(format!("MX of {domain}: {error}"))),
        },
        NextHop::Smtp { host: name, .. } | NextHop::Lmtp { host: name, .. } => {
            let plain = name.starts_with("unix:") || name.parse::<std::net::IpAddr>().is_ok();
            return (if plain { Vec::new() } else { vec![host(resolver, None, name).await] }, None);
        }
        NextHop::Named(_) => Vec::new(),
    };
    if hosts.iter().any(|mx| matches!(&*mx.exchange, "" | ".")) && hosts.len() == 1 {
        return (Vec::new(), Some("null MX: the domain takes no mail (RFC 7505)".to_owned()));
    }
    let mut parts = Vec::new();
    for mx in hosts.iter().take(HOSTS) {
        parts.push(host(resolver, Some(mx.preference), &mx.exchange).await);
    }
    (parts, None)
}

async fn host(resolver: &dyn Resolver, preference: Option<u16>, name: &str) -> ExchangerPart {
    let (addresses, error) = match resolver.addresses(name).await {
        Ok(addresses) => (addresses.iter().map(ToString::to_string).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    ExchangerPart { preference, host: name.to_owned(), addresses, error }
}

fn limits(config: &Config, effective: &Effective) -> Vec<Setting> {
    let limits = &effective.limits;
    let rate = |rate: Option<u32>| rate.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let values = [
        ("connections", limits.connections.to_string()),
        ("recipients", limits.recipients.to_string()),
        ("messages-per-connection", limits.messages_per_connection.to_string()),
        ("idle", show(limits.idle)),
        ("per-second", rate(limits.per_second)),
        ("per-minute", rate(limits.per_minute)),
        ("per-hour", rate(limits.per_hour)),
        ("per-day", rate(limits.per_day)),
        ("connects-per-minute", rate(limits.connects_per_minute)),
        ("cool-down", show(limits.cool_down)),
    ];
    let setting = |(key, value): (&str, String)| {
        let because = effective.causes.get(key).map(ToString::to_string).unwrap_or_default();
        Setting { setting: key.to_owned(), value, because }
    };
    let mut settings: Vec<Setting> = values.into_iter().map(setting).collect();
    let (value, because) = (config.max_connections.to_string(), "delivery.max-connections, over all sites".to_owned());
    settings.push(Setting { setting: "max-connections".to_owned(), value, because });
    settings
}

fn backoffs(config: &Config, key: &LaneKey, found: &Exchangers) -> Vec<BackoffPart> {
    let hold = config.shaping.backoff.iter().filter(|backoff| backoff.whom.fit(&key.place(config, found)).is_some());
    let part = |backoff: &super::Backoff| BackoffPart {
        name: backoff.name.to_string(),
        after: match backoff.count {
            1 => "one such reply".to_owned(),
            count => format!("{count} such replies within {}", show(backoff.within)),
        },
        then: match &backoff.reaction {
            Reaction::Suspend(time) => format!("nothing for {}", show(*time)),
            Reaction::Slow(slow) => {
                let connections = slow
                    .connections
                    .map(|n| format!("at most {n} {}", if n == 1 { "connection" } else { "connections" }));
                let divide = (slow.divide > 1).then(|| format!("connections and rates divided by {}", slow.divide));
                let rate = slow.per_minute.map(|n| format!("at most {n} messages a minute"));
                let parts: Vec<String> = [divide, connections, rate].into_iter().flatten().collect();
                format!("{} for {}", parts.join(", "), show(slow.lasts))
            }
        },
    };
    hold.map(part).collect()
}

fn retry(config: &Config, route: &Route, null_sender: bool) -> RetryPart {
    let schedule = config.schedule(route);
    let Schedule { first, longest, growth_percent, warn_after, give_up_after, give_up_after_bounce, .. } = &*schedule;
    let growth = f64::from((*growth_percent).max(100)) / 100.0;
    let wait = |n: u32| {
        let secs = first.as_secs_f64() * growth.powi(i32::try_from(n).unwrap_or(i32::MAX));
        show(Duration::from_secs_f64(secs.min(longest.as_secs_f64())))
    };
    RetryPart {
        because: config.schedule_name(route).map_or_else(|| "retry".to_owned(), |name| format!("retry.{name}")),
        waits: (0..WAITS).map(wait).collect(),
        longest: show(*longest),
        warn_after: (!warn_after.is_empty() && !null_sender)
            .then(|| warn_after.iter().copied().map(show).collect::<Vec<_>>().join(", ")),
        give_up_after: show(if null_sender { *give_up_after_bounce } else { *give_up_after }),
    }
}

fn hop_text(hop: &NextHop) -> String {
    match hop {
        NextHop::Mx(domain) => format!("mx:{domain}"),
        hop => HopName(hop).to_string(),
    }
}
