//! One question: the cache, the servers, aliases from one answer to the next, and what DNSSEC says of each step.
//!
//! Must never take silence, a refusal or signatures that are not valid for an answer.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, RetryDnsHandle};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::{DnsRequestOptions, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, NameServerPool};
use tokio::time::timeout;

use super::cache::Cache;
use super::data::{data_of, text_of};
use crate::routing::{Fault, FaultKind, RecordData, ResolveError};

/// Aliases followed of one name. Chains of three are seen; a circle has no end.
const ALIASES: usize = 8;

/// Records taken of one answer: what a zone's owner publishes must not fill memory.
const RECORDS: usize = 256;

/// A failure is remembered for this long, so that a queue full of mail for one domain does not beat on its broken servers
/// (RFC 9520 section 3.2 asks for one second at least).
const FAILURE: Duration = Duration::from_secs(1);

pub(super) type Pool = RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>;

/// Whom to ask, and who validates.
#[derive(Clone)]
pub(super) enum Servers {
    /// Nobody.
    Plain(Pool),
    /// They do, on this machine.
    Trusted(Pool),
    /// The relay.
    Validating(DnssecDnsHandle<Pool>),
}

/// An answer, aliases followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: Arc<[RecordData]>,
    /// Where the aliases end.
    pub(super) name: Arc<str>,
    /// All of it was validated.
    pub(super) secure: bool,
    /// The first alias was validated, if there was one.
    pub(super) alias_secure: bool,
}

type Answered = Result<Found, ResolveError>;

/// All that is needed to answer questions.
pub(super) struct Asker {
    pub(super) servers: Servers,
    pub(super) cache: Cache<Answered>,
    pub(super) hosts: Hosts,
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) negative_ttl: Duration,
    /// For one question with all that hangs on it: retries, aliases, keys.
    pub(super) patience: Duration,
}

/// What one message says about a name.
enum Step {
    /// The records of this name, at the end of aliases.
    Records(Vec<RecordData>),
    /// The message ends at an alias: its target has to be asked for.
    Alias,
    /// There is nothing.
    Nothing(ResolveError),
}

/// The way along the aliases of a name.
struct Way {
    at: Name,
    steps: usize,
    ttl: u32,
    secure: bool,
    first_alias: Option<bool>,
}

