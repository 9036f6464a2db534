//! The resolver behind the seam. The only file that names hickory.
//!
//! Must never take silence for an answer: what is neither a record nor a trusted "there is none" is temporary.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::caching_client::CachingClient;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{NetError, RetryDnsHandle};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};

use super::{Answer, Lookup, Mx, RecordData, RecordKind, ResolveError, Resolver};

/// Answers kept. An answer is some hundred octets; a relay that talks to more domains within a TTL has the memory.
const CACHE: u64 = 8192;

/// Questions on their way over one TCP connection. Past hickory's 32 it answers "busy", which would defer mail when a
/// full queue is worked off.
const IN_FLIGHT: usize = 1024;

/// A caching stub resolver. Clones share the cache.
#[derive(Clone)]
pub struct Hickory {
    resolver: TokioResolver,
    /// The same servers, asked for records as they are: whether they were validated is to be heard as well.
    records: CachingClient<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>>,
    /// All servers are on this machine: nobody sits between them and the relay.
    local: bool,
}

impl std::fmt::Debug for Hickory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hickory").field("local", &self.local).finish_non_exhaustive()
    }
}

/// The resolver could not be set up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the resolver can't be set up: {0}")]
pub struct HickoryError(Arc<str>);

impl Hickory {
    /// With the name servers of `/etc/resolv.conf`. Blocking: reads files.
    ///
    /// # Errors
    /// When they can't be read or name no server.
    pub fn from_system() -> Result<Self, HickoryError> {
        let (config, options) = read_system_conf().map_err(HickoryError::of)?;
        Self::build(config, options)
    }

    /// With these name servers, over UDP and, for long answers, TCP.
    ///
    /// # Errors
    /// When they make no resolver.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, HickoryError> {
        let servers = servers.iter().map(|server| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            NameServerConfig::new(server.ip(), true, connections)
        });
        Self::build(ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
    }

    fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, HickoryError> {
        options.cache_size = CACHE;
        options.max_active_requests = IN_FLIGHT;
        let runtime = TokioRuntimeProvider::default();
        let local = config.name_servers().iter().all(|server| server.ip.is_loopback());
        let context = Arc::new(PoolContext::new(options.clone(), TlsConfig::new().map_err(HickoryError::of)?));
        let pool = NameServerPool::from_config(config.name_servers().to_vec(), context, runtime.clone());
        let records = CachingClient::new(CACHE, RetryDnsHandle::new(pool, options.attempts), false);
        let builder = TokioResolver::builder_with_config(config, runtime).with_options(options);
        let resolver = builder.build().map_err(HickoryError::of)?;
        Ok(Self { resolver, records, local })
    }

    async fn ask(&self, name: &str, kind: RecordKind) -> Result<Answer, ResolveError> {
        let (name, kind) = (qualified(name)?, type_of(kind));
        let mut options = DnsRequestOptions::default();
        // Asked with DO, a server says whether it validated (RFC 6840 section 5.7); signatures come with it, unused.
        (options.use_edns, options.edns_set_dnssec_ok) = (true, self.local);
        let answer = self.records.lookup(Query::query(name.clone(), kind), options).await.map_err(|e| error_of(&e))?;
        // An alias that was followed here joins several answers, of which one bit says nothing.
        let whole = answer.query().name() == &name;
        let records = || answer.answers().iter().filter(|record| record.record_type() == kind);
        Ok(Answer {
            ttl: records().map(|record| record.ttl).min().unwrap_or(0),
            secure: self.local && whole && answer.message().metadata.authentic_data,
            records: some(records().filter_map(|record| data_of(&record.data)).collect())?,
        })
    }

    async fn both(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let name = qualified(host)?;
        let (six, four) = tokio::join!(self.resolver.ipv6_lookup(name.clone()), self.resolver.ipv4_lookup(name));
        let take = |answer: Result<hickory_resolver::lookup::Lookup, NetError>| {
            let answer = answer.map_err(|e| error_of(&e))?;
            let addresses = answer.answers().iter().filter_map(|record| match &record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                _ => None,
            });
            Ok(addresses.collect::<Vec<_>>())
        };
        combine(take(six), take(four))
    }
}

