//! From a next hop to the targets it has now, in the order in which they are to be tried.
//!
//! Asks the [`Resolver`] and nobody else. Must never turn a failed look-up into a permanent failure.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

use super::mx::beyond;
use super::selection::cut;
use super::{Host, Lookup, Mx, ResolveError, Resolver, Selection, TargetError, exchangers};
use crate::hooks::NextHop;

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
    /// Which look-ups led there.
    pub origin: Origin,
}

/// How a target was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The preference of its MX record. None: it was not found by one.
    pub preference: Option<u16>,
    /// The look-up that led to the host's name was validated with DNSSEC; true for a host that is not looked for by MX.
    pub named: bool,
    /// That, and the host's addresses were validated as well.
    pub secure: bool,
    /// The domain whose mail it takes, and where that one's aliases end: names that its certificate may be for, beside its
    /// own, under DANE-TA(2) (RFC 7672 section 3.2.2).
    pub domains: Arc<[Arc<str>]>,
}

/// The targets of a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In order, never empty.
    pub targets: Vec<Target>,
    /// A host's look-up failed: whatever the others say, it might do better later.
    pub unresolved: Option<TargetError>,
    /// What was passed over, and why: for people.
    pub notes: Vec<String>,
}

/// The targets of `hop`, in order. MX targets are reached at `mx_port`.
///
/// # Errors
/// When there are none.
pub async fn targets(
    resolver: &dyn Resolver,
    hop: &NextHop,
    mx_port: u16,
    selection: &Selection,
) -> Result<Found, TargetError> {
    match hop {
        NextHop::Mx(domain) => match literal(domain) {
            Some(ip) => at_literal(ip, domain, mx_port, selection),
            // A bare postmaster (RFC 5321 section 4.1.1.3) is for the operator's own route, and there is none.
            None if domain.is_empty() || domain.starts_with('[') => Err(TargetError::no_such_domain(domain)),
            None => by_mx(resolver, domain, mx_port, selection).await,
        },
        NextHop::Smtp { host, port } => fixed(resolver, host, *port, false, selection).await,
        NextHop::Lmtp { host, port } => match host.strip_prefix("unix:") {
            Some(path) => Ok(Found::of(vec![Target::new(Address::Unix(path.into()), host, true)])),
            None => fixed(resolver, host, *port, true, selection).await,
        },
        NextHop::Named(name) => Err(TargetError::not_configured(name)),
    }
}

/// A host that a recipient names by its address (RFC 5321 section 4.1.3): for strangers too, so the same rules hold.
fn at_literal(ip: IpAddr, domain: &Arc<str>, port: u16, selection: &Selection) -> Result<Found, TargetError> {
    let to = SocketAddr::new(ip, port);
    if selection.own.is_address(to) {
        return Err(TargetError::loops_back(domain));
    }
    if selection.forbids(ip).is_some() {
        return Err(TargetError::no_usable_address(domain));
    }
    Ok(Found::of(vec![Target::new(Address::Tcp(to), domain, false)]))
}

/// A host of the configuration.
async fn fixed(
    resolver: &dyn Resolver,
    host: &Arc<str>,
    port: u16,
    lmtp: bool,
    selection: &Selection,
) -> Result<Found, TargetError> {
    if let Some(ip) = host.parse().ok().or_else(|| literal(host)) {
        return Ok(Found::of(vec![Target::new(Address::Tcp(SocketAddr::new(ip, port)), host, lmtp)]));
    }
    let found = match resolver.host(host).await {
        Ok(found) => found,
        Err(error @ ResolveError::Temporary(_)) => return Err(TargetError::look_up(host, &error)),
        // That the operator's own host can't be found is the operator's to mend: the mail waits.
        Err(_) => return Err(TargetError::no_address(host).mendable()),
    };
    let origin = Origin { preference: None, named: true, secure: found.secure, domains: Arc::new([Arc::clone(host)]) };
    let target = |ip| Target {
        address: Address::Tcp(SocketAddr::new(ip, port)),
        host: Arc::clone(host),
        lmtp,
        origin: origin.clone(),
    };
    Ok(Found::of(cut(found.addresses, selection.max_addresses).into_iter().map(target).collect()))
}

/// RFC 5321 section 5.1.
async fn by_mx(
    resolver: &dyn Resolver,
    domain: &Arc<str>,
    port: u16,
    selection: &Selection,
) -> Result<Found, TargetError> {
    let mut notes = Vec::new();
    let (order, named, name) = match resolver.exchangers(domain).await {
        Ok(found) if !found.records.is_empty() => {
            let order = exchangers(domain, found.records, selection, &mut fastrand::Rng::new(), &mut notes)?;
            (order, found.secure, found.name)
        }
        // The implicit MX. Nobody can have suppressed the records of a domain whose addresses are signed.
        Ok(_) | Err(ResolveError::NoData) => {
            if selection.own.is_name(domain) {
                return Err(TargetError::loops_back(domain));
            }
            (vec![Mx { preference: 0, exchange: Arc::clone(domain) }], true, Arc::clone(domain))
        }
        Err(ResolveError::NoSuchName) => return Err(TargetError::no_such_domain(domain)),
        Err(error @ ResolveError::Temporary(_)) => return Err(TargetError::look_up(domain, &error)),
    };
    let answers = all(order.iter().map(|mx| resolver.host(&mx.exchange)).collect()).await;
    let mut domains = vec![Arc::clone(domain)];
    domains.extend((!name.eq_ignore_ascii_case(domain)).then_some(name));
    let hosts = order.into_iter().zip(answers).collect();
    Search { domain, port, selection, named, domains: domains.into(), notes, unresolved: None }.pick(hosts)
}

