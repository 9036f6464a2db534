//! What the journal holds and the database does not yet: a sorted map over each tree, in two layers.
//!
//! The upper layer takes writes; the lower one is frozen while it is carried into the database. A key that came and
//! went within one layer leaves no trace: most mail is delivered before the database ever hears of it. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::{Pair, Write};

/// What a layer knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// New: nothing below knows the key.
    New(Bytes),
    /// This is its value, whatever is below.
    Value(Bytes),
    /// It is gone, whatever is below.
    Gone,
}

/// Two layers for every tree.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    upper: Layer,
    lower: Layer,
    /// Every tree that was ever written to.
    trees: HashSet<Box<str>>,
}

/// One layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    trees: HashMap<Box<str>, BTreeMap<Bytes, Entry>>,
    octets: usize,
}

impl Entry {
    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::New(value) | Self::Value(value) => Some(value),
            Self::Gone => None,
        }
    }

    fn octets(&self) -> usize {
        // An entry's own cost in the map, roughly.
        96 + self.value().map_or(0, Bytes::len)
    }
}

impl Overlay {
    /// Takes writes of one tree, in order.
    pub(super) fn write(&mut self, tree: &str, writes: Vec<Write>) {
        if !self.trees.contains(tree) {
            self.trees.insert(tree.into());
        }
        self.upper.write(tree, writes);
    }

    /// What is known of a key: none where the database has to be asked.
    pub(super) fn get(&self, tree: &str, key: &[u8]) -> Option<Option<Bytes>> {
        let known = self.upper.entry(tree, key).or_else(|| self.lower.entry(tree, key))?;
        Some(known.value().cloned())
    }

    /// True where the tree was written to.
    pub(super) fn knows(&self, tree: &str) -> bool {
        self.trees.contains(tree)
    }

    /// Octets held in both layers, roughly.
    pub(super) fn octets(&self) -> usize {
        self.upper.octets + self.lower.octets
    }

    /// True if the upper layer holds nothing.
    pub(super) fn is_clean(&self) -> bool {
        self.upper.trees.values().all(BTreeMap::is_empty)
    }

    /// Makes the upper layer the lower one. False while the lower one is not yet carried down.
    pub(super) fn freeze(&mut self) -> bool {
        if !self.lower.trees.is_empty() {
            return false;
        }
        self.lower = std::mem::take(&mut self.upper);
        true
    }

    /// The frozen layer, for carrying it down.
    pub(super) fn frozen(&self) -> Vec<(Box<str>, Vec<Write>)> {
        let write = |(key, entry): (&Bytes, &Entry)| match entry.value() {
            Some(value) => Write::Put { key: key.clone(), value: value.clone() },
            None => Write::Delete { key: key.clone() },
        };
        self.lower.trees.iter().map(|(tree, keys)| (tree.clone(), keys.iter().map(write).collect())).collect()
    }

    /// The frozen layer is in the database.
    pub(super) fn thaw(&mut self) {
        self.lower = Layer::default();
    }

    /// At most `limit` pairs with `from <= key < to`: the layers over `base`, which must be sorted and in that range.
    ///
    /// # Errors
    /// The first of `base`.
    pub(super) fn range<E>(
        &self,
        tree: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
        base: impl Iterator<Item = Result<Pair, E>>,
    ) -> Result<Vec<Pair>, E> {
        // As far as is asked for and no further: there may be much more in memory than fits on a page.
        let mut upper = self.upper.range(tree, from, to).peekable();
        let mut lower = self.lower.range(tree, from, to).peekable();
        let mut known = std::iter::from_fn(|| next_known(&mut upper, &mut lower)).peekable();
        let mut base = base.peekable();
        let mut pairs = Vec::new();
        while pairs.len() < limit {
            match next(&mut known, &mut base)? {
                Some((key, Some(value))) => pairs.push((key, value)),
                Some((_, None)) => {}
                None => break,
            }
        }
        Ok(pairs)
    }
}

type Known<'a> = (&'a Bytes, &'a Entry);

/// The next key of either layer; where both know a key the upper one is right.
fn next_known<'a>(
    upper: &mut Peekable<impl Iterator<Item = Known<'a>>>,
    lower: &mut Peekable<impl Iterator<Item = Known<'a>>>,
) -> Option<Known<'a>> {
    let order = match (upper.peek(), lower.peek()) {
        (Some((above, _)), Some((below, _))) => above.cmp(below),
        (None, Some(_)) => Ordering::Greater,
        (_, None) => Ordering::Less,
    };
    match order {
        Ordering::Less => upper.next(),
        Ordering::Equal => lower.next().and(upper.next()),
        Ordering::Greater => lower.next(),
    }
}

/// The next key of either, what is known of it winning over the base.
fn next<'a, E>(
    known: &mut Peekable<impl Iterator<Item = Known<'a>>>,
    base: &mut Peekable<impl Iterator<Item = Result<Pair, E>>>,
) -> Result<Option<(Bytes, Option<Bytes>)>, E> {
    let take_known = match (known.peek(), base.peek()) {
        (None, _) => false,
        (Some(_), None | Some(Err(_))) => true,
        (Some((key, _)), Some(Ok((below, _)))) if *key == below => {
            base.next();
            true
        }
        (Some((key, _)), Some(Ok((below, _)))) => *key < below,
    };
    if take_known {
        return Ok(known.next().map(|(key, entry)| (key.clone(), entry.value().cloned())));
    }
    base.next().transpose().map(|pair| pair.map(|(key, value)| (key, Some(value))))
}

