//! The relay as a native test sees it: twins of the contract's functions and resources, with the same signatures, that
//! answer from fakes of this thread. Records and enums stay the generated ones.
//!
//! What a plugin would notice follows the contract: where an edit is allowed, what is not granted, that a failed hook
//! changes nothing. It must never reach a network, a file or the machine's clock, and is no part of a component.

pub mod auth_results;
pub mod context;
pub mod deliveries;
pub mod dns;
pub(crate) mod http;
pub mod kv;
pub(crate) mod mail;
pub mod messages;
mod services;
pub mod sessions;
pub(crate) mod state;
pub mod transactions;

pub use services::{config, log, metrics, rate_limits, system};

use std::cell::RefCell;

use crate::{ErrorCode, HostError, Mailbox};
use state::{At, State};

thread_local! {
    /// The fakes of the call that runs on this thread; those of an empty world where none does.
    static CURRENT: RefCell<State> = RefCell::default();
}

/// Looks at, or changes, the fakes. Never nested: no function of the host calls another one through it.
fn with<T>(look: impl FnOnce(&mut State) -> T) -> T {
    CURRENT.with_borrow_mut(look)
}

/// Puts fakes in place and gives back those that were there.
pub(crate) fn install(state: State) -> State {
    CURRENT.replace(state)
}

/// Which world's settings hold: zero where there is no world.
pub(crate) fn world() -> u64 {
    with(|state| state.world)
}

fn error(code: ErrorCode, detail: &str) -> HostError {
    HostError { code, detail: detail.to_owned() }
}

fn invalid(detail: &str) -> HostError {
    error(ErrorCode::InvalidArgument, detail)
}

/// A handle of an earlier call.
fn dead() -> HostError {
    error(ErrorCode::NotHere, "the handle is of an earlier call")
}

/// What would end a component, and what a test has not thought of.
#[expect(clippy::panic, reason = "in the relay this is a trap, and a test has to fail by it")]
fn trap(why: &str) -> ! {
    panic!("the test can't go on: {why}")
}

/// What is behind a handle, as long as the call lasts that got it.
#[derive(Clone, Copy, Debug)]
struct Handle(u64);

impl Handle {
    fn new() -> Self {
        Self(with(|state| state.call.number))
    }

    /// For functions that answer with a host-error.
    fn asked<T>(self, look: impl FnOnce(&mut State) -> Result<T, HostError>) -> Result<T, HostError> {
        with(|state| if state.call.number == self.0 { look(state) } else { Err(dead()) })
    }

    /// For the others.
    fn read<T>(self, look: impl FnOnce(&State) -> T) -> T {
        match with(|state| (state.call.number == self.0).then(|| look(state))) {
            Some(value) => value,
            None => trap("a handle was used after its hook had returned"),
        }
    }
}

/// Refuses at other hooks than these.
fn only_at(state: &State, hooks: &[At]) -> Result<(), HostError> {
    if hooks.contains(&state.at) { Ok(()) } else { Err(error(ErrorCode::NotHere, "not allowed at this hook")) }
}

/// Notes and annotations: 1 to 128 octets.
fn check_key(key: &str) -> Result<(), HostError> {
    if (1..=128).contains(&key.len()) { Ok(()) } else { Err(invalid("a key has 1 to 128 octets")) }
}

/// As the relay would parse it: the domain in lower case.
fn checked(mailbox: &Mailbox) -> Result<Mailbox, HostError> {
    let Mailbox { local_part, domain } = mailbox;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let literal = domain.starts_with('[') && domain.ends_with(']');
    let named = domain.len() <= 253 && domain.split('.').all(label);
    let bare = domain.is_empty() && local_part.eq_ignore_ascii_case("postmaster");
    // RFC 5321 section 4.5.3.1.1 has 64 octets for a local part.
    let local = (1..=64).contains(&local_part.len()) && !local_part.chars().any(char::is_control);
    if local && (literal || named || bare) {
        return Ok(Mailbox { local_part: local_part.clone(), domain: domain.to_ascii_lowercase() });
    }
    Err(invalid("that is no address"))
}

#[cfg(test)]
mod tests;