/// What is known of a domain whose exchangers were looked up.
struct Search<'a> {
    domain: &'a str,
    port: u16,
    selection: &'a Selection,
    named: bool,
    domains: Arc<[Arc<str>]>,
    notes: Vec<String>,
    unresolved: Option<TargetError>,
}

impl Search<'_> {
    fn pick(mut self, mut hosts: Vec<(Mx, Result<Host, ResolveError>)>) -> Result<Found, TargetError> {
        let (own, port) = (&self.selection.own, self.port);
        let ours = |host: &Host| host.addresses.iter().any(|ip| own.is_address(SocketAddr::new(*ip, port)));
        let preference =
            |(mx, found): &(Mx, Result<Host, ResolveError>)| found.as_ref().is_ok_and(ours).then_some(mx.preference);
        if let Some(own) = hosts.iter().filter_map(preference).min() {
            beyond(own, &mut self.notes);
            hosts.retain(|(mx, _)| mx.preference < own);
            if hosts.is_empty() {
                return Err(TargetError::loops_back(self.domain));
            }
        }
        let mut forbidden = false;
        let mut found: Vec<(Mx, Host)> = Vec::with_capacity(hosts.len());
        for (mx, answer) in hosts {
            match answer {
                Ok(mut host) => {
                    let before = host.addresses.len();
                    host.addresses.retain(|ip| self.permits(&mx, *ip));
                    forbidden |= host.addresses.len() < before;
                    if !host.addresses.is_empty() {
                        found.push((mx, host));
                    }
                }
                Err(error @ ResolveError::Temporary(_)) => {
                    let error = TargetError::look_up(&mx.exchange, &error);
                    self.notes.push(format!("{} {error}", mx.preference));
                    self.unresolved = Some(error);
                }
                Err(error) => self.notes.push(format!("{} {}: {error}", mx.preference, mx.exchange)),
            }
        }
        self.finish(found, forbidden)
    }

    fn permits(&mut self, mx: &Mx, ip: IpAddr) -> bool {
        let Some(net) = self.selection.forbids(ip) else { return true };
        let (preference, host) = (mx.preference, &mx.exchange);
        self.notes.push(format!("{preference} {host} [{ip}] is left out: no mail goes to {net}"));
        false
    }

    fn finish(self, found: Vec<(Mx, Host)>, forbidden: bool) -> Result<Found, TargetError> {
        let most = self.selection.max_addresses;
        // Where there are others, no host takes all places for itself.
        let each = if found.len() > 1 { most.saturating_sub(1).max(1) } else { most };
        let mut targets = Vec::new();
        for (mx, host) in found {
            let origin = Origin {
                preference: Some(mx.preference),
                named: self.named,
                secure: self.named && host.secure,
                domains: Arc::clone(&self.domains),
            };
            targets.extend(cut(host.addresses, each).into_iter().map(|ip| Target {
                address: Address::Tcp(SocketAddr::new(ip, self.port)),
                host: Arc::clone(&mx.exchange),
                lmtp: false,
                origin: origin.clone(),
            }));
        }
        targets.truncate(most);
        match (targets.is_empty(), self.unresolved, forbidden) {
            (true, Some(unknown), _) => Err(unknown),
            (true, None, true) => Err(TargetError::no_usable_address(self.domain)),
            (true, None, false) => Err(TargetError::no_address(self.domain)),
            (false, unresolved, _) => Ok(Found { targets, unresolved, notes: self.notes }),
        }
    }
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

impl Target {
    /// One that no look-up led to.
    pub fn new(address: Address, host: &Arc<str>, lmtp: bool) -> Self {
        Self { address, host: Arc::clone(host), lmtp, origin: Origin::default() }
    }

    /// Names that its certificate may be for under DANE-TA(2), the TLSA base domain first (RFC 7672 section 3.2.2).
    pub fn names(&self, base: &Arc<str>) -> Arc<[Arc<str>]> {
        let mut names = vec![Arc::clone(base)];
        for domain in self.origin.domains.iter() {
            if !names.contains(domain) {
                names.push(Arc::clone(domain));
            }
        }
        names.into()
    }
}

impl Found {
    fn of(targets: Vec<Target>) -> Self {
        Self { targets, ..Self::default() }
    }
}

/// The address in a literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.split_at_checked(5) {
        Some((tag, ip)) if tag.eq_ignore_ascii_case("IPv6:") => ip.parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
