//! The resolver behind the seam. This file and those below it are the only ones that name hickory.
//!
//! Must never take silence for an answer: what is neither a record nor a trusted "there is none" is temporary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::RetryDnsHandle;
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, NameServerPool, PoolContext, TlsConfig};

use super::{
    Answer, Dns, Dnssec, Exchangers, Host, Lookup, Mx, Prefer, RecordData, RecordKind, ResolveError, Resolver,
};
use crate::pulse::{Pulse, Tally};
use ask::{Asker, Found, Servers};
use cache::Cache;
use data::{qualified, type_of};

mod ask;
mod cache;
mod data;

/// Questions on their way over one TCP connection. Past hickory's 32 it answers "busy", which would defer mail when a
/// full queue is worked off.
const IN_FLIGHT: usize = 1024;

/// A question may hang on this many others: aliases, and with DNSSEC keys and delegations up to the root.
const CHAINED: u32 = 4;

/// Sets of records whose signatures were checked, so that the keys of a zone are not checked again for each name in it.
const KEYS: usize = 4096;

/// A caching stub resolver. Clones share the cache, and the settings.
#[derive(Clone)]
pub struct Hickory(Arc<ArcSwap<Set>>, Arc<OnceLock<Pulse>>);

/// The settings, and what was made of them.
struct Set {
    dns: Dns,
    asker: Asker,
}

impl std::fmt::Debug for Hickory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hickory").field("validation", &self.validation()).finish_non_exhaustive()
    }
}

/// The resolver could not be set up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the resolver can't be set up: {0}")]
pub struct HickoryError(Arc<str>);

impl HickoryError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string().into())
    }
}

impl Hickory {
    /// As the settings say. Blocking: reads files.
    ///
    /// # Errors
    /// When the system's servers or the trust anchor can't be read, or there is no server.
    pub fn new(dns: &Dns) -> Result<Self, HickoryError> {
        let (config, options) = if dns.servers.is_empty() {
            read_system_conf().map_err(HickoryError::of)?
        } else {
            (ResolverConfig::from_name_servers(servers(&dns.servers)), ResolverOpts::default())
        };
        Self::build(&config, options, dns)
    }

    /// With the name servers of `/etc/resolv.conf`. Blocking: reads files.
    ///
    /// # Errors
    /// When they can't be read or name no server.
    pub fn from_system() -> Result<Self, HickoryError> {
        Self::new(&Dns::default())
    }

