//! `kv`: the plugin's own bucket and shared ones, if the operator granted them.
//!
//! The store answers from memory but for cold pages, so its functions are called where they stand.

use wasmtime::Result;

use super::super::Access;
use super::super::asks::key as toml_key;
use super::super::bucket::{KvError, Value};
use super::super::convert;
use super::super::granted::{Keys, OWN};
use super::super::state::{State, error};
use super::ungranted;
use super::wit::kv::{Entry, Host, KeyPage};
use super::wit::types::{ErrorCode, HostError};
use crate::time::Timestamp;

/// Octets of a key.
const KEY_MAX: usize = 512;

/// Octets of a value: far above it the store is slow to give space back.
const VALUE_MAX: usize = 64 * 1024;

/// Keys of one page.
const PAGE_MAX: u32 = 1000;

impl State {
    /// The one place where the grant is looked at.
    fn bucket(&self, name: &str, wanted: Access) -> Result<Keys, HostError> {
        match self.shared.buckets.get(name) {
            Some((keys, Access::Write)) => Ok(keys.clone()),
            Some((keys, Access::Read)) if wanted == Access::Read => Ok(keys.clone()),
            _ if name == OWN => Err(ungranted(self, "kv = {}")),
            _ => {
                let access = if wanted == Access::Read { "read" } else { "write" };
                Err(ungranted(self, &format!("kv-shared = {{ {} = \"{access}\" }}", toml_key(name))))
            }
        }
    }

    fn bucket_for(&self, bucket: &str, key: &str, wanted: Access) -> Result<(Keys, Timestamp), HostError> {
        let bucket = self.bucket(bucket, wanted)?;
        if !(1..=KEY_MAX).contains(&key.len()) {
            return Err(error(ErrorCode::InvalidArgument, "a key has 1 to 512 octets"));
        }
        Ok((bucket, self.shared.services.clock.now()))
    }

    fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<Value>, HostError> {
        let (bucket, now) = self.bucket_for(bucket, key, Access::Read)?;
        bucket.get(key, now).map_err(refused)
    }

    fn kv_set(&self, bucket: &str, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), HostError> {
        let (bucket, now) = self.bucket_for(bucket, key, Access::Write)?;
        check_value(value)?;
        bucket.set(key, value, expiry(now, ttl)?, now).map_err(refused)
    }
}

fn check_value(value: &[u8]) -> Result<(), HostError> {
    if value.len() <= VALUE_MAX {
        return Ok(());
    }
    Err(error(ErrorCode::TooLarge, "a value has at most 64 KiB"))
}

fn expiry(now: Timestamp, ttl: Option<u32>) -> Result<Option<Timestamp>, HostError> {
    match ttl {
        None => Ok(None),
        Some(0) => Err(error(ErrorCode::InvalidArgument, "a ttl is at least one second")),
        Some(seconds) => Ok(Some(now.plus(std::time::Duration::from_secs(seconds.into())))),
    }
}

fn refused(why: KvError) -> HostError {
    let code = match &why {
        KvError::Quota => ErrorCode::Exhausted,
        KvError::NotANumber | KvError::TooFar => ErrorCode::InvalidArgument,
        KvError::Contended => ErrorCode::Unavailable,
        KvError::Store(store) => {
            tracing::warn!(target: "plugin", %store, "the store failed a plugin");
            return error(ErrorCode::Unavailable, "the store can't be read or written now");
        }
    };
    error(code, why.to_string())
}

impl Host for State {
    fn get(&mut self, bucket: String, key: String) -> Result<Result<Option<Entry>, HostError>> {
        let entry = |value: Value| Entry {
            version: format!("{:x}", value.version),
            expires_at: value.expires.map(convert::timestamp),
            value: value.octets.into(),
        };
        self.charge()?;
        self.taped("kv.get", &(&bucket, &key), |state| state.kv_get(&bucket, &key).map(|value| value.map(entry)))
    }

    fn set(
        &mut self,
        bucket: String,
        key: String,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> Result<Result<(), HostError>> {
        self.charge()?;
        let args = (&bucket, &key, &value, ttl_seconds);
        self.taped("kv.set", &args, |state| state.kv_set(&bucket, &key, &value, ttl_seconds))
    }

    fn get_text(&mut self, bucket: String, key: String) -> Result<Result<Option<String>, HostError>> {
        let text = |value: Value| {
            String::from_utf8(value.octets.into())
                .map_err(|_| error(ErrorCode::InvalidArgument, "the value is not UTF-8"))
        };
        self.charge()?;
        self.taped("kv.get-text", &(&bucket, &key), |state| {
            state.kv_get(&bucket, &key).and_then(|value| value.map(text).transpose())
        })
    }

    fn set_text(
        &mut self,
        bucket: String,
        key: String,
        value: String,
        ttl_seconds: Option<u32>,
    ) -> Result<Result<(), HostError>> {
        self.charge()?;
        let args = (&bucket, &key, &value, ttl_seconds);
        self.taped("kv.set-text", &args, |state| state.kv_set(&bucket, &key, value.as_bytes(), ttl_seconds))
    }

    fn delete(&mut self, bucket: String, key: String) -> Result<Result<(), HostError>> {
        self.charge()?;
        self.taped("kv.delete", &(&bucket, &key), |state| {
            let (bucket, now) = state.bucket_for(&bucket, &key, Access::Write)?;
            bucket.delete(&key, now).map_err(refused)
        })
    }

    fn increment(
        &mut self,
        bucket: String,
        key: String,
        delta: i32,
        ttl_seconds: Option<u32>,
    ) -> Result<Result<i64, HostError>> {
        self.charge()?;
        self.taped("kv.increment", &(&bucket, &key, delta, ttl_seconds), |state| {
            let (bucket, now) = state.bucket_for(&bucket, &key, Access::Write)?;
            bucket.increment(&key, delta.into(), expiry(now, ttl_seconds)?, now).map_err(refused)
        })
    }

    fn compare_and_set(
        &mut self,
        bucket: String,
        key: String,
        expected: Option<String>,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> Result<Result<bool, HostError>> {
        self.charge()?;
        self.taped("kv.compare-and-set", &(&bucket, &key, &expected, &value, ttl_seconds), |state| {
            let (bucket, now) = state.bucket_for(&bucket, &key, Access::Write)?;
            check_value(&value)?;
            // What is no version is the version of no value.
            let expected = expected.as_deref().map(|text| u64::from_str_radix(text, 16).unwrap_or(u64::MAX));
            bucket.compare_and_set(&key, expected, &value, expiry(now, ttl_seconds)?, now).map_err(refused)
        })
    }

    fn keys(
        &mut self,
        bucket: String,
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Result<KeyPage, HostError>> {
        self.charge()?;
        self.taped("kv.keys", &(&bucket, &prefix, &cursor, limit), |state| {
            let bucket = state.bucket(&bucket, Access::Read)?;
            let limit = limit.clamp(1, PAGE_MAX) as usize;
            let now = state.shared.services.clock.now();
            let (keys, cursor) = bucket.keys(&prefix, cursor.as_deref(), limit, now).map_err(refused)?;
            Ok(KeyPage { keys, cursor })
        })
    }
}