impl Layer {
    fn range<'a>(&'a self, tree: &str, from: &[u8], to: &[u8]) -> impl Iterator<Item = Known<'a>> + use<'a> {
        let within = (Bound::Included(from), Bound::Excluded(to));
        self.trees.get(tree).map(|keys| keys.range::<[u8], _>(within)).into_iter().flatten()
    }

    fn entry(&self, tree: &str, key: &[u8]) -> Option<&Entry> {
        self.trees.get(tree)?.get(key)
    }

    fn write(&mut self, tree: &str, writes: Vec<Write>) {
        if !self.trees.contains_key(tree) {
            self.trees.insert(tree.into(), BTreeMap::new());
        }
        let Some(keys) = self.trees.get_mut(tree) else { return };
        for write in writes {
            let (key, entry) = match write {
                // A batch that was refused may be there all the same, and comes again: then it is new no more.
                Write::Insert { key, value } if keys.contains_key(&key) => (key, Entry::Value(value)),
                Write::Insert { key, value } => (key, Entry::New(value)),
                Write::Put { key, value } => match keys.get(&key) {
                    Some(Entry::New(_)) => (key, Entry::New(value)),
                    _ => (key, Entry::Value(value)),
                },
                Write::Delete { key } => match keys.get(&key) {
                    Some(Entry::New(_)) => {
                        self.octets -= keys.remove(&key).map_or(0, |e| e.octets());
                        continue;
                    }
                    _ => (key, Entry::Gone),
                },
            };
            self.octets += entry.octets();
            self.octets -= keys.insert(key, entry).map_or(0, |e| e.octets());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn put(key: &str, value: &str) -> Write {
        Write::Put { key: b(key), value: b(value) }
    }

    fn insert(key: &str, value: &str) -> Write {
        Write::Insert { key: b(key), value: b(value) }
    }

    fn delete(key: &str) -> Write {
        Write::Delete { key: b(key) }
    }

    fn keys(overlay: &Overlay, base: &[(&str, &str)], limit: usize) -> Vec<String> {
        let base = base.iter().map(|(k, v)| Ok::<_, ()>((b(k), b(v))));
        let pairs = overlay.range("t", b"a", b"z", limit, base).unwrap();
        pairs.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect()
    }

    #[test]
    fn what_came_and_went_leaves_no_trace() {
        let mut overlay = Overlay::default();
        overlay.write("t", vec![insert("k", "1"), put("k", "2"), delete("k")]);
        assert!(overlay.is_clean());
        assert_eq!(overlay.octets(), 0);
        overlay.write("t", vec![delete("k")]);
        assert_eq!(overlay.get("t", b"k"), Some(None), "a key of below has to stay known as gone");
    }

    #[test]
    fn what_is_inserted_again_is_new_no_more() {
        let mut overlay = Overlay::default();
        overlay.write("t", vec![put("k", "1")]);
        overlay.write("t", vec![insert("k", "1"), delete("k")]);
        assert_eq!(overlay.get("t", b"k"), Some(None), "below may know it");
    }

    #[test]
    fn layers_and_base_are_read_as_one_map() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..500 {
            let (mut base, mut overlay, mut wanted) = (BTreeMap::new(), Overlay::default(), BTreeMap::new());
            let mut key = || format!("k{:02}", random.u8(..40));
            for _ in 0..20 {
                let key = key();
                base.insert(key.clone(), "base".to_owned());
                wanted.insert(key, "base".to_owned());
            }
            for step in 0..60 {
                let (key, value) = (key(), format!("v{step}"));
                if step % 3 == 0 {
                    overlay.write("t", vec![delete(&key)]);
                    wanted.remove(&key);
                } else {
                    overlay.write("t", vec![put(&key, &value)]);
                    wanted.insert(key, value);
                }
                if step == 30 {
                    assert!(overlay.freeze());
                }
            }
            let base: Vec<(&str, &str)> = base.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let wanted: Vec<String> = wanted.iter().map(|(k, v)| format!("{k}={v}")).collect();
            for limit in [0, 1, 7, 100] {
                assert_eq!(keys(&overlay, &base, limit), wanted[..limit.min(wanted.len())]);
            }
        }
    }

    #[test]
    fn layers_cover_each_other_and_the_base() {
        let mut overlay = Overlay::default();
        overlay.write("t", vec![insert("b", "low"), put("c", "low"), delete("d")]);
        assert!(overlay.freeze());
        assert!(!overlay.freeze(), "one at a time");
        overlay.write("t", vec![put("b", "up"), delete("c"), put("d", "up")]);
        let base = [("a", "base"), ("c", "base"), ("d", "base"), ("e", "base")];
        assert_eq!(keys(&overlay, &base, 9), ["a=base", "b=up", "d=up", "e=base"]);
        assert_eq!(keys(&overlay, &base, 2), ["a=base", "b=up"]);
        assert_eq!(overlay.get("t", b"b"), Some(Some(b("up"))));
        assert_eq!(overlay.get("t", b"e"), None);
        let frozen: Vec<Write> = overlay.frozen().into_iter().flat_map(|(_, writes)| writes).collect();
        assert_eq!(frozen, [put("b", "low"), put("c", "low"), delete("d")]);
        overlay.thaw();
        overlay.write("t", vec![delete("b")]);
        assert_eq!(overlay.get("t", b"b"), Some(None), "the base has it: it must be carried down as gone");
    }
}
