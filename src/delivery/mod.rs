//! Delivery: due recipients leave the queue for their next hops, and come back settled.
//!
//! A dispatch loop leases, routes, groups by next hop and hands to lanes; a lane's workers hold connections and speak
//! through the client machine, which does no I/O. May import `mail`, `smtp`, `hooks`, `queue`, `routing`, `bounce`,
//! `store`, `tls`, `signing`, `sts`, `tlsrpt`, `pulse`, `time`; never `listen`, `session`, `plugin`.

mod attach;
mod attempt;
pub mod client;
mod config;
pub mod connection;
pub mod connector;
mod counted;
mod dispatch;
mod egress;
mod explain;
mod give_up;
mod impasse;
mod job;
mod lane;
mod lane_worker;
mod limits;
pub mod maildir;
mod manners;
mod notices;
pub mod outcome;
mod park;
mod places;
mod pools;
mod rates;
mod reach;
mod requeue;
pub mod requirement;
mod reroutes;
mod settle;
mod suppressed;
mod shaping;
mod site;
mod sites;
mod seven_bit;
pub mod tcp;
mod timeouts;
mod tls_memory;
mod tls_out;
mod tls_report;
mod transcript;
mod transmit;
mod transmitted;
mod trials;
mod trusted;
mod warmth;

pub use config::{Config, Credential, Destination, LaneLimits};
pub use dispatch::Dispatcher;
pub use egress::{Egress, Pool, Proxy, Source, WarmUp};
pub use explain::{Explanation, Question, SiteLine, explain};
pub use notices::{Bounces, NoticeClass, Notices};
pub use shaping::{
    Adjustments, Backoff, CodePattern, Complaint, Reaction, Rule, Shaping, Slow, StatusPattern, Whom, shipped,
};
pub use timeouts::Timeouts;
pub use tls_out::TlsOut;
pub use trusted::{Trusted, TrustedHost};
