//! The resolver seam: what the relay asks the DNS, and what plugins may ask.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::tlsa::{Tlsa, tlsa};

/// The answer to a question, when it comes.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<T, ResolveError>> + Send + 'a>>;

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// Lower case, without a final dot; a lone dot is the null MX (RFC 7505).
    pub exchange: Arc<str>,
}

/// Which records a plugin can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Texts.
    Txt,
    /// Reverse names.
    Ptr,
    /// An alias; not followed.
    Cname,
    /// Name servers.
    Ns,
    /// Services.
    Srv,
    /// TLS associations.
    Tlsa,
}

/// What a record says. Names are in lower case, without a final dot; the root is a lone dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordData {
    /// A and AAAA.
    Address(IpAddr),
    /// PTR, CNAME and NS.
    Name(Arc<str>),
    /// MX.
    Mx(Mx),
    /// TXT, its strings joined.
    Text(Vec<u8>),
    /// SRV.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among those of the same priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// Its host.
        target: Arc<str>,
    },
    /// TLSA, as it is on the wire.
    Raw(Vec<u8>),
}

/// The records of a name, and what is known about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In the order they came in.
    pub records: Vec<RecordData>,
    /// Seconds that they hold.
    pub ttl: u32,
    /// They were validated with DNSSEC, aliases that led to them included: by the relay itself, or by a name server on
    /// this machine, asked over the loopback interface, which says so (the AD bit, RFC 4035 section 3.2.3). A server
    /// elsewhere is not believed, for anybody on the way could set a bit; so false says nothing about the records.
    pub secure: bool,
}

/// The mail exchangers of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchangers {
    /// In no order.
    pub records: Vec<Mx>,
    /// Where the aliases of the domain end; the domain itself where it is none.
    pub name: Arc<str>,
    /// As [`Answer::secure`].
    pub secure: bool,
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// In the order in which they are to be tried.
    pub addresses: Vec<IpAddr>,
    /// Where its aliases end; the host itself where it is none.
    pub name: Arc<str>,
    /// As [`Answer::secure`], for all of them.
    pub secure: bool,
    /// The host is an alias, and that alias was validated, whatever is to be said of what it leads to.
    pub alias_secure: bool,
}

/// What kind of failure a temporary one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A server says that it could not find out (SERVFAIL and its kin).
    ServerFailure,
    /// Nobody answered in time.
    Timeout,
    /// A server does not want to answer (REFUSED).
    Refused,
    /// The answer's signatures are not valid, or are missing where they must not (RFC 4035 section 4.3).
    Bogus,
    /// Anything else.
    Other,
}

/// A failure that says nothing about the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of failure.
    pub kind: FaultKind,
    /// The cause, for the log.
    pub text: Arc<str>,
}

impl Fault {
    /// Of this kind.
    pub fn of(kind: FaultKind, text: impl Into<Arc<str>>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What peers and senders may be told.
    pub fn bland(&self) -> &'static str {
        match self.kind {
            FaultKind::ServerFailure => "the name servers failed",
            FaultKind::Timeout => "no name server answered in time",
            FaultKind::Refused => "the name servers refuse to answer",
            FaultKind::Bogus => "the answer's DNSSEC signatures are not valid",
            FaultKind::Other => "the look-up failed",
        }
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Self::of(FaultKind::Other, text)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.bland(), self.text)
    }
}

/// Why there is no answer. What can't be told counts as temporary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist (NXDOMAIN).
    #[error("the name does not exist")]
    NoSuchName,
    /// The name exists, but has no record of this kind.
    #[error("the name has no such record")]
    NoData,
    /// No answer, or one that says nothing: time-outs, SERVFAIL, REFUSED, signatures that are not valid.
    #[error("{0}")]
    Temporary(Fault),
}

/// Asks the DNS (a seam: hickory here). Aliases (CNAME) are followed by the resolver. Names are taken as fully
/// qualified, with or without a final dot. A positive answer is never empty.
pub trait Resolver: Send + Sync {
    /// The mail exchangers of a domain, in no order.
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>>;
    /// The addresses of a host, IPv6 and IPv4 alternating.
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>>;
    /// The names an address claims to have; to be believed only when confirmed: see [`confirmed_name`].
    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>>;
    /// The records of one kind that a name has.
    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer>;

    /// As [`Self::mx`], with what DNSSEC says; a resolver that does not say counts as one that did not validate.
    fn exchangers<'a>(&'a self, domain: &'a str) -> Lookup<'a, Exchangers> {
        Box::pin(async move { Ok(Exchangers { records: self.mx(domain).await?, name: domain.into(), secure: false }) })
    }

    /// As [`Self::addresses`], with what DNSSEC says; a resolver that does not say counts as one that did not validate.
    fn host<'a>(&'a self, host: &'a str) -> Lookup<'a, Host> {
        Box::pin(async move {
            let addresses = self.addresses(host).await?;
            Ok(Host { addresses, name: host.into(), secure: false, alias_secure: false })
        })
    }

    /// What the owner of a host says of its certificates at a TCP port (RFC 7672 section 2.2).
    ///
    /// A failure is temporary and must not be taken for "nothing": who can suppress an answer would turn DANE off.
    fn tlsa<'a>(&'a self, host: &'a str, port: u16) -> Lookup<'a, Tlsa> {
        Box::pin(tlsa(self, host, port))
    }
}

/// How many claimed names are tried: one is usual, and who controls the reverse zone must not make us ask for ever.
const NAMES_MAX: usize = 5;

/// What the names that an address claims to have are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReverseName {
    /// The first of them that has this address.
    Confirmed(Arc<str>),
    /// None of them has it.
    Unconfirmed,
    /// It claims none.
    Nameless,
}

/// The forward-confirmed reverse name of an address. None if there is no such name.
///
/// # Errors
/// [`ResolveError::Temporary`] when it could not be found out.
pub async fn confirmed_name(resolver: &dyn Resolver, ip: IpAddr) -> Result<Option<Arc<str>>, ResolveError> {
    Ok(match reverse_name(resolver, ip).await? {
        ReverseName::Confirmed(name) => Some(name),
        ReverseName::Unconfirmed | ReverseName::Nameless => None,
    })
}

/// As above, and if there is none, why.
///
/// # Errors
/// [`ResolveError::Temporary`] when it could not be found out.
pub async fn reverse_name(resolver: &dyn Resolver, ip: IpAddr) -> Result<ReverseName, ResolveError> {
    let ip = ip.to_canonical();
    let names = match resolver.names(ip).await {
        Ok(names) => names,
        Err(error @ ResolveError::Temporary(_)) => return Err(error),
        Err(_) => return Ok(ReverseName::Nameless),
    };
    let mut unknown = None;
    for name in names.into_iter().take(NAMES_MAX) {
        match resolver.addresses(&name).await {
            Ok(addresses) if addresses.iter().any(|a| a.to_canonical() == ip) => {
                return Ok(ReverseName::Confirmed(name));
            }
            Err(error @ ResolveError::Temporary(_)) => unknown = Some(error),
            _ => {}
        }
    }
    unknown.map_or(Ok(ReverseName::Unconfirmed), Err)
}
