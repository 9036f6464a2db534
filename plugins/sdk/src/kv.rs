//! Buckets of the relay's key-value store.

use crate::raw_kv::{self, Entry};

/// The plugin's own bucket. Needs the `kv` grant.
pub const OWN: Bucket = Bucket("own");

/// A bucket by name: `own`, or a shared one that the operator granted.
#[derive(Clone, Copy, Debug)]
pub struct Bucket(pub &'static str);

impl Bucket {
    /// The entry, with the version that `replace` wants.
    ///
    /// # Errors
    /// The relay's refusal.
    pub fn get(self, key: &str) -> Result<Option<Entry>, String> {
        Ok(raw_kv::get(self.0, key)?)
    }

    /// The value as text.
    ///
    /// # Errors
    /// The relay's refusal, or octets that are no UTF-8.
    pub fn text(self, key: &str) -> Result<Option<String>, String> {
        Ok(raw_kv::get_text(self.0, key)?)
    }

    /// Writes a text.
    ///
    /// # Errors
    /// The relay's refusal.
    pub fn set_text(self, key: &str, value: &str, ttl_seconds: Option<u32>) -> Result<(), String> {
        Ok(raw_kv::set_text(self.0, key, value, ttl_seconds)?)
    }

    /// Writes only if the entry still has this version; none: only if there is no entry. False if another was faster.
    ///
    /// # Errors
    /// The relay's refusal.
    pub fn replace(
        self,
        key: &str,
        version: Option<&str>,
        value: &[u8],
        ttl_seconds: Option<u32>,
    ) -> Result<bool, String> {
        Ok(raw_kv::compare_and_set(self.0, key, version, value, ttl_seconds)?)
    }

    /// Counts up and returns the new value; the time to live is set when the key is made.
    ///
    /// # Errors
    /// The relay's refusal.
    pub fn increment(self, key: &str, delta: i32, ttl_seconds: Option<u32>) -> Result<i64, String> {
        Ok(raw_kv::increment(self.0, key, delta, ttl_seconds)?)
    }
}
