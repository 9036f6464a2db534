//! Who is not served for a while. Pure: the time is passed in.
//!
//! Bans that follow from errors are kept in a bounded table, those of the operator apart from them: neither can push out
//! the other. An ended ban is remembered for as long as it lasted: who is banned again within that time is banned
//! for twice as long.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::table::{Passing, Table};
use crate::listen::BanRule;

/// Bans an operator may set: each kind of network among them costs every connection a look.
const SET_MAX: usize = 1000;

/// A ban that follows from errors.
#[derive(Clone, Copy, Debug, Default)]
struct Ban {
    until: Duration,
    length: Duration,
}

impl Passing for Ban {
    fn over_at(&self) -> Duration {
        self.until.saturating_add(self.length)
    }
}

/// All bans.
#[derive(Debug, Default)]
pub(super) struct Bans {
    earned: Table<Ban>,
    /// An operator's, and until when.
    set: BTreeMap<IpNet, Duration>,
    /// The kinds of networks among those: of IPv4 or not, and bits.
    kinds: BTreeSet<(bool, u8)>,
}

/// A ban in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanInForce {
    /// Whose.
    pub network: IpNet,
    /// How much longer.
    pub left: Duration,
    /// Set by an operator, not by a rule.
    pub by_operator: bool,
}

impl Bans {
    /// True if one of these, or a network around `client`, is banned.
    pub(super) fn holds(&self, client: IpAddr, keys: &[IpNet], now: Duration) -> bool {
        let earned = |key: &IpNet| self.earned.get(key).is_some_and(|ban| ban.until > now);
        keys.iter().any(earned) || self.kinds.iter().any(|kind| self.holds_by_hand(client, *kind, now))
    }

    fn holds_by_hand(&self, client: IpAddr, (v4, bits): (bool, u8), now: Duration) -> bool {
        let network = (client.is_ipv4() == v4).then(|| IpNet::new(client, bits).ok()).flatten();
        network.is_some_and(|network| self.set.get(&network.trunc()).is_some_and(|until| *until > now))
    }

    /// Bans for errors; for how long.
    pub(super) fn earn(&mut self, key: IpNet, rule: &BanRule, most: usize, now: Duration) -> Duration {
        let Some(ban) = self.earned.entry(key, most) else { return Duration::ZERO };
        let again = ban.length > Duration::ZERO && now < ban.over_at();
        ban.length = if again { ban.length.saturating_mul(2) } else { rule.time }.min(rule.time_max);
        ban.until = now.saturating_add(ban.length);
        ban.length
    }

    /// Bans by hand.
    ///
    /// # Errors
    /// When there are too many, in words.
    pub(super) fn set(&mut self, network: IpNet, time: Duration, now: Duration) -> Result<(), String> {
        self.set.retain(|_, until| *until > now);
        if self.set.len() >= SET_MAX && !self.set.contains_key(&network) {
            return Err(format!("there are {SET_MAX} bans set by hand: a firewall is the place for more"));
        }
        self.set.insert(network, now.saturating_add(time));
        self.count_kinds();
        Ok(())
    }

    /// Ends a ban and forgets it; false if there is none in force.
    pub(super) fn lift(&mut self, network: &IpNet, now: Duration) -> bool {
        let by_hand = self.set.remove(network).is_some_and(|until| until > now);
        self.count_kinds();
        let earned = self.earned.get(network).is_some_and(|ban| ban.until > now);
        self.earned.remove(network);
        by_hand || earned
    }

    /// How many are in force.
    pub(super) fn count(&self, now: Duration) -> usize {
        self.in_force(now).count()
    }

    /// Those in force, in no order.
    pub(super) fn in_force(&self, now: Duration) -> impl Iterator<Item = BanInForce> {
        let earned = self.earned.iter().map(|(network, ban)| (*network, ban.until, false));
        let set = self.set.iter().map(|(network, until)| (*network, *until, true));
        let in_force = earned.chain(set).filter(move |(_, until, _)| *until > now);
        in_force.map(move |(network, until, by_operator)| BanInForce {
            network,
            left: until.saturating_sub(now),
            by_operator,
        })
    }

    fn count_kinds(&mut self) {
        self.kinds = self.set.keys().map(|net| (net.addr().is_ipv4(), net.prefix_len())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BanRule = BanRule { errors: 1, time: Duration::from_secs(10), time_max: Duration::from_secs(30) };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn who_comes_back_soon_is_banned_for_longer() {
        let (mut bans, key): (_, IpNet) = (Bans::default(), "192.0.2.1/32".parse().unwrap());
        let lengths = [(0, 10), (12, 20), (40, 30), (90, 30), (149, 30), (209, 10)];
        for (at, length) in lengths {
            assert_eq!(bans.earn(key, &RULE, 10, secs(at)), secs(length), "at {at}");
            assert!(bans.holds(key.addr(), &[key], secs(at + length - 1)));
            assert!(!bans.holds(key.addr(), &[key], secs(at + length)));
        }
    }

    #[test]
    fn bans_by_hand_hold_for_whole_networks_until_they_are_lifted() {
        let mut bans = Bans::default();
        let (wide, narrow): (IpNet, IpNet) = ("198.51.100.0/22".parse().unwrap(), "2001:db8::/48".parse().unwrap());
        bans.set(wide, secs(60), secs(0)).unwrap();
        bans.set(narrow, secs(30), secs(0)).unwrap();
        let holds = |bans: &Bans, text: &str, at| bans.holds(text.parse().unwrap(), &[], secs(at));
        assert!(holds(&bans, "198.51.103.9", 59) && !holds(&bans, "198.51.104.1", 0));
        assert!(holds(&bans, "2001:db8:0:7::1", 29) && !holds(&bans, "2001:db8:0:7::1", 30));
        bans.earn("192.0.2.1/32".parse().unwrap(), &RULE, 10, secs(0));
        let mut listed: Vec<_> = bans.in_force(secs(5)).map(|b| (b.left.as_secs(), b.by_operator)).collect();
        listed.sort_unstable();
        assert_eq!(listed, [(5, false), (25, true), (55, true)]);
        assert_eq!(bans.count(secs(5)), 3);
        assert!(bans.lift(&wide, secs(6)) && !bans.lift(&wide, secs(6)) && !holds(&bans, "198.51.103.9", 7));
        assert!(bans.lift(&"192.0.2.1/32".parse().unwrap(), secs(6)) && bans.count(secs(6)) == 1);
    }

    #[test]
    fn bans_by_hand_are_bounded_and_those_that_ended_make_room() {
        let mut bans = Bans::default();
        let net = |n: u32| IpNet::from(IpAddr::from(n.to_be_bytes()));
        for number in 0..1000 {
            bans.set(net(number), secs(10), secs(0)).unwrap();
        }
        assert!(bans.set(net(2000), secs(10), secs(9)).is_err() && bans.set(net(1), secs(10), secs(9)).is_ok());
        assert!(bans.set(net(2000), secs(10), secs(10)).is_ok() && bans.count(secs(10)) == 2);
    }
}
