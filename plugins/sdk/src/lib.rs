//! Write Waypost plugins in Rust.
//!
//! A plugin is a type that implements one trait for each hook it wants, and an [`export!`] line that names them:
//!
//! ```ignore
//! use waypost_plugin::{OnRcpt, Outcome, Recipient, SessionVerdict, reply};
//!
//! struct NoReply;
//!
//! impl OnRcpt for NoReply {
//!     fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
//!         if candidate.mailbox.local_part == "no-reply" {
//!             return Ok(reply::reject(550, (5, 7, 1), "nobody reads that mailbox"));
//!         }
//!         Ok(SessionVerdict::Proceed)
//!     }
//! }
//!
//! waypost_plugin::export!(NoReply: on_rcpt);
//! ```
//!
//! Build it for `wasm32-unknown-unknown` as a `cdylib`. For any other target the exports are left out and the relay's
//! functions have twins, so that a plugin's hooks run whole in `cargo test`: see [`testing`].
//!
//! Globals may vanish between any two calls, and may outlive a session: keep nothing in them but caches.
//! This crate holds bindings and helpers; it must never hold policy.

mod address;
pub mod bindings;
mod export;
mod hooks;
#[cfg(any(feature = "http", not(target_arch = "wasm32")))]
pub mod http;
mod kv;
pub mod lists;
#[cfg(not(target_arch = "wasm32"))]
mod native;
pub mod reply;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

use bindings::imports::waypost::plugin as wit;
#[cfg(target_arch = "wasm32")]
use bindings::imports::waypost::plugin as host;
#[cfg(not(target_arch = "wasm32"))]
use native as host;

pub use address::{DomainTable, Network, split_address};
pub use bindings::auth::exports::waypost::plugin::on_auth::{Attempt, AuthVerdict};
pub use hooks::{
    Lifecycle, OnAuth, OnBounce, OnConnect, OnDeliveryAttempt, OnDeliveryResult, OnHelo, OnMail, OnMessage, OnRcpt,
    OnRoute, Outcome,
};
pub use host::deliveries::Delivery;
pub use host::messages::{BodyReader, BodyWriter, Message};
pub use host::sessions::SmtpSession;
pub use host::transactions::MailTransaction;
/// The host's services as they are in the contract.
pub use host::{auth_results, config, context, dns, log, metrics, rate_limits, system};
pub use kv::{Bucket, OWN};
pub use settings::{Cached, Checked, Settings};
pub use time::rfc5322_date;
pub use wit::deliveries::{
    AttemptVerdict, BounceEdit, BounceVerdict, OutcomeKind, PastAttempt, RecipientDisposition, RecipientOutcome,
    ResultAction, Stage,
};
pub use wit::messages::HeaderField;
pub use wit::routing::{Assignment, HostTarget, NextHop, Route, RouteGroup, RoutingPhase, RoutingVerdict, TlsPolicy};
pub use wit::sessions::Protocol;
pub use wit::transactions::{BodyKind, Recipient};
pub use wit::types::{
    Endpoint, EnhancedStatus, ErrorCode, EsmtpParam, HostError, Identity, Mailbox, MessageVerdict, Reply,
    SessionVerdict, Timestamp, TlsInfo,
};

/// The host's kv functions as they are in the contract; [`Bucket`] is shorter to use.
pub use host::kv as raw_kv;

impl From<HostError> for String {
    /// So that `?` in a hook turns a refusal of the host into the hook's own failure.
    fn from(error: HostError) -> Self {
        let code = match error.code {
            ErrorCode::Denied => "denied",
            ErrorCode::NotHere => "not possible at this hook",
            ErrorCode::NotFound => "not found",
            ErrorCode::InvalidArgument => "invalid argument",
            ErrorCode::TooLarge => "too large",
            ErrorCode::Exhausted => "quota used up",
            ErrorCode::TimedOut => "timed out",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Other => "refused by the relay",
        };
        if error.detail.is_empty() { code.to_owned() } else { format!("{code}: {}", error.detail) }
    }
}

impl Route {
    /// A route over these hops that leaves everything else to the relay's configuration.
    pub fn over(hops: Vec<NextHop>) -> Self {
        Self {
            hops,
            tls: TlsPolicy::Inherit,
            source: None,
            credential: None,
            lane: None,
            retry_schedule: None,
            expires_after_seconds: None,
            options: Vec::new(),
        }
    }
}
