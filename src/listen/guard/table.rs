//! A bounded table by client or network. Pure.
//!
//! When it is full, a new entry takes the place of one that would have meant nothing the soonest, among a few in turn:
//! to find it costs the same however large the table is, and whoever comes with many addresses displaces mostly
//! their own. Must never grow beyond its bound.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

/// Entries looked at to make room: the worst of eight is among the worst eighth nearly always.
const LOOKED_AT: usize = 8;

/// An entry that means nothing any more from some time on.
pub(super) trait Passing: Default {
    /// When.
    fn over_at(&self) -> Duration;
}

/// The table.
#[derive(Debug)]
pub(super) struct Table<V> {
    slots: Vec<(IpNet, V)>,
    places: HashMap<IpNet, u32>,
    /// Where to look first for one to forget.
    hand: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { slots: Vec::new(), places: HashMap::new(), hand: 0 }
    }
}

impl<V: Passing> Table<V> {
    /// The entry, if there is one.
    pub(super) fn get(&self, key: &IpNet) -> Option<&V> {
        let at = *self.places.get(key)?;
        self.slots.get(at as usize).map(|(_, value)| value)
    }

    /// The entry, a new one if need be, in a table of at most `most`; none only where that is zero.
    pub(super) fn entry(&mut self, key: IpNet, most: usize) -> Option<&mut V> {
        let at = match self.places.get(&key) {
            Some(at) => *at,
            None => self.add(key, most)?,
        };
        self.slots.get_mut(at as usize).map(|(_, value)| value)
    }

    /// True if there was one.
    pub(super) fn remove(&mut self, key: &IpNet) -> bool {
        let Some(at) = self.places.remove(key) else { return false };
        self.slots.swap_remove(at as usize);
        if let Some((moved, _)) = self.slots.get(at as usize) {
            self.places.insert(*moved, at);
        }
        true
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpNet, &V)> {
        self.slots.iter().map(|(key, value)| (key, value))
    }

    fn add(&mut self, key: IpNet, most: usize) -> Option<u32> {
        // More than one only after `most` became less.
        while self.slots.len() >= most {
            let least = self.least()?;
            self.remove(&least);
        }
        let at = u32::try_from(self.slots.len()).ok()?;
        self.slots.push((key, V::default()));
        self.places.insert(key, at);
        Some(at)
    }

    fn least(&mut self) -> Option<IpNet> {
        let len = self.slots.len();
        let hand = self.hand.checked_rem(len)?;
        self.hand = hand + LOOKED_AT;
        let turn = self.slots.iter().cycle().skip(hand).take(LOOKED_AT.min(len));
        turn.min_by_key(|(_, value)| value.over_at()).map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Until(u64);

    impl Passing for Until {
        fn over_at(&self) -> Duration {
            Duration::from_secs(self.0)
        }
    }

    fn key(number: u32) -> IpNet {
        IpNet::from(std::net::IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn it_stays_within_its_bound_and_forgets_what_means_least() {
        let mut table = Table::<Until>::default();
        for number in 0..1000 {
            // Every eighth one matters for long.
            table.entry(key(number), 100).unwrap().0 = if number % 8 == 0 { 1_000_000 } else { u64::from(number) };
        }
        assert_eq!((table.slots.len(), table.places.len()), (100, 100));
        let long = table.iter().filter(|(_, until)| until.0 == 1_000_000).count();
        assert!(long >= 80, "{long} of those that matter are left");
        assert!(table.get(&key(999)).is_some(), "the newest is there");
        for (key, at) in &table.places {
            assert_eq!(table.slots[*at as usize].0, *key);
        }
    }

    #[test]
    fn a_smaller_bound_is_kept_from_the_next_entry_on() {
        let mut table = Table::<Until>::default();
        for number in 0..100 {
            table.entry(key(number), 100);
        }
        assert!(table.remove(&key(7)) && !table.remove(&key(7)) && table.get(&key(99)).is_some());
        table.entry(key(1000), 10);
        assert_eq!((table.slots.len(), table.places.len()), (10, 10));
        assert!(table.entry(key(2000), 0).is_none());
    }
}
