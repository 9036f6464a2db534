//! `system`: time and randomness.

use wasmtime::Result;

use super::super::convert;
use super::super::state::State;
use super::wit::system::Host;
use super::wit::types::Timestamp;

/// Octets of one call.
const RANDOM_MAX: u32 = 1024;

impl Host for State {
    fn now(&mut self) -> Result<Timestamp> {
        self.taped("system.now", &(), |state| convert::timestamp(state.shared.services.clock.now()))
    }

    fn random_bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        let args = (count,);
        if let Some(octets) = self.played("system.random-bytes", &args)? {
            return Ok(octets);
        }
        let mut octets = vec![0; count.min(RANDOM_MAX) as usize];
        getrandom::getrandom(&mut octets).map_err(wasmtime::Error::msg)?;
        self.note("system.random-bytes", &args, &octets);
        Ok(octets)
    }
}
