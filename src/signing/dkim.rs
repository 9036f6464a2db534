//! DKIM signatures (RFC 6376): one field for each key that signs. Blocking: reads the body, and computes.

use std::sync::Arc;

use bytes::Bytes;
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::dkim::{Canonicalization, Signature};

use super::fields::{TagList, covered, push_covered, push_unfinished, tag, without_signature};
use super::keys::{Keys, Loaded};
use super::{Letter, SigningError, choose};
use crate::authres::body::{Hash, fill};
use crate::mail::{Authors, Domain, Field, Header};
use crate::store::Content;
use crate::time::Timestamp;

/// Fields that a signature covers; honest mail has some twenty. More would be a signature that nobody verifies.
pub(super) const COVERED_MAX: usize = 500;

/// Signatures of our own that are looked at, to see whether a message has one already.
const LOOKED_AT: usize = 10;

/// The fields for this message, the first key's on top.
pub(super) fn sign(keys: &Keys, letter: &Letter) -> Result<Bytes, SigningError> {
    // A signature without a From field is none (RFC 6376 section 5.4).
    if letter.header.first("From").is_none() {
        return Ok(Bytes::new());
    }
    let chosen = choose::keys(keys, author(&letter.header).as_ref(), letter.now)?;
    let mut due = Vec::with_capacity(chosen.len());
    for loaded in chosen {
        if keys.config().policy.again || !has_signed(loaded, letter)? {
            due.push(loaded);
        }
    }
    let mut hashes: Vec<Hash> = Vec::new();
    for loaded in &due {
        want(&mut hashes, loaded.config.canonicalisation.relaxed_body);
    }
    fill(&letter.body, &mut hashes)?;
    let mut out = String::new();
    for loaded in due {
        out.push_str(&field(loaded, letter, &hashes)?);
    }
    Ok(out.into())
}

/// The domain of the From field: of its first address, if there are several (RFC 5322 section 3.6.2). Read as it is where clients
/// are held to addresses of their own, or one of them could have a message signed for another.
fn author(header: &Header) -> Option<Domain> {
    Some(Authors::of(header).mailboxes.into_iter().next()?.domain)
}

/// A body's hash that will be needed, once.
pub(super) fn want(hashes: &mut Vec<Hash>, relaxed: bool) {
    let canonicalization = canonicalization(relaxed);
    if !hashes.iter().any(|(known, ..)| *known == canonicalization) {
        hashes.push((canonicalization, HashAlgorithm::Sha256, 0, Vec::new()));
    }
}

/// The hash of the body, computed before.
pub(super) fn hash_of(hashes: &[Hash], relaxed: bool) -> &[u8] {
    let canonicalization = canonicalization(relaxed);
    hashes.iter().find(|(known, ..)| *known == canonicalization).map_or(&[], |(.., hash)| hash)
}

fn canonicalization(relaxed: bool) -> Canonicalization {
    if relaxed { Canonicalization::Relaxed } else { Canonicalization::Simple }
}

fn field(loaded: &Loaded, letter: &Letter, hashes: &[Hash]) -> Result<String, SigningError> {
    let Loaded { config, key } = loaded;
    let (relaxed, relaxed_body) = (config.canonicalisation.relaxed_header, config.canonicalisation.relaxed_body);
    let names = covered(&letter.header, &config.fields, &config.over_sign);
    if names.len() > COVERED_MAX {
        return Err(SigningError::TooManyFields(names.len()));
    }
    let mut list = TagList::new("DKIM-Signature");
    list.tag("v", "1");
    list.tag("a", key.algorithm().name());
    list.tag("c", &format!("{}/{}", word(relaxed), word(relaxed_body)));
    list.tag("d", config.domain.as_str());
    list.tag("s", &config.selector);
    list.tag("t", &letter.now.secs().to_string());
    if let Some(expires) = config.expires {
        list.tag("x", &letter.now.plus(expires).secs().to_string());
    }
    if let Some(identity) = &config.identity {
        list.tag("i", identity);
    }
    list.names("h", &names);
    list.octets("bh", hash_of(hashes, relaxed_body));
    list.open("b");
    let mut input = Vec::with_capacity(2048);
    push_covered(&mut input, &letter.header, &names, relaxed);
    push_unfinished(&mut input, list.text(), relaxed);
    let signature = key.sign(&input).map_err(|_| SigningError::Key(config.name.clone()))?;
    list.fill(&signature);
    Ok(list.finish())
}

fn word(relaxed: bool) -> &'static str {
    if relaxed { "relaxed" } else { "simple" }
}

/// True if the message has a good signature of this key already: it was sent through this relay, or one like it, before.
fn has_signed(loaded: &Arc<Loaded>, letter: &Letter) -> Result<bool, SigningError> {
    let ours = |field: &Field<'_>| {
        let is = |name, text: &str| tag(field.raw, name).is_some_and(|v| v.eq_ignore_ascii_case(text.as_bytes()));
        field.is_named("DKIM-Signature") && is("d", loaded.config.domain.as_str()) && is("s", &loaded.config.selector)
    };
    for field in letter.header.fields().filter(ours).take(LOOKED_AT) {
        if is_good(loaded, &field, &letter.header, &letter.body, letter.now)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_good(
    loaded: &Loaded,
    field: &Field<'_>,
    header: &Header,
    body: &Content,
    now: Timestamp,
) -> Result<bool, SigningError> {
    let Ok(signature) = Signature::parse(field.raw) else { return Ok(false) };
    // Of a part of the body only, or soon of no use: better signed again.
    let over = signature.x > 0 && i64::try_from(signature.x).unwrap_or(i64::MAX) <= now.secs();
    if signature.l > 0 || over || signature.h.len() > COVERED_MAX {
        return Ok(false);
    }
    let relaxed = signature.ch == Canonicalization::Relaxed;
    let mut input = Vec::with_capacity(2048);
    push_covered(&mut input, header, &signature.h, relaxed);
    let unsigned = without_signature(field.octets);
    let text = unsigned.strip_suffix(b"\r\n").unwrap_or(&unsigned);
    push_unfinished(&mut input, &String::from_utf8_lossy(text), relaxed);
    if !loaded.key.has_signed(&input, &signature.b) {
        return Ok(false);
    }
    let mut hashes = vec![(signature.cb, HashAlgorithm::Sha256, 0, Vec::new())];
    fill(body, &mut hashes)?;
    Ok(hashes.first().is_some_and(|(.., hash)| *hash == signature.bh))
}
