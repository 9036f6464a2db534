//! What a plugin may call: one file per WIT interface, thin, each checking its arguments itself.
//!
//! Must never panic on what a guest passes in, never let a control character of a guest reach a log or a header, and
//! never give an answer about anything but the running call.

mod absent;
mod config;
mod context;
mod denied;
mod deliveries;
mod kv;
mod log;
mod messages;
mod sessions;
mod system;
mod transactions;

pub(crate) use denied::Denied;
pub(crate) use log::Budget as LogBudget;

use super::bindings::waypost::plugin as wit;
use super::state::State;
use super::state::error;
use wit::types::{ErrorCode, HostError};

impl wit::types::Host for State {}
impl wit::routing::Host for State {}

/// Octets of the key of a note or an annotation.
const KEY_MAX: usize = 128;

/// Refuses a key that is empty or too long.
fn check_key(key: &str) -> Result<(), HostError> {
    if (1..=KEY_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(error(ErrorCode::InvalidArgument, "a key has 1 to 128 octets"))
}

/// `plugin` names this plugin, or nobody; others' notes and annotations need a grant that does not exist yet.
fn check_own(state: &State, plugin: Option<&str>) -> Result<(), HostError> {
    if plugin.is_none_or(|name| name == &*state.shared.name) {
        return Ok(());
    }
    Err(error(ErrorCode::Denied, "reading what another plugin left is not granted by this relay version"))
}
