//! Hosts whose TLS is broken, remembered for a while, so that not every message to them pays for a handshake that fails.
//!
//! Only for hosts that nobody wants TLS of: what is remembered takes STARTTLS away. Bounded; given the time.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::requirement::Remembered;
use crate::routing::Address;

/// Hosts remembered. More broken ones than this at a time means that something else is broken.
const HOSTS_MAX: usize = 10_000;

/// Which addresses failed, and until when they are spared.
#[derive(Debug, Default)]
pub(super) struct TlsMemory(Mutex<HashMap<Address, Instant>>);

impl TlsMemory {
    /// What is remembered of an address.
    pub(super) fn of(&self, address: &Address, now: Instant) -> Remembered {
        match self.0.lock().get(address) {
            Some(until) if now < *until => Remembered::HandshakeFailed,
            _ => Remembered::Nothing,
        }
    }

    /// Its handshake failed: it is spared for so long.
    pub(super) fn failed(&self, address: &Address, now: Instant, keep: Duration) {
        if keep.is_zero() {
            return;
        }
        let mut hosts = self.0.lock();
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(address) {
            hosts.retain(|_, until| now < *until);
            if hosts.len() >= HOSTS_MAX {
                // Forgetting costs one handshake each; which of them is all the same.
                let mut keep = false;
                hosts.retain(|_, _| {
                    keep = !keep;
                    keep
                });
            }
        }
        hosts.insert(address.clone(), now + keep);
    }

    /// Its handshake succeeded.
    pub(super) fn succeeded(&self, address: &Address) {
        self.0.lock().remove(address);
    }

    /// Forgets what is over.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().retain(|_, until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn address(number: u32) -> Address {
        Address::Tcp(SocketAddr::from((Ipv4Addr::from_bits(number), 25)))
    }

    #[test]
    fn a_broken_host_is_remembered_until_its_time_is_over_or_it_is_mended() {
        let (memory, now) = (TlsMemory::default(), Instant::now());
        memory.failed(&address(1), now, HOUR);
        memory.failed(&address(2), now, HOUR);
        memory.failed(&address(3), now, Duration::ZERO);
        assert_eq!(memory.of(&address(1), now + HOUR / 2), Remembered::HandshakeFailed);
        assert_eq!(memory.of(&address(1), now + HOUR), Remembered::Nothing);
        assert_eq!(memory.of(&address(3), now), Remembered::Nothing, "switched off");
        memory.succeeded(&address(2));
        assert_eq!(memory.of(&address(2), now), Remembered::Nothing);
        memory.sweep(now + HOUR);
        assert!(memory.0.lock().is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let (memory, now) = (TlsMemory::default(), Instant::now());
        for number in 0..30_000 {
            memory.failed(&address(number), now, HOUR);
            assert!(memory.0.lock().len() <= HOSTS_MAX);
        }
        assert_eq!(memory.of(&address(29_999), now), Remembered::HandshakeFailed);
    }
}
