//! Waypost: a programmable SMTP mail relay.
//!
//! The modules stand in the order in which a message passes them.

// Stations.
pub mod listen;
pub mod session;
pub mod hooks;
pub mod queue;
pub mod routing;
pub mod delivery;
pub mod bounce;
// Nouns.
pub mod mail;
pub mod smtp;
pub mod time;
// Rooms beside the path.
pub mod store;
mod ledger;
pub mod history;
pub mod suppression;
pub mod authres;
pub mod signing;
pub mod plugin;
pub mod kit;
pub mod config;
pub mod process;
pub mod maildrop;
pub mod admin;
pub mod cli;
pub mod tls;
pub mod https;
pub mod sts;
pub mod tlsrpt;
pub mod telemetry;
pub mod pulse;
mod suggest;
pub mod workbench;
pub mod app;
