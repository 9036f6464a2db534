//! The interface of the contract that this version of the relay does not serve: auth-results.
//!
//! It is linked so that a plugin which imports it without need still loads, and it says so honestly.

use wasmtime::Result;

use super::super::state::{State, error};
use super::wit::auth_results;
use super::wit::types::{ErrorCode, HostError};

fn unavailable<T>() -> Result<Result<T, HostError>> {
    Ok(Err(error(ErrorCode::Unavailable, "not computed by this relay version")))
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
