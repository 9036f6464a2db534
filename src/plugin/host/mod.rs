//! What a plugin may call: one file per WIT interface, thin, each checking its arguments itself.
//!
//! Must never panic on what a guest passes in, never let a control character of a guest reach a log or a header, and
//! never give an answer about anything but the running call.

mod auth_results;
mod config;
mod context;
mod deliveries;
mod denied;
mod dns;
mod kv;
mod log;
mod messages;
mod metrics;
mod rate_limits;
mod sessions;
mod system;
mod transactions;

pub(crate) use denied::Denied;
pub(crate) use log::{Budget as LogBudget, Level, levels, write_line};

use std::sync::Arc;

use super::bindings::waypost::plugin as wit;
use super::state::State;
use super::state::error;
use wit::types::{ErrorCode, HostError};

impl wit::types::Host for State {}
impl wit::routing::Host for State {}

/// Octets of the key of a note or an annotation.
const KEY_MAX: usize = 128;

/// Characters of a line of configuration that is proposed.
const LINE_MAX: usize = 200;

/// Refuses a key that is empty or too long.
fn check_key(key: &str) -> Result<(), HostError> {
    if (1..=KEY_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(error(ErrorCode::InvalidArgument, "a key has 1 to 128 octets"))
}

/// Whose notes and annotations are read: this plugin's (also where nobody is named), or those of one it was granted.
fn whose(state: &State, plugin: Option<String>) -> Result<Arc<str>, HostError> {
    let own = &state.shared.name;
    let Some(name) = plugin.filter(|name| **name != **own) else { return Ok(own.clone()) };
    let granted = state.shared.grants.notes_of.get(&*name).cloned();
    granted.ok_or_else(|| ungranted(state, &format!("notes-of = [{}]", serde_json::Value::from(name))))
}

/// `denied`, with the line that would change it.
fn ungranted(state: &State, line: &str) -> HostError {
    let plugin = super::asks::key(&state.shared.name);
    // The line may hold a name that the guest made up.
    let line: String = line.chars().take(LINE_MAX).collect();
    error(ErrorCode::Denied, format!("not granted: add `{line}` to [plugins.{plugin}.grants]"))
}
