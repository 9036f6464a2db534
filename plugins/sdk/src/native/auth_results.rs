//! `auth-results`: what a test says the relay found out about the sender.

pub use crate::bindings::imports::waypost::plugin::auth_results::{
    ArcOutcome, DkimOutcome, DmarcDisposition, DmarcOutcome, SpfOutcome, Status,
};

use super::state::{At, AuthResults};
use super::{error, only_at, with};
use crate::{ErrorCode, HostError};

const FROM_MAIL: [At; 4] = [At::Mail, At::Rcpt, At::Message, At::Route];
const WITH_MESSAGE: [At; 2] = [At::Message, At::Route];

/// MAIL identity.
///
/// # Errors
/// `not-here` before MAIL, `unavailable` unless the test says what was found.
pub fn spf() -> Result<SpfOutcome, HostError> {
    found(&FROM_MAIL, |auth| auth.spf.clone())
}

/// One outcome per signature.
///
/// # Errors
/// `not-here` before the message, `unavailable` unless the test says what was found.
pub fn dkim() -> Result<Vec<DkimOutcome>, HostError> {
    found(&WITH_MESSAGE, |auth| auth.dkim.clone())
}

/// The From field's domain.
///
/// # Errors
/// `not-here` before the message, `unavailable` unless the test says what was found.
pub fn dmarc() -> Result<DmarcOutcome, HostError> {
    found(&WITH_MESSAGE, |auth| auth.dmarc.clone())
}

/// The chain as a whole.
///
/// # Errors
/// `not-here` before the message, `unavailable` unless the test says what was found.
pub fn arc() -> Result<ArcOutcome, HostError> {
    found(&WITH_MESSAGE, |auth| auth.arc.clone())
}

/// The Authentication-Results value.
///
/// # Errors
/// `not-here` before MAIL, `unavailable` unless the test says what was found.
pub fn header_value() -> Result<String, HostError> {
    found(&FROM_MAIL, |auth| auth.header.clone())
}

fn found<T>(hooks: &[At], look: impl FnOnce(&AuthResults) -> Option<T>) -> Result<T, HostError> {
    with(|state| {
        only_at(state, hooks)?;
        let missing = || error(ErrorCode::Unavailable, "this World says nothing of it");
        look(&state.services.auth).ok_or_else(missing)
    })
}
