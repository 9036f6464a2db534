//! Listeners: sockets bound, connections counted, each driven by one loop around a session.
//!
//! May touch tokio's network, `session`, `hooks`, `queue`, `store`, `tls`, `time`; never `delivery`, `routing`, `plugin`.

mod config;
mod credentials;

pub use config::{Certificate, Config, Limits, Listener, TlsMode};
pub use credentials::{CredentialError, Credentials, credential_line};
