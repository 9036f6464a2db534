//! Failed authentications, by address: after a burst, whoever fails again is told to wait.
//!
//! A leaking bucket for each address (each /64 of IPv6), a bounded number of them. Pure: the time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures in a burst.
const BURST: u32 = 20;
/// One of them is forgotten in this time.
const EACH: Duration = Duration::from_secs(3);
/// Addresses remembered: when there are more, all but those that failed often are forgotten.
const ADDRESSES: usize = 4096;

/// Who failed how often.
#[derive(Debug, Default)]
pub(super) struct Throttle(HashMap<IpAddr, (u32, Instant)>);

impl Throttle {
    /// Seconds until an address is listened to again; none: it is now.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<u32> {
        let failures = self.failures(key(address), now);
        (failures >= BURST).then(|| u32::try_from(EACH.as_secs()).unwrap_or(1))
    }

    /// It failed.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.0.len() >= ADDRESSES {
            let often = |(address, _): &(&IpAddr, _)| self.failures(**address, now) >= BURST / 2;
            let kept = self.0.iter().filter(often).map(|(address, found)| (*address, *found)).collect();
            self.0 = kept;
        }
        if self.0.len() >= ADDRESSES {
            // So many that fail often are one who has all these addresses; they start anew.
            self.0.clear();
        }
        let address = key(address);
        let failures = self.failures(address, now).saturating_add(1);
        self.0.insert(address, (failures, now));
    }

    fn failures(&self, address: IpAddr, now: Instant) -> u32 {
        let Some((failures, at)) = self.0.get(&address) else { return 0 };
        let forgotten = now.saturating_duration_since(*at).as_secs() / EACH.as_secs();
        failures.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

/// Whoever has an IPv6 address has the /64 around it.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6((u128::from(six) & !u128::from(u64::MAX)).into()),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_a_pause_for_that_address_alone() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..BURST {
            assert_eq!(throttle.wait(address, start), None);
            throttle.failed(address, start);
        }
        assert!(throttle.wait(address, start).is_some());
        assert!(throttle.wait("2001:db8::ffff:1".parse().unwrap(), start).is_some(), "the same /64");
        assert_eq!(throttle.wait("2001:db8:0:1::1".parse().unwrap(), start), None);
        assert_eq!(throttle.wait("192.0.2.1".parse().unwrap(), start), None);
        assert_eq!(throttle.wait(address, start + EACH), None, "one is forgotten");
    }

    #[test]
    fn it_remembers_so_many_and_rather_those_that_fail_often() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let often: IpAddr = "192.0.2.1".parse().unwrap();
        (0..BURST).for_each(|_| throttle.failed(often, now));
        for number in 0..10_000_u32 {
            throttle.failed(IpAddr::V4((0x0a00_0000 + number).into()), now);
        }
        assert!(throttle.0.len() <= ADDRESSES && throttle.wait(often, now).is_some());
    }
}
