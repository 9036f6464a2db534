//! The integration tests: one binary, because wasmtime links slowly. They start the real program on port 0, with a
//! configuration and folders of their own, and meet it over SMTP, its admin socket and its command line.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

/// The relay as a process, a scripted SMTP server, a client for dialogues.
mod harness;

/// A network of a test's own: name servers and scripted mail hosts.
mod network;

/// The architecture as ARCHITECTURE.md states it, against the sources.
mod house;

/// What a client may and may not do, on the wire.
mod dialogues;

/// The transcripts of tests/dialogues, on the wire.
mod transcripts;

/// Who a client is: AUTH under TLS.
mod auth;

/// Programs on the same machine: sendmail, backups.
mod local;

/// What clients may take, and for how long.
mod limits;

/// From the queue to a next hop or a Maildir, with retries.
mod delivery;

/// DANE from end to end.
mod dane;

/// Next hops and name servers that do what they should not.
mod delivery_faults;
/// Limits, back-off and sources.
mod manners;

/// Content that is not made of lines.
mod binary;

/// Reports of failed deliveries.
mod bounces;

/// DKIM and ARC of the relay's own.
mod signing;

/// What was accepted outlives the process.
mod queue_knobs;
mod queue_restart;

/// The shipped components at their hooks.
mod plugins;

/// What people's mail programs submit.
mod submission;

/// Through which sockets clients come, and what protects them.
mod doors;

/// New settings while mail flows, good ones and bad ones.
mod reload;

/// What serves over time: taken back, kept, refused.
mod generations;

/// The command line against a running relay.
mod admin;

/// What the process says while it runs, and how it ends.
mod process;

/// The committed components against the contract.
mod guests;

/// The relay's two halves of SMTP against each other.
mod two_party;

/// Components that mean harm, at every hook.
mod hostile;

/// Breakers, scopes, relay access by plugins, and versions on trial.
mod trials;
/// What plugins decided, looked up.
mod why;

/// Calls of plugins recorded and replayed.
mod record;

/// What is logged, and told to a receiver of traces.
mod records;

/// The test kit: scenarios, measurements, sessions on the terminal.
mod kit;

/// Who has sent a message, as the relay itself says it.
mod results;
