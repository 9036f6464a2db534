//! DKIM (RFC 6376) and ARC (RFC 8617): first all keys are asked for at the same time, then the arithmetic is done on a
//! blocking thread while the body streams through it.
//!
//! mail-auth does both in one go, look-up by look-up, with the whole message in memory. Here it is given the header section
//! alone, the body's hashes, and a cache that holds the keys: then it waits for nobody. Must never ask DNS after that.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mail_auth::common::cache::NoCache;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::headers::Header;
use mail_auth::common::resolver::ToFqdn as _;
use mail_auth::common::verify::{DomainKey, VerifySignature};
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{TEXT_MAX, body, domain, plain};
use crate::hooks::{ArcOutcome, AuthStatus, DkimOutcome, MessageFacts, Signatures};
use crate::mail::Domain;

/// Signatures that are looked at, from the top: each costs a look-up, a hash of the header section and a verification.
/// Honest mail has one to three, a list's copy some more.
const SIGNATURES_MAX: usize = 10;

/// Names in the `h=` of a signature; honest ones have up to some forty.
const NAMES_MAX: usize = 256;

/// Names times fields: each name is looked for among all fields, so a header section made for it could take minutes.
const COMPARED_MAX: usize = 1 << 20;

/// Sets of an ARC chain (RFC 8617 section 4.2.1).
const SETS_MAX: usize = 50;

/// `t=y` of a key record; mail-auth has the flag, but keeps its name to itself.
const TESTING: u64 = 0x10;

/// What became of the check in the time there was.
pub(super) enum Checked {
    /// All of it was done.
    Whole(Signatures),
    /// Some keys did not come in time: what depends on them is a temporary error.
    InPart(Signatures),
    /// Nothing was done.
    Late,
}

/// Answers of DNS by name, in place of a cache. What is not in it was not answered in time.
struct Keys(HashMap<Box<str>, Txt>);

/// # Errors
/// When the body can't be read.
pub(super) async fn check(
    dns: &MessageAuthenticator,
    room: &Arc<Semaphore>,
    message: &Arc<MessageFacts>,
    until: Instant,
) -> io::Result<Checked> {
    let header = message.clone();
    let Some(names) = in_room(room, until, move || key_names(&header)).await? else { return Ok(Checked::Late) };
    let wanted = names.len();
    let keys = fetch(dns, names, until).await;
    let whole = keys.0.len() == wanted;
    let (dns, message) = (dns.clone(), message.clone());
    match in_room(room, until, move || verify(&dns, &message, &keys)).await? {
        Some(found) if whole => found.map(Checked::Whole),
        Some(found) => found.map(Checked::InPart),
        None => Ok(Checked::Late),
    }
}

/// Does blocking work where there is room for it; none if that did not come to its end in time. A verification takes some
/// hundred microseconds, a header section made for it tens of milliseconds: no worker should be kept that long.
async fn in_room<T: Send + 'static>(
    room: &Arc<Semaphore>,
    until: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let Ok(Ok(permit)) = timeout_at(until, room.clone().acquire_owned()).await else { return Ok(None) };
    let working = tokio::task::spawn_blocking(move || {
        // Held to the end even if nobody waits any more: it is what bounds the memory and the threads.
        let _permit = permit;
        work()
    });
    match timeout_at(until, working).await {
        Ok(done) => done.map(Some).map_err(io::Error::other),
        Err(_) => Ok(None),
    }
}

/// The header section as mail-auth wants it, cut down to what is looked at; its hashes are still those of no body. None
/// without a field.
fn parse(message: &MessageFacts) -> Option<AuthenticatedMessage<'_>> {
    let mut parsed = AuthenticatedMessage::parse(message.header.block())?;
    parsed.dkim_headers.truncate(SIGNATURES_MAX);
    let fields = parsed.headers.len();
    let costly = |names: usize| names > NAMES_MAX || names.saturating_mul(fields) > COMPARED_MAX;
    for field in parsed.dkim_headers.extract_if(.., |field| costly(field.header.h.len())) {
        let unusual = Error::Dkim(DkimError::SignatureLength);
        parsed.errors.push(Header { name: field.name, value: field.value, header: unusual });
    }
    parsed.has_arc_errors |= parsed.ams_headers.last().is_some_and(|field| costly(field.header.h.len()));
    for signature in parsed.dkim_headers.iter_mut().map(|field| &mut field.header) {
        // Reports to signers and signatures on behalf of others (RFC 6651, RFC 6541) would ask DNS once more.
        (signature.r, signature.atps) = (false, None);
    }
    Some(parsed)
}

/// Where the keys of all signatures are: a name for each that DKIM needs, and those of ARC if its chain is worth it.
fn key_names(message: &MessageFacts) -> BTreeSet<String> {
    let Some(parsed) = parse(message) else { return BTreeSet::new() };
    let dkim = parsed.dkim_headers.iter().map(|field| field.header.domain_key());
    let chain = is_chain(&parsed).then(|| {
        let sealed = parsed.as_headers.iter().map(|field| field.header.domain_key());
        sealed.chain(parsed.ams_headers.last().map(|field| field.header.domain_key()))
    });
    dkim.chain(chain.into_iter().flatten()).map(|name| name.to_fqdn().into_owned()).collect()
}

fn is_chain(parsed: &AuthenticatedMessage<'_>) -> bool {
    let sets = parsed.ams_headers.len();
    let even = sets == parsed.as_headers.len() && sets == parsed.aar_headers.len();
    even && sets <= SETS_MAX && !parsed.has_arc_errors
}

