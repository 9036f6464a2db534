//! From a next hop to the targets it has now, in the order in which they are to be tried.
//!
//! Asks the [`Resolver`] and nobody else. Must never turn a failed look-up into a permanent failure.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use super::{Lookup, ResolveError, Resolver, exchangers};
use crate::hooks::NextHop;
use crate::smtp::{Reply, Status};

/// Addresses tried of one hop; RFC 5321 section 5.1 asks for at least two, and lets a limit be set.
const TARGETS_MAX: usize = 20;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One address of a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where to connect to.
    pub address: Address,
    /// Host name, or the address where there is none: for TLS, reports and logs.
    pub host: Arc<str>,
    /// LMTP is spoken there.
    pub lmtp: bool,
}

/// Why a hop has no targets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reply}")]
pub struct TargetError {
    /// It never will have.
    pub permanent: bool,
    /// What is said of it.
    pub reply: Reply,
}

/// The targets of `hop`, in order. MX targets are reached at `mx_port`.
///
/// Does not look for loops: see [`targets_from`].
///
/// # Errors
/// When there are none.
pub async fn targets(resolver: &dyn Resolver, hop: &NextHop, mx_port: u16) -> Result<Vec<Target>, TargetError> {
    targets_from(resolver, hop, mx_port, "").await
}

/// As [`targets`], for a relay whose host name is `own_host`: exchangers that would hand the message back to it are left
/// out (RFC 5321 section 5.1).
///
/// # Errors
/// When there are none.
pub async fn targets_from(
    resolver: &dyn Resolver,
    hop: &NextHop,
    mx_port: u16,
    own_host: &str,
) -> Result<Vec<Target>, TargetError> {
    match hop {
        NextHop::Mx(domain) => match literal(domain) {
            Some(ip) => Ok(vec![tcp(ip, mx_port, domain, false)]),
            // A bare postmaster (RFC 5321 section 4.1.1.3) is for the operator's own route, and there is none.
            None if domain.is_empty() || domain.starts_with('[') => Err(TargetError::no_such_domain(domain)),
            None => {
                let answer = resolver.mx(domain).await;
                let hosts = exchangers(domain, answer, own_host, &mut fastrand::Rng::new())?;
                resolve(resolver, domain, &hosts, mx_port, false).await
            }
        },
        NextHop::Smtp { host, port } => fixed(resolver, host, *port, false).await,
        NextHop::Lmtp { host, port } => match host.strip_prefix("unix:") {
            Some(path) => Ok(vec![Target { address: Address::Unix(path.into()), host: Arc::clone(host), lmtp: true }]),
            None => fixed(resolver, host, *port, true).await,
        },
        NextHop::Named(name) => Err(TargetError::not_configured(name)),
    }
}

async fn fixed(resolver: &dyn Resolver, host: &Arc<str>, port: u16, lmtp: bool) -> Result<Vec<Target>, TargetError> {
    match host.parse().ok().or_else(|| literal(host)) {
        Some(ip) => Ok(vec![tcp(ip, port, host, lmtp)]),
        // That the operator's own host can't be found is the operator's to mend: the mail waits.
        None => resolve(resolver, host, std::slice::from_ref(host), port, lmtp).await.map_err(TargetError::mendable),
    }
}

/// The addresses of all `hosts`, asked for at the same time, in the hosts' order.
async fn resolve(
    resolver: &dyn Resolver,
    domain: &str,
    hosts: &[Arc<str>],
    port: u16,
    lmtp: bool,
) -> Result<Vec<Target>, TargetError> {
    let answers = all(hosts.iter().map(|host| resolver.addresses(host)).collect()).await;
    let mut targets = Vec::new();
    let mut unknown = None;
    for (host, answer) in hosts.iter().zip(answers) {
        match answer {
            Ok(addresses) => targets.extend(addresses.into_iter().map(|ip| tcp(ip, port, host, lmtp))),
            Err(error @ ResolveError::Temporary(_)) => unknown = Some(TargetError::look_up(host, &error)),
            Err(ResolveError::NoSuchName | ResolveError::NoData) => {}
        }
    }
    targets.truncate(TARGETS_MAX);
    if targets.is_empty() {
        return Err(unknown.unwrap_or_else(|| TargetError::no_address(domain)));
    }
    Ok(targets)
}

/// Waits for all look-ups at once.
async fn all<T: Send>(mut lookups: Vec<Lookup<'_, T>>) -> Vec<Result<T, ResolveError>> {
    let mut answers: Vec<Option<Result<T, ResolveError>>> = lookups.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut ready = true;
        for (lookup, answer) in lookups.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match lookup.as_mut().poll(cx) {
                    Poll::Ready(known) => *answer = Some(known),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().map(|a| a.unwrap_or(Err(ResolveError::NoData))).collect()
}

fn tcp(ip: IpAddr, port: u16, host: &Arc<str>, lmtp: bool) -> Target {
    Target { address: Address::Tcp(SocketAddr::new(ip, port)), host: Arc::clone(host), lmtp }
}

/// The address in a literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.split_at_checked(5) {
        Some((tag, ip)) if tag.eq_ignore_ascii_case("IPv6:") => ip.parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok(),
    }
}

impl TargetError {
    fn new(permanent: bool, code: u16, status: Status, text: String) -> Self {
        Self { permanent, reply: Reply::new(code, status, text) }
    }

    /// RFC 3463 section 3.2: X.1.2, bad destination system address.
    pub(super) fn no_such_domain(domain: &str) -> Self {
        Self::new(true, 550, Status::new(5, 1, 2), format!("the domain {domain} does not exist"))
    }

    /// RFC 7505 section 4.
    pub(super) fn null_mx(domain: &str) -> Self {
        Self::new(true, 556, Status::new(5, 1, 10), format!("{domain} does not accept mail"))
    }

    /// RFC 3463 section 3.5: X.4.3, directory server failure.
    pub(super) fn look_up(host: &str, error: &ResolveError) -> Self {
        Self::new(false, 451, Status::new(4, 4, 3), format!("{host}: {error}"))
    }

    /// RFC 3463 section 3.5: X.4.6, routing loop detected.
    pub(super) fn loops_back(domain: &str) -> Self {
        Self::new(true, 554, Status::new(5, 4, 6), format!("mail for {domain} loops back to this host"))
    }

    /// RFC 3463 section 3.5: X.4.4, unable to route.
    fn no_address(domain: &str) -> Self {
        Self::new(true, 550, Status::new(5, 4, 4), format!("no host for {domain} has an address"))
    }

    fn mendable(self) -> Self {
        let text = self.reply.lines.first().map(ToString::to_string).unwrap_or_default();
        if self.permanent { Self::new(false, 451, Status::new(4, 4, 4), text) } else { self }
    }

    /// The operator's to mend, so the mail waits.
    fn not_configured(name: &str) -> Self {
        Self::new(false, 451, Status::new(4, 3, 5), format!("no destination is named {name}"))
    }
}
