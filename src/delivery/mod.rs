//! Delivery: due recipients leave the queue for their next hops, and come back settled.
//!
//! A dispatch loop leases, routes, groups by next hop and hands to lanes; a lane's workers hold connections and speak
//! through the client machine, which does no I/O. May import `mail`, `smtp`, `hooks`, `queue`, `routing`, `bounce`,
//! `store`, `tls`, `time`; never `listen`, `session`, `plugin`.

mod attempt;
pub mod client;
mod config;
pub mod connection;
pub mod connector;
mod dispatch;
mod lane;
mod lane_worker;
mod limits;
pub mod maildir;
mod notices;
pub mod outcome;
mod reach;
mod requeue;
mod reroutes;
mod settle;
pub mod tcp;
mod transmit;

pub use config::{Config, Credential, Destination, LaneLimits};
pub use dispatch::Dispatcher;