async fn fetch(dns: &MessageAuthenticator, names: BTreeSet<String>, until: Instant) -> Keys {
    let mut asking = JoinSet::new();
    for name in names {
        let dns = dns.clone();
        asking.spawn(async move {
            let answer = dns.txt_lookup::<DomainKey>(&name, None::<&NoCache<Box<str>, Txt>>).await;
            (name, answer.map_or_else(Txt::Error, Txt::DomainKey))
        });
    }
    let mut keys = HashMap::new();
    // What is not answered by then is dropped with the set.
    while let Ok(Some(done)) = timeout_at(until, asking.join_next()).await {
        if let Ok((name, answer)) = done {
            keys.insert(name.into_boxed_str(), answer);
        }
    }
    Keys(keys)
}

/// Blocking: reads the body, and computes.
fn verify(dns: &MessageAuthenticator, message: &MessageFacts, keys: &Keys) -> io::Result<Signatures> {
    let Some(mut parsed) = parse(message) else { return Ok(Signatures::default()) };
    body::fill(&message.body, &mut parsed.body_hashes)?;
    let unread = unread(&mut parsed);
    let verifying = async {
        let outputs = dns.verify_dkim(Parameters::new(&parsed).with_txt_cache(keys)).await;
        let dkim: Vec<_> = outputs.iter().map(|output| dkim_outcome(output, keys)).chain(unread).collect();
        let arc = dns.verify_arc(Parameters::new(&parsed).with_txt_cache(keys)).await;
        (dkim, arc_status(arc.result(), &parsed))
    };
    // Every key is in the cache, so there is nothing to wait for.
    let done = pin!(verifying).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready((mut dkim, status)) = done else {
        return Err(io::Error::other("the keys were asked for again"));
    };
    dkim.truncate(SIGNATURES_MAX);
    let sealer = parsed.as_headers.last().map(|field| domain(&field.header.d));
    Ok(Signatures { author: author(&parsed), dkim, arc: ArcOutcome { status, sealer } })
}

/// Takes out what mail-auth refused to read, of which it would tell without saying whose it is. What can be read was refused
/// by policy: for its cost, or since it covers a part of the body only (`l=`), to which anybody can add (RFC 6376 section
/// 8.2).
fn unread(parsed: &mut AuthenticatedMessage<'_>) -> Vec<DkimOutcome> {
    let errors = std::mem::take(&mut parsed.errors);
    let ours = errors.iter().filter(|field| field.name.trim_ascii().eq_ignore_ascii_case(b"DKIM-Signature"));
    ours.take(SIGNATURES_MAX)
        .map(|field| match Signature::parse(field.value) {
            Ok(refused) => outcome(AuthStatus::Policy, &refused, false),
            Err(_) => outcome(AuthStatus::Neutral, &Signature::default(), false),
        })
        .collect()
}

fn dkim_outcome(output: &DkimOutput<'_>, keys: &Keys) -> DkimOutcome {
    let Some(signature) = output.signature() else {
        return outcome(dkim_status(output.result()), &Signature::default(), false);
    };
    let status = match dkim_status(output.result()) {
        // RFC 8301 section 3.1: SHA-1 must not count any more.
        AuthStatus::Pass if signature.a == Algorithm::RsaSha1 => AuthStatus::Policy,
        status => status,
    };
    let testing = match keys.0.get(&*signature.domain_key().to_fqdn()) {
        Some(Txt::DomainKey(key)) => key.has_flag(TESTING),
        _ => false,
    };
    outcome(status, signature, testing)
}

fn outcome(status: AuthStatus, signature: &Signature, testing: bool) -> DkimOutcome {
    DkimOutcome { status, domain: domain(&signature.d), selector: plain(&signature.s, TEXT_MAX), testing }
}

fn dkim_status(result: &DkimResult) -> AuthStatus {
    match result {
        DkimResult::Pass => AuthStatus::Pass,
        // Neutral to mail-auth; RFC 8601 section 2.7.1 has "fail" for a signature that did not pass its tests.
        DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired))
        | DkimResult::Fail(_) => AuthStatus::Fail,
        DkimResult::Neutral(_) => AuthStatus::Neutral,
        DkimResult::PermError(_) => AuthStatus::Permerror,
        DkimResult::TempError(_) => AuthStatus::Temperror,
        DkimResult::None => AuthStatus::None,
    }
}

/// RFC 8617 section 4.4 knows pass, fail and none. Seals that sign no message are no chain, and not none either.
fn arc_status(result: &DkimResult, parsed: &AuthenticatedMessage<'_>) -> AuthStatus {
    match result {
        DkimResult::Pass => AuthStatus::Pass,
        DkimResult::TempError(_) => AuthStatus::Temperror,
        DkimResult::None if parsed.as_headers.is_empty() && parsed.aar_headers.is_empty() => AuthStatus::None,
        _ => AuthStatus::Fail,
    }
}

/// The one domain of all From fields.
fn author(parsed: &AuthenticatedMessage<'_>) -> Option<Domain> {
    let of = |address: &String| Domain::parse(address.rsplit_once('@')?.1).ok();
    let first = of(parsed.from.first()?)?;
    parsed.from.iter().all(|address| of(address).as_ref() == Some(&first)).then_some(first)
}

impl ResolverCache<Box<str>, Txt> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let late = || Txt::Error(Error::Dns(DnsError::Resolver("not answered in time".to_owned())));
        Some(self.0.get(name).cloned().unwrap_or_else(late))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}
