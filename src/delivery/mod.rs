//! Delivery: due recipients leave the queue for their next hops, and come back settled.
//!
//! A dispatch loop leases, routes, groups by next hop and hands to lanes; a lane's workers hold connections and speak
//! through the client machine, which does no I/O. May import `mail`, `smtp`, `hooks`, `queue`, `routing`, `bounce`,
//! `store`, `tls`, `time`; never `listen`, `session`, `plugin`.

pub mod client;
mod config;
pub mod connection;
pub mod connector;
pub mod maildir;
pub mod outcome;
pub mod tcp;

pub use config::{Config, Credential, Destination, LaneLimits};
