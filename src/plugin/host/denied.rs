//! What stands behind an interface that the operator did not grant: linked in its place, it has no way to the relay.

use wasmtime::Result;
use wasmtime::component::HasData;

use super::super::state::error;
use super::wit::types::{ErrorCode, HostError};
use super::wit::{dns, kv};

/// Answers `denied`, whatever is asked.
pub(crate) struct Denied;

impl HasData for Denied {
    type Data<'a> = Self;
}

fn denied<T>(grant: &str) -> Result<Result<T, HostError>> {
    let detail = format!("not granted: add `{grant}` to the plugin's grants ([plugins.NAME.grants])");
    Ok(Err(error(ErrorCode::Denied, detail)))
}

const KV: &str = "kv = {}";

impl kv::Host for Denied {
    fn get(&mut self, _: String, _: String) -> Result<Result<Option<kv::Entry>, HostError>> {
        denied(KV)
    }

    fn set(&mut self, _: String, _: String, _: Vec<u8>, _: Option<u32>) -> Result<Result<(), HostError>> {
        denied(KV)
    }

    fn get_text(&mut self, _: String, _: String) -> Result<Result<Option<String>, HostError>> {
        denied(KV)
    }

    fn set_text(&mut self, _: String, _: String, _: String, _: Option<u32>) -> Result<Result<(), HostError>> {
        denied(KV)
    }

    fn delete(&mut self, _: String, _: String) -> Result<Result<(), HostError>> {
        denied(KV)
    }

    fn increment(&mut self, _: String, _: String, _: i32, _: Option<u32>) -> Result<Result<i64, HostError>> {
        denied(KV)
    }

    fn compare_and_set(
        &mut self,
        _: String,
        _: String,
        _: Option<String>,
        _: Vec<u8>,
        _: Option<u32>,
    ) -> Result<Result<bool, HostError>> {
        denied(KV)
    }

    fn keys(&mut self, _: String, _: String, _: Option<String>, _: u32) -> Result<Result<kv::KeyPage, HostError>> {
        denied(KV)
    }
}

impl dns::Host for Denied {
    async fn lookup(&mut self, _: String, _: dns::RecordKind) -> Result<Result<dns::Answer, dns::DnsError>> {
        Ok(Err(dns::DnsError::Denied))
    }

    async fn list_lookup(&mut self, _: String, _: String) -> Result<Result<Vec<String>, dns::DnsError>> {
        Ok(Err(dns::DnsError::Denied))
    }
}
