//! ARC sets (RFC 8617): what was found of a message when it came, sealed for those further on. Blocking.
//!
//! Must never vouch for a chain that did not verify: what failed is sealed once as failed, and never again.

use std::sync::Arc;

use bytes::Bytes;

use super::config::{DEFAULT_FIELDS, DEFAULT_OVER_SIGN};
use super::dkim::{COVERED_MAX, hash_of, want};
use super::fields::{TagList, covered, push_canonical, push_covered, push_unfinished, tag};
use super::key::Key;
use super::keys::Keys;
use super::{ArcConfig, Letter, SigningError};
use crate::authres::body::fill;
use crate::hooks::AuthStatus;
use crate::mail::{Field, Header, HeaderEdit};

/// Sets of a chain (RFC 8617 section 4.2.1).
const SETS_MAX: u32 = 50;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// What was found of a message's chain when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// There is none.
    None,
    /// It verified.
    Pass,
    /// It did not.
    Fail,
    /// It could not be told.
    Unknown,
}

impl From<AuthStatus> for Chain {
    fn from(status: AuthStatus) -> Self {
        match status {
            AuthStatus::None => Self::None,
            AuthStatus::Pass => Self::Pass,
            AuthStatus::Temperror => Self::Unknown,
            _ => Self::Fail,
        }
    }
}

/// One set of a chain.
#[derive(Default)]
struct Set<'a> {
    results: Option<Field<'a>>,
    signature: Option<Field<'a>>,
    seal: Option<Field<'a>>,
}

/// The three fields, or none where the chain gets no more.
pub(super) fn seal(keys: &Keys, letter: &Letter, results: &str, chain: Chain) -> Result<Bytes, SigningError> {
    let Some((config, key)) = &keys.arc else { return Ok(Bytes::new()) };
    let Some((instance, word)) = next(&letter.header, chain) else { return Ok(Bytes::new()) };
    let results = results_field(instance, results);
    let signature = signature(config, key, letter, instance)?;
    let (results_field, signature_field) =
        (Header::parse(results.clone()), Header::parse(signature.clone().into_bytes().into()));
    let mut input = Vec::with_capacity(4096);
    // RFC 8617 section 5.1.2: what failed is not vouched for, so only the new set is sealed.
    if word == "pass" {
        push_sets(&mut input, &letter.header, instance);
    }
    for field in results_field.fields().chain(signature_field.fields()) {
        push_canonical(&mut input, &field, true);
    }
    let mut list = TagList::new(SEAL);
    list.tag("i", &instance.to_string());
    list.tag("a", key.algorithm().name());
    list.tag("t", &letter.now.secs().to_string());
    list.tag("cv", word);
    list.tag("d", config.domain.as_str());
    list.tag("s", &config.selector);
    list.open("b");
    push_unfinished(&mut input, list.text(), true);
    list.fill(&key.sign(&input).map_err(|_| SigningError::Key("of [arc]".into()))?);
    Ok([list.finish().as_bytes(), signature.as_bytes(), &results[..]].concat().into())
}

/// The instance of the next set and what it says of the chain before it (RFC 8617 section 5.1.1); none where there is to be
/// no set.
fn next(header: &Header, chain: Chain) -> Option<(u32, &'static str)> {
    let last = header.fields().filter_map(|field| instance(&field)).max().unwrap_or(0);
    match chain {
        Chain::Unknown => None,
        Chain::None if last == 0 => Some((1, "none")),
        Chain::Pass if last > 0 && last < SETS_MAX && is_whole(header, last) => Some((last + 1, "pass")),
        // What a plugin has changed since, or nobody can continue: the chain that came is not the one that is here.
        Chain::None | Chain::Pass => None,
        Chain::Fail if is_sealed_as_failed(header) || last >= SETS_MAX => None,
        Chain::Fail => Some((last + 1, "fail")),
    }
}

/// The number of a field's set; none for fields that are of none.
fn instance(field: &Field<'_>) -> Option<u32> {
    if ![RESULTS, SIGNATURE, SEAL].iter().any(|name| field.is_named(name)) {
        return None;
    }
    let digits = tag(field.raw, "i")?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|i| (1..=SETS_MAX).contains(i))
}

fn is_sealed_as_failed(header: &Header) -> bool {
    header.fields().any(|field| field.is_named(SEAL) && tag(field.raw, "cv") == Some(b"fail"))
}

/// True with one field of each kind in every set.
fn is_whole(header: &Header, last: u32) -> bool {
    let count = |name: &str, i: u32| header.fields().filter(|f| f.is_named(name) && instance(f) == Some(i)).count();
    (1..=last).all(|i| [RESULTS, SIGNATURE, SEAL].iter().all(|name| count(name, i) == 1))
}

/// All sets before this one, in the order in which they are sealed.
fn push_sets(out: &mut Vec<u8>, header: &Header, instance_of_next: u32) {
    for number in 1..instance_of_next {
        let mut set = Set::default();
        for field in header.fields().filter(|field| instance(field) == Some(number)) {
            let place = if field.is_named(RESULTS) {
                &mut set.results
            } else if field.is_named(SIGNATURE) {
                &mut set.signature
            } else {
                &mut set.seal
            };
            *place = Some(field);
        }
        for field in [set.results, set.signature, set.seal].into_iter().flatten() {
            push_canonical(out, &field, true);
        }
    }
}

fn results_field(instance: u32, results: &str) -> Bytes {
    let value: Arc<str> = format!("i={instance}; {results}").into();
    let edit = HeaderEdit::Prepend { name: RESULTS.into(), value };
    // The value was made to stand in a field; it has no control characters.
    Header::default().edit(&[edit]).map(|header| header.block().clone()).unwrap_or_default()
}

fn signature(config: &ArcConfig, key: &Key, letter: &Letter, instance: u32) -> Result<String, SigningError> {
    let mut names: Vec<Arc<str>> = DEFAULT_FIELDS.iter().map(|name| Arc::from(*name)).collect();
    // RFC 8617 section 4.1.2: signatures are covered too, but no ARC field is.
    names.push("DKIM-Signature".into());
    let over: Vec<Arc<str>> = DEFAULT_OVER_SIGN.iter().map(|name| Arc::from(*name)).collect();
    let names = covered(&letter.header, &names, &over);
    if names.len() > COVERED_MAX {
        return Err(SigningError::TooManyFields(names.len()));
    }
    let mut hashes = Vec::new();
    want(&mut hashes, true);
    fill(&letter.body, &mut hashes)?;
    let mut list = TagList::new(SIGNATURE);
    list.tag("i", &instance.to_string());
    list.tag("a", key.algorithm().name());
    list.tag("c", "relaxed/relaxed");
    list.tag("d", config.domain.as_str());
    list.tag("s", &config.selector);
    list.tag("t", &letter.now.secs().to_string());
    list.names("h", &names);
    list.octets("bh", hash_of(&hashes, true));
    list.open("b");
    let mut input = Vec::with_capacity(2048);
    push_covered(&mut input, &letter.header, &names, true);
    push_unfinished(&mut input, list.text(), true);
    list.fill(&key.sign(&input).map_err(|_| SigningError::Key("of [arc]".into()))?);
    Ok(list.finish())
}