    /// With these name servers, over UDP and, for long answers, TCP.
    ///
    /// # Errors
    /// When they make no resolver.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, HickoryError> {
        Self::new(&Dns { servers: servers.to_vec(), ..Dns::default() })
    }

    fn build(config: &ResolverConfig, mut options: ResolverOpts, dns: &Dns) -> Result<Self, HickoryError> {
        options.max_active_requests = IN_FLIGHT;
        options.timeout = dns.timeout.unwrap_or(options.timeout);
        options.attempts = dns.attempts.unwrap_or(options.attempts);
        let tries = u32::try_from(options.attempts).unwrap_or(u32::MAX).saturating_add(1);
        let patience = options.timeout.saturating_mul(tries).saturating_mul(CHAINED).max(Duration::from_secs(5));
        let attempts = options.attempts;
        let local = config.name_servers().iter().all(|server| server.ip.is_loopback());
        let context = Arc::new(PoolContext::new(options, TlsConfig::new().map_err(HickoryError::of)?));
        let pool =
            NameServerPool::from_config(config.name_servers().to_vec(), context, TokioRuntimeProvider::default());
        let pool = RetryDnsHandle::new(pool, attempts);
        let servers = match &dns.dnssec {
            Dnssec::TrustAd if local => Servers::Trusted(pool),
            Dnssec::Off | Dnssec::TrustAd => Servers::Plain(pool),
            Dnssec::Validate(anchor) => {
                let anchors = anchors(anchor.as_deref())?;
                Servers::Validating(DnssecDnsHandle::with_trust_anchor(pool, anchors).validation_cache_size(KEYS))
            }
        };
        let asker = Asker {
            servers,
            cache: Cache::new(dns.cache),
            hosts: Hosts::from_system().unwrap_or_default(),
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
            patience,
        };
        Ok(Self(Arc::new(ArcSwap::from_pointee(Set { dns: dns.clone(), asker })), Arc::default()))
    }

    /// The settings in force.
    pub fn settings(&self) -> Dns {
        self.0.load().dns.clone()
    }

    /// Has it counted how long questions take, from here on.
    pub fn count_in(&self, pulse: Pulse) {
        // Said once, by whoever puts the relay together.
        let _ = self.1.set(pulse);
    }

    /// Goes on as `other` does, with its cache. Questions under way end as they began.
    pub fn become_like(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// Who validates: `nobody`, `the name servers` or `the relay`.
    pub fn validation(&self) -> &'static str {
        match &self.0.load().asker.servers {
            Servers::Plain(_) => "nobody",
            Servers::Trusted(_) => "the name servers",
            Servers::Validating(_) => "the relay",
        }
    }

    async fn found(&self, name: &str, kind: RecordType) -> Result<(Found, Duration), ResolveError> {
        let name = qualified(name)?;
        if Name::from_ascii("invalid.").is_ok_and(|invalid| invalid.zone_of(&name)) {
            // RFC 6761 section 6.4.
            return Err(ResolveError::NoSuchName);
        }
        let begun = Instant::now();
        let (answer, ttl) = self.0.load_full().asker.ask(&name, kind).await;
        if let Some(pulse) = self.1.get() {
            pulse.tally().dns.observe(begun.elapsed());
            if matches!(answer, Err(ResolveError::Temporary(_))) {
                Tally::count(&pulse.tally().dns_failures);
            }
        }
        Ok((answer?, ttl))
    }

    async fn both(&self, host: &str) -> Result<Host, ResolveError> {
        if let Some(addresses) = self.local(host) {
            let host = Host { addresses, name: host.into(), secure: false, alias_secure: false };
            return Ok(host);
        }
        let prefer = self.0.load().dns.prefer;
        let of = |kind, wanted: bool| async move {
            if wanted { self.found(host, kind).await.map(|(found, _)| found) } else { Err(ResolveError::NoData) }
        };
        let six = of(RecordType::AAAA, prefer != Prefer::Ipv4Only);
        let four = of(RecordType::A, prefer != Prefer::Ipv6Only);
        let (six, four) = tokio::join!(six, four);
        combine(six, four, prefer)
    }

    /// Of names that are this machine's business: those in its hosts file, and localhost (RFC 6761 section 6.3).
    fn local(&self, host: &str) -> Option<Vec<IpAddr>> {
        let (name, set) = (qualified(host).ok()?, self.0.load());
        let of = |kind| {
            let found = set.asker.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            found.map(|found| found.answers().iter().filter_map(|r| data::data_of(&r.data)).collect::<Vec<_>>())
        };
        let (six, four) = (of(RecordType::AAAA), of(RecordType::A));
        if six.is_some() || four.is_some() {
            let (six, four) = (addresses(&six.unwrap_or_default()), addresses(&four.unwrap_or_default()));
            let all = ordered(six, four, set.dns.prefer);
            return (!all.is_empty()).then_some(all);
        }
        let is_localhost = Name::from_ascii("localhost.").is_ok_and(|local| local.zone_of(&name));
        let (six, four) = (vec![Ipv6Addr::LOCALHOST.into()], vec![Ipv4Addr::LOCALHOST.into()]);
        is_localhost.then(|| ordered(six, four, set.dns.prefer))
    }
}

impl Resolver for Hickory {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        Box::pin(async move { Ok(self.exchangers(domain).await?.records) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move { Ok(self.both(host).await?.addresses) })
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        Box::pin(async move {
            let name = Name::from(ip);
            let query = Query::query(name.clone(), RecordType::PTR);
            let set = self.0.load_full();
            let known = set.asker.hosts.lookup_static_host(&query);
            let records = match known {
                Some(known) => known.answers().iter().filter_map(|record| data::data_of(&record.data)).collect(),
                None if ip.is_loopback() => vec![RecordData::Name("localhost".into())],
                None => set.asker.ask(&name, RecordType::PTR).await.0?.records.to_vec(),
            };
            some(
                records
                    .into_iter()
                    .filter_map(|data| if let RecordData::Name(name) = data { Some(name) } else { None }),
            )
        })
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        Box::pin(async move {
            let (found, ttl) = self.found(name, type_of(kind)).await?;
            let ttl = u32::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            Ok(Answer { records: found.records.to_vec(), ttl, secure: found.secure })
        })
    }

