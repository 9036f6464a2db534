//! Answers that were found, for as long as they hold. Bounded: what was not asked for lately goes first.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is looked for: a name in lower case, and a number for the type.
pub(super) type Key = (String, u16);

/// Two generations: what is asked for moves into the younger one, and once that is full, the older one is forgotten. That
/// costs no bookkeeping on a hit, and keeps between a half and the whole of what may be kept.
#[derive(Debug)]
pub(super) struct Cache<V> {
    generations: Mutex<Generations<V>>,
    half: usize,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Key, (V, Instant)>,
    old: HashMap<Key, (V, Instant)>,
}

impl<V: Clone> Cache<V> {
    /// Of this many entries at most.
    pub(super) fn new(size: usize) -> Self {
        let generations = Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self { generations, half: (size / 2).max(1) }
    }

    /// The entry, and for how long it still holds.
    pub(super) fn get(&self, key: &Key) -> Option<(V, Duration)> {
        let now = Instant::now();
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        let (value, until) = match young.get(key) {
            Some(entry) => entry.clone(),
            None => {
                let entry = old.remove(key)?;
                self.put(young, old, key.clone(), entry.clone());
                entry
            }
        };
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some((value, left))
    }

    /// Kept for this long from now on.
    pub(super) fn insert(&self, key: Key, value: V, holds: Duration) {
        if holds.is_zero() {
            return;
        }
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        self.put(young, old, key, (value, Instant::now() + holds));
    }

    fn put(
        &self,
        young: &mut HashMap<Key, (V, Instant)>,
        old: &mut HashMap<Key, (V, Instant)>,
        key: Key,
        entry: (V, Instant),
    ) {
        if young.len() >= self.half && !young.contains_key(&key) {
            *old = std::mem::take(young);
        }
        young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn entries_hold_as_long_as_they_may() {
        let cache = Cache::new(100);
        cache.insert(key("a"), 1, Duration::from_secs(60));
        cache.insert(key("never"), 2, Duration::ZERO);
        assert_eq!(cache.get(&key("never")), None);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(&key("a")), Some((1, Duration::from_secs(1))));
        assert_eq!(cache.get(&("a".to_owned(), 2)), None, "of another type");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(&key("a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Cache::new(10);
        cache.insert(key("often"), 0, Duration::from_secs(60));
        for n in 1..1000 {
            cache.insert(key(&n.to_string()), n, Duration::from_secs(60));
            assert!(cache.get(&key("often")).is_some(), "after {n}");
            let generations = cache.generations.lock();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(cache.get(&key("1")).is_none());
        assert!(cache.get(&key("999")).is_some());
    }
}
