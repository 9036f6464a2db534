//! Descriptors: as many as the system gives, and a word where they are fewer than the configuration needs.
//!
//! Shells and service managers hand down a limit of 1024 for programs that can't do with more; this one can.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For files of the store, plugins' connections and the admin socket.
const OTHERS: u64 = 512;

/// Takes all descriptors that may be had, and tells the log if they don't do for so many connections, in and out.
pub(super) fn provide(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some() && limit.current != limit.maximum {
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, all) {
            tracing::warn!(%error, "the limit of descriptors can't be raised");
        }
    }
    let wanted = wanted(connections);
    if let Some(most) = getrlimit(Resource::Nofile).current.filter(|most| *most < wanted) {
        tracing::warn!(
            most,
            wanted,
            "too few descriptors for limits.connections and delivery.max-connections: raise LimitNOFILE"
        );
    }
}

/// Descriptors for so many connections, in and out.
pub(super) fn wanted(connections: usize) -> u64 {
    (connections as u64).saturating_add(OTHERS)
}