impl Asker {
    /// The answer, and for how long it holds.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> (Answered, Duration) {
        let key = (text_of(name).to_string(), u16::from(kind));
        if let Some(known) = self.cache.get(&key) {
            return known;
        }
        let (answer, ttl) = match timeout(self.patience, self.follow(name, kind)).await {
            Ok(found) => found,
            Err(_) => (Err(ResolveError::Temporary(Fault::of(FaultKind::Timeout, "the question took too long"))), 0),
        };
        let ttl = Duration::from_secs(ttl.into());
        let holds = match &answer {
            Ok(_) => ttl.clamp(self.min_ttl.min(self.max_ttl), self.max_ttl),
            Err(ResolveError::NoSuchName | ResolveError::NoData) => ttl.min(self.negative_ttl),
            Err(ResolveError::Temporary(_)) => FAILURE,
        };
        self.cache.insert(key, answer.clone(), holds);
        (answer, holds)
    }

    /// From alias to alias. With the time to live.
    async fn follow(&self, name: &Name, kind: RecordType) -> (Answered, u32) {
        let mut way = Way { at: name.clone(), steps: 0, ttl: u32::MAX, secure: true, first_alias: None };
        loop {
            let message = match self.message(&way.at, kind).await {
                Ok(message) => message,
                Err(error) => return self.failed(&error),
            };
            match self.walk(&mut way, &message, kind) {
                Ok(Step::Records(records)) => {
                    let alias_secure = way.first_alias.unwrap_or(false);
                    let name = text_of(&way.at);
                    return (Ok(Found { records: records.into(), name, secure: way.secure, alias_secure }), way.ttl);
                }
                Ok(Step::Alias) => {}
                Ok(Step::Nothing(error)) => return (Err(error), way.ttl.min(negative_ttl(&message.authorities))),
                Err(fault) => return (Err(ResolveError::Temporary(fault)), 0),
            }
        }
    }

    async fn message(&self, name: &Name, kind: RecordType) -> Result<Message, NetError> {
        let query = Query::query(name.clone(), kind);
        let mut options = DnsRequestOptions::default();
        // Asked with DO, a server says whether it validated (RFC 6840 section 5.7); signatures come with it.
        options.edns_set_dnssec_ok = !matches!(self.servers, Servers::Plain(_));
        let response = match &self.servers {
            Servers::Plain(pool) | Servers::Trusted(pool) => pool.lookup(query, options).first_answer().await?,
            Servers::Validating(pool) => pool.lookup(query, options).first_answer().await?,
        };
        match response.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(response.into_message()),
            code => Err(DnsError::ResponseCode(code).into()),
        }
    }

    /// As far as this message leads.
    fn walk(&self, way: &mut Way, message: &Message, kind: RecordType) -> Result<Step, Fault> {
        let before = way.steps;
        loop {
            let of = |wanted: RecordType| {
                let at = &way.at;
                message.answers.iter().filter(move |record| record.record_type() == wanted && record.name == *at)
            };
            let own: Vec<&Record> = of(kind).take(RECORDS).collect();
            if !own.is_empty() {
                let (ttl, secure) = self.judge(message, &own)?;
                (way.ttl, way.secure) = (way.ttl.min(ttl), way.secure && secure);
                let records: Vec<RecordData> = own.iter().filter_map(|record| data_of(&record.data)).collect();
                return Ok(if records.is_empty() {
                    Step::Nothing(ResolveError::NoData)
                } else {
                    Step::Records(records)
                });
            }
            let alias = of(RecordType::CNAME).find_map(|record| match &record.data {
                RData::CNAME(to) => Some((record, to.0.clone())),
                _ => None,
            });
            let Some((record, to)) = alias else { break };
            let (ttl, secure) = self.judge(message, &[record])?;
            (way.ttl, way.secure) = (way.ttl.min(ttl), way.secure && secure);
            way.first_alias.get_or_insert(secure);
            way.at = to;
            way.at.set_fqdn(true);
            way.steps += 1;
            if way.steps > ALIASES {
                return Err("too many aliases, or aliases in a circle".into());
            }
        }
        if message.response_code == ResponseCode::NXDomain {
            return Ok(Step::Nothing(ResolveError::NoSuchName));
        }
        // A recursive server that followed the alias itself says so with the SOA record of where it leads.
        let followed = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
        let moved = way.steps > before;
        Ok(if moved && !followed { Step::Alias } else { Step::Nothing(ResolveError::NoData) })
    }

    /// The time to live of records, and whether they were validated.
    fn judge(&self, message: &Message, records: &[&Record]) -> Result<(u32, bool), Fault> {
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        let secure = match &self.servers {
            Servers::Plain(_) => false,
            Servers::Trusted(_) => message.metadata.authentic_data,
            Servers::Validating(_) => {
                if records.iter().any(|record| record.proof == Proof::Bogus) {
                    return Err(Fault::of(FaultKind::Bogus, "signatures are missing or not valid"));
                }
                records.iter().all(|record| record.proof == Proof::Secure)
            }
        };
        Ok((ttl, secure))
    }

    /// What did not lead to a message: the lack of records among it.
    fn failed(&self, error: &NetError) -> (Answered, u32) {
        let none = |code| if code == ResponseCode::NXDomain { ResolveError::NoSuchName } else { ResolveError::NoData };
        let kind = match error {
            NetError::Dns(DnsError::NoRecordsFound(none_found)) => {
                return (Err(none(none_found.response_code)), none_found.negative_ttl.unwrap_or(0));
            }
            // That there is nothing could not be validated, because the zone is not signed.
            NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }) => {
                return (Err(none(response.response_code)), negative_ttl(&response.authorities));
            }
            NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => FaultKind::Bogus,
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => FaultKind::Refused,
            NetError::Dns(DnsError::ResponseCode(_)) => FaultKind::ServerFailure,
            NetError::Timeout => FaultKind::Timeout,
            _ => FaultKind::Other,
        };
        // A negative answer's text is a whole message; that of others is short.
        let text = if kind == FaultKind::Bogus { "DNSSEC validation failed".to_owned() } else { error.to_string() };
        (Err(ResolveError::Temporary(Fault::of(kind, text))), 0)
    }
}

/// RFC 2308 section 5: the lesser of the SOA record's own time to live and its last field. Without one, nothing is kept.
fn negative_ttl(authorities: &[Record]) -> u32 {
    let soa = authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    soa.unwrap_or(0)
}
