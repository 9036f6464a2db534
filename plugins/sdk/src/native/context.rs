//! `context`: which facts the running hook is about.

use super::deliveries::Delivery;
use super::messages::Message;
use super::sessions::SmtpSession;
use super::state::At;
use super::transactions::MailTransaction;
use super::{Handle, error, with};
use crate::{ErrorCode, HostError};

/// The client connection.
///
/// # Errors
/// `not-found` in the queue at route, `not-here` at the hooks of deliveries.
pub fn current_session() -> Result<SmtpSession, HostError> {
    match with(|state| state.at) {
        At::Connect | At::Helo | At::Auth | At::Mail | At::Rcpt | At::Message | At::Route => {
            Ok(SmtpSession(Handle::new()))
        }
        At::Requeue => Err(error(ErrorCode::NotFound, "there is no session in the queue")),
        _ => Err(not_here()),
    }
}

/// The mail transaction.
///
/// # Errors
/// `not-here` before MAIL and at the hooks of deliveries.
pub fn current_transaction() -> Result<MailTransaction, HostError> {
    match with(|state| state.at) {
        At::Mail | At::Rcpt | At::Message | At::Route | At::Requeue => Ok(MailTransaction(Handle::new())),
        _ => Err(not_here()),
    }
}

/// The message.
///
/// # Errors
/// `not-here` but at message and route.
pub fn current_message() -> Result<Message, HostError> {
    match with(|state| state.at) {
        At::Message | At::Route | At::Requeue => Ok(Message(Handle::new())),
        _ => Err(not_here()),
    }
}

/// The attempt.
///
/// # Errors
/// `not-here` but at the hooks of deliveries.
pub fn current_delivery() -> Result<Delivery, HostError> {
    match with(|state| state.at) {
        At::DeliveryAttempt | At::DeliveryResult | At::Bounce => Ok(Delivery(Handle::new())),
        _ => Err(not_here()),
    }
}

fn not_here() -> HostError {
    error(ErrorCode::NotHere, "the running hook is not about one")
}
