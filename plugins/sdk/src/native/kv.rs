//! `kv`: the buckets that a test grants, in memory. Writes are no part of the journal: a hook that fails has written.

pub use crate::bindings::imports::waypost::plugin::kv::{Entry, KeyPage};

use super::state::{Bucket, State};
use super::{error, invalid, with};
use crate::{ErrorCode, HostError, Timestamp};

const KEY_MAX: usize = 512;
const VALUE_MAX: usize = 64 * 1024;
const PAGE_MAX: u32 = 1000;
/// JavaScript's exact integers: the contract's bound for numbers.
const NUMBER_MAX: u64 = 1 << 53;

/// Reads a value.
///
/// # Errors
/// `denied` unless the test granted the bucket; a key that does not fit.
pub fn get(bucket: &str, key: &str) -> Result<Option<Entry>, HostError> {
    with(|state| Ok(opened(state, bucket, key, false)?.entries.get(key).cloned()))
}

/// Writes a value.
///
/// # Errors
/// `denied` unless the test granted the bucket; a key, a value or a ttl that does not fit.
pub fn set(bucket: &str, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<(), HostError> {
    with(|state| {
        opened(state, bucket, key, true)?;
        write(state, bucket, key, value, ttl_seconds)
    })
}

/// Reads a value as UTF-8.
///
/// # Errors
/// As `get`; what is not UTF-8.
pub fn get_text(bucket: &str, key: &str) -> Result<Option<String>, HostError> {
    let text = |entry: Entry| String::from_utf8(entry.value).map_err(|_| invalid("the value is not UTF-8"));
    get(bucket, key)?.map(text).transpose()
}

/// Writes a value as UTF-8.
///
/// # Errors
/// As `set`.
pub fn set_text(bucket: &str, key: &str, value: &str, ttl_seconds: Option<u32>) -> Result<(), HostError> {
    set(bucket, key, value.as_bytes(), ttl_seconds)
}

/// Forgets a key.
///
/// # Errors
/// As `set`.
pub fn delete(bucket: &str, key: &str) -> Result<(), HostError> {
    with(|state| {
        opened(state, bucket, key, true)?.entries.remove(key);
        Ok(())
    })
}

/// Adds to a number. The ttl is set only on creation.
///
/// # Errors
/// As `set`; a value that is no number, or a sum past 2^53.
pub fn increment(bucket: &str, key: &str, delta: i32, ttl_seconds: Option<u32>) -> Result<i64, HostError> {
    with(|state| {
        let before = opened(state, bucket, key, true)?.entries.get(key).cloned();
        let number = match &before {
            None => 0,
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).ok();
                text.and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| invalid("the value is no number"))?
            }
        };
        let sum = number.checked_add(delta.into()).filter(|sum| sum.unsigned_abs() <= NUMBER_MAX);
        let sum = sum.ok_or_else(|| invalid("the sum is past 2^53"))?;
        let ttl = if before.is_none() { ttl_seconds } else { None };
        write(state, bucket, key, sum.to_string().as_bytes(), ttl)?;
        if let Some(before) = before {
            let entry = opened(state, bucket, key, true)?.entries.get_mut(key);
            entry.into_iter().for_each(|entry| entry.expires_at = before.expires_at);
        }
        Ok(sum)
    })
}

/// Writes a value if the key still has that version.
///
/// # Errors
/// As `set`.
pub fn compare_and_set(
    bucket: &str,
    key: &str,
    expected: Option<&str>,
    value: &[u8],
    ttl_seconds: Option<u32>,
) -> Result<bool, HostError> {
    with(|state| {
        let there = opened(state, bucket, key, true)?.entries.get(key).map(|entry| entry.version.as_str());
        if there != expected {
            return Ok(false);
        }
        write(state, bucket, key, value, ttl_seconds)?;
        Ok(true)
    })
}

/// Keys that start with `prefix`.
///
/// # Errors
/// `denied` unless the test granted the bucket.
pub fn keys(bucket: &str, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<KeyPage, HostError> {
    with(|state| {
        let entries = &granted(state, bucket, false)?.entries;
        let limit = limit.clamp(1, PAGE_MAX) as usize;
        let mut rest =
            entries.keys().filter(|key| key.starts_with(prefix) && cursor.is_none_or(|last| key.as_str() > last));
        let keys: Vec<String> = rest.by_ref().take(limit).cloned().collect();
        let cursor = if rest.next().is_some() { keys.last().cloned() } else { None };
        Ok(KeyPage { keys, cursor })
    })
}

/// A granted bucket, without what has expired.
fn granted<'a>(state: &'a mut State, name: &str, write: bool) -> Result<&'a mut Bucket, HostError> {
    let now = state.services.clock;
    match state.services.buckets.get_mut(name) {
        Some(bucket) if !(write && bucket.read_only) => {
            bucket.entries.retain(|_, entry| entry.expires_at.is_none_or(|at| at.seconds > now));
            Ok(bucket)
        }
        _ if name == "own" => Err(error(ErrorCode::Denied, "add `kv = {}` to its grants")),
        _ => {
            let access = if write { "write" } else { "read" };
            let line = format!("add `kv-shared = {{ {name} = \"{access}\" }}` to its grants");
            Err(error(ErrorCode::Denied, &line))
        }
    }
}

fn opened<'a>(state: &'a mut State, name: &str, key: &str, write: bool) -> Result<&'a mut Bucket, HostError> {
    let bucket = granted(state, name, write)?;
    if (1..=KEY_MAX).contains(&key.len()) { Ok(bucket) } else { Err(invalid("a key has 1 to 512 octets")) }
}

fn write(state: &mut State, bucket: &str, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), HostError> {
    if value.len() > VALUE_MAX {
        return Err(error(ErrorCode::TooLarge, "a value has at most 64 KiB"));
    }
    if ttl == Some(0) {
        return Err(invalid("a ttl is at least one second"));
    }
    state.services.writes += 1;
    let version = format!("{:x}", state.services.writes);
    let seconds = |ttl: u32| state.services.clock.saturating_add(ttl.into());
    let expires_at = ttl.map(|ttl| Timestamp { seconds: seconds(ttl), nanoseconds: 0 });
    let entry = Entry { value: value.to_vec(), version, expires_at };
    granted(state, bucket, true)?.entries.insert(key.to_owned(), entry);
    Ok(())
}
