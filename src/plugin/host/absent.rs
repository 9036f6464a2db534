//! Interfaces of the contract that this version of the relay does not grant to anybody: rate-limits, metrics, dns,
//! auth-results.
//!
//! They are linked so that a plugin which imports them without need still loads, and they say so honestly.

use wasmtime::Result;

use super::super::state::{State, error};
use super::wit::types::{ErrorCode, HostError};
use super::wit::{auth_results, dns, metrics, rate_limits};

fn denied<T>() -> Result<Result<T, HostError>> {
    Ok(Err(error(ErrorCode::Denied, "not granted by this relay version")))
}

fn unavailable<T>() -> Result<Result<T, HostError>> {
    Ok(Err(error(ErrorCode::Unavailable, "not computed by this relay version")))
}

impl rate_limits::Host for State {
    fn take(&mut self, _: String, _: rate_limits::Quota, _: u32) -> Result<Result<rate_limits::Decision, HostError>> {
        denied()
    }
}

impl metrics::Host for State {
    fn add(&mut self, _: String, _: u32, _: Vec<(String, String)>) -> Result<Result<(), HostError>> {
        denied()
    }

    fn observe(&mut self, _: String, _: f64, _: Vec<(String, String)>) -> Result<Result<(), HostError>> {
        denied()
    }
}

impl dns::Host for State {
    fn lookup(&mut self, _: String, _: dns::RecordKind) -> Result<Result<dns::Answer, dns::DnsError>> {
        Ok(Err(dns::DnsError::Denied))
    }

    fn list_lookup(&mut self, _: String, _: String) -> Result<Result<Vec<String>, dns::DnsError>> {
        Ok(Err(dns::DnsError::Denied))
    }
}

impl auth_results::Host for State {
    fn spf(&mut self) -> Result<Result<auth_results::SpfOutcome, HostError>> {
        unavailable()
    }

    fn dkim(&mut self) -> Result<Result<Vec<auth_results::DkimOutcome>, HostError>> {
        unavailable()
    }

    fn dmarc(&mut self) -> Result<Result<auth_results::DmarcOutcome, HostError>> {
        unavailable()
    }

    fn arc(&mut self) -> Result<Result<auth_results::ArcOutcome, HostError>> {
        unavailable()
    }

    fn header_value(&mut self) -> Result<Result<String, HostError>> {
        unavailable()
    }
}
