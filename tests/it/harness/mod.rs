//! What the tests stand on. Each part cleans up after itself; nothing here knows what is being tested.

mod dns;
mod maildir;
mod office;
mod relay;
mod sink;
mod smtp;

use std::time::{Duration, Instant};

pub(crate) use dns::{in_own_network, serve_names};
pub(crate) use maildir::maildir_messages;
pub(crate) use office::Office;
pub(crate) use relay::{Relay, component, towards};
pub(crate) use sink::{Sink, Taken};
pub(crate) use smtp::{Smtp, assert_starts};

/// Far longer than anything takes on a busy machine, so that a failure is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see. For what another process does, which sends no event.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