    fn exchangers<'a>(&'a self, domain: &'a str) -> Lookup<'a, Exchangers> {
        Box::pin(async move {
            let (found, _) = self.found(domain, RecordType::MX).await?;
            let mx = |data: &RecordData| if let RecordData::Mx(mx) = data { Some(mx.clone()) } else { None };
            let records = some(found.records.iter().filter_map(mx))?;
            Ok(Exchangers { records, name: found.name, secure: found.secure })
        })
    }

    fn host<'a>(&'a self, host: &'a str) -> Lookup<'a, Host> {
        Box::pin(self.both(host))
    }
}

fn servers(addresses: &[SocketAddr]) -> Vec<NameServerConfig> {
    let server = |server: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        NameServerConfig::new(server.ip(), true, connections)
    };
    addresses.iter().map(server).collect()
}

/// The keys from which the relay validates.
fn anchors(path: Option<&Path>) -> Result<Arc<TrustAnchors>, HickoryError> {
    let Some(path) = path else { return Ok(Arc::default()) };
    let wrong = |error: &dyn std::fmt::Display| HickoryError::of(format!("trust anchor {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let anchors: TrustAnchors = text.parse().map_err(|error| wrong(&error))?;
    Ok(Arc::new(anchors))
}

fn some<T>(records: impl Iterator<Item = T>) -> Result<Vec<T>, ResolveError> {
    let records: Vec<T> = records.collect();
    if records.is_empty() { Err(ResolveError::NoData) } else { Ok(records) }
}

fn addresses(records: &[RecordData]) -> Vec<IpAddr> {
    records.iter().filter_map(|data| if let RecordData::Address(ip) = data { Some(*ip) } else { None }).collect()
}

/// One family's addresses are enough; without any, only two answers make a "no".
fn combine(
    six: Result<Found, ResolveError>,
    four: Result<Found, ResolveError>,
    prefer: Prefer,
) -> Result<Host, ResolveError> {
    match (six, four) {
        (Ok(six), Ok(four)) => {
            let (secure, alias_secure) = (six.secure && four.secure, six.alias_secure && four.alias_secure);
            let addresses = some(ordered(addresses(&six.records), addresses(&four.records), prefer).into_iter())?;
            Ok(Host { addresses, name: four.name, secure, alias_secure })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => {
            let addresses = some(addresses(&found.records).into_iter())?;
            Ok(Host { addresses, name: found.name, secure: found.secure, alias_secure: found.alias_secure })
        }
        (Err(temporary @ ResolveError::Temporary(_)), _) | (_, Err(temporary @ ResolveError::Temporary(_))) => {
            Err(temporary)
        }
        (Err(ResolveError::NoSuchName), _) | (_, Err(ResolveError::NoSuchName)) => Err(ResolveError::NoSuchName),
        _ => Err(ResolveError::NoData),
    }
}

/// As preferred. In turns, so that a broken family costs one attempt and not all; IPv6 first, as RFC 8305 section 4 has it.
fn ordered(six: Vec<IpAddr>, four: Vec<IpAddr>, prefer: Prefer) -> Vec<IpAddr> {
    match prefer {
        Prefer::Alternate => {
            let mut all = Vec::with_capacity(six.len() + four.len());
            let (mut six, mut four) = (six.into_iter(), four.into_iter());
            loop {
                let before = all.len();
                all.extend(six.next());
                all.extend(four.next());
                if all.len() == before {
                    return all;
                }
            }
        }
        Prefer::Ipv6 => six.into_iter().chain(four).collect(),
        Prefer::Ipv4 => four.into_iter().chain(six).collect(),
        Prefer::Ipv6Only => six,
        Prefer::Ipv4Only => four,
    }
}

#[cfg(test)]
mod tests;