impl Resolver for Hickory {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        Box::pin(async move {
            let answer = self.resolver.mx_lookup(qualified(domain)?).await.map_err(|e| error_of(&e))?;
            let records = answer.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: text_of(&mx.exchange) }),
                _ => None,
            });
            some(records.collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(self.both(host))
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        Box::pin(async move {
            let answer = self.resolver.reverse_lookup(ip).await.map_err(|e| error_of(&e))?;
            let names = answer.answers().iter().filter_map(|record| match &record.data {
                RData::PTR(name) => Some(text_of(&name.0)),
                _ => None,
            });
            some(names.collect())
        })
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        Box::pin(self.ask(name, kind))
    }
}

impl HickoryError {
    fn of(error: NetError) -> Self {
        Self(error.to_string().into())
    }
}

fn type_of(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Ns => RecordType::NS,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::Tlsa => RecordType::TLSA,
    }
}

fn data_of(data: &RData) -> Option<RecordData> {
    Some(match data {
        RData::A(a) => RecordData::Address(IpAddr::V4(a.0)),
        RData::AAAA(a) => RecordData::Address(IpAddr::V6(a.0)),
        RData::MX(mx) => RecordData::Mx(Mx { preference: mx.preference, exchange: text_of(&mx.exchange) }),
        RData::TXT(text) => RecordData::Text(text.txt_data.concat()),
        RData::PTR(name) => RecordData::Name(text_of(&name.0)),
        RData::CNAME(name) => RecordData::Name(text_of(&name.0)),
        RData::NS(name) => RecordData::Name(text_of(&name.0)),
        RData::SRV(srv) => {
            RecordData::Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: text_of(&srv.target) }
        }
        RData::TLSA(tlsa) => RecordData::Raw(tlsa.to_bytes().ok()?),
        _ => return None,
    })
}

/// Fully qualified: the search list of `resolv.conf` has no say in where mail goes (RFC 5321 section 2.3.5). What is no
/// name does not exist.
fn qualified(name: &str) -> Result<Name, ResolveError> {
    let mut name = Name::from_ascii(name).map_err(|_| ResolveError::NoSuchName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// In lower case, without the final dot; the root is a lone dot.
fn text_of(name: &Name) -> Arc<str> {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some(stripped) if !stripped.is_empty() => stripped.into(),
        _ => text.into(),
    }
}

fn error_of(error: &NetError) -> ResolveError {
    if error.is_nx_domain() {
        ResolveError::NoSuchName
    } else if error.is_no_records_found() {
        ResolveError::NoData
    } else {
        ResolveError::Temporary(error.to_string().into())
    }
}

fn some<T>(records: Vec<T>) -> Result<Vec<T>, ResolveError> {
    if records.is_empty() { Err(ResolveError::NoData) } else { Ok(records) }
}

/// One family's addresses are enough; without any, only two answers make a "no".
fn combine(
    six: Result<Vec<IpAddr>, ResolveError>,
    four: Result<Vec<IpAddr>, ResolveError>,
) -> Result<Vec<IpAddr>, ResolveError> {
    match (six, four) {
        (Ok(six), Ok(four)) => some(alternate(six, four)),
        (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => Ok(some),
        (Err(temporary @ ResolveError::Temporary(_)), _) | (_, Err(temporary @ ResolveError::Temporary(_))) => {
            Err(temporary)
        }
        (Err(ResolveError::NoSuchName), Err(ResolveError::NoSuchName)) => Err(ResolveError::NoSuchName),
        _ => Err(ResolveError::NoData),
    }
}

/// IPv6 first, as RFC 8305 section 4 has it, then in turns, so that a broken family costs one attempt and not all.
fn alternate(six: Vec<IpAddr>, four: Vec<IpAddr>) -> Vec<IpAddr> {
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

#[cfg(test)]
mod tests;
