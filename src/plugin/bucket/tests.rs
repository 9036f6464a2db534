//! Buckets over a store in memory.

use std::time::Duration;

use super::*;
use crate::plugin::testing::MemoryStore;

const NOW: Timestamp = Timestamp::from_secs(1_795_473_060);

fn bucket(store: &Arc<MemoryStore>, quota: KvQuota) -> Bucket {
    Bucket::open(store.clone(), &Buckets::default(), "greylist", quota).unwrap()
}

fn roomy() -> KvQuota {
    KvQuota { bytes: 1 << 20, keys: 1000 }
}

#[test]
fn an_expired_value_is_hidden_at_once_and_swept_later() {
    let store = Arc::new(MemoryStore::default());
    let bucket = bucket(&store, roomy());
    let at = NOW.plus(Duration::from_secs(10));
    bucket.set("a", b"1", Some(at), NOW).unwrap();
    bucket.set("b", b"2", Some(at), NOW).unwrap();
    bucket.set("b", b"3", None, NOW).unwrap();
    assert!(bucket.get("a", NOW).unwrap().is_some());
    assert_eq!(bucket.get("a", at).unwrap(), None);
    assert_eq!(bucket.keys("", None, 10, at).unwrap(), (vec!["b".to_owned()], None));
    assert_eq!(bucket.sweep(NOW).unwrap(), 0);
    assert_eq!(bucket.sweep(at).unwrap(), 1, "what was written again without a ttl stays");
    assert_eq!(bucket.get("b", at).unwrap().unwrap().octets, "3");
    assert_eq!(store.len("kv-expiry:greylist"), 0);
    assert_eq!(bucket.usage.keys.load(Ordering::Relaxed), 1);
}

#[test]
fn numbers_count_and_keep_their_first_expiry() {
    let bucket = bucket(&Arc::default(), roomy());
    let at = NOW.plus(Duration::from_secs(60));
    assert_eq!(bucket.increment("n", 5, Some(at), NOW).unwrap(), 5);
    assert_eq!(bucket.increment("n", -7, None, NOW).unwrap(), -2);
    assert_eq!(bucket.get("n", NOW).unwrap().unwrap().expires, Some(at));
    assert_eq!(bucket.increment("n", 1, None, at).unwrap(), 1, "expired: created anew");
    bucket.set("t", b"text", None, NOW).unwrap();
    assert!(matches!(bucket.increment("t", 1, None, NOW), Err(KvError::NotANumber)));
    bucket.set("t", NUMBER_MAX.to_string().as_bytes(), None, NOW).unwrap();
    assert!(matches!(bucket.increment("t", 1, None, NOW), Err(KvError::TooFar)));
}

#[test]
fn compare_and_set_takes_only_the_version_it_saw() {
    let bucket = bucket(&Arc::default(), roomy());
    assert!(bucket.compare_and_set("k", None, b"1", None, NOW).unwrap());
    assert!(!bucket.compare_and_set("k", None, b"2", None, NOW).unwrap());
    let seen = bucket.get("k", NOW).unwrap().unwrap().version;
    assert!(bucket.compare_and_set("k", Some(seen), b"2", None, NOW).unwrap());
    assert!(!bucket.compare_and_set("k", Some(seen), b"3", None, NOW).unwrap());
    bucket.delete("k").unwrap();
    assert!(bucket.compare_and_set("k", None, b"1", None, NOW).unwrap());
    assert_ne!(bucket.get("k", NOW).unwrap().unwrap().version, seen, "no version comes back");
}

#[test]
fn quotas_hold_and_room_comes_back() {
    let store = Arc::new(MemoryStore::default());
    let quota = KvQuota { bytes: 10, keys: 2 };
    let full = bucket(&store, quota);
    full.set("a", b"1234", None, NOW).unwrap();
    assert!(matches!(full.set("b", b"12345", None, NOW), Err(KvError::Quota)), "octets");
    full.set("b", b"1", None, NOW).unwrap();
    assert!(matches!(full.set("c", b"", None, NOW), Err(KvError::Quota)), "keys");
    full.set("a", b"1", None, NOW).unwrap();
    full.delete("b").unwrap();
    full.set("c", b"1234", None, NOW).unwrap();
    // A restart counts what is there.
    let again = bucket(&store, quota);
    assert!(matches!(again.set("d", b"", None, NOW), Err(KvError::Quota)));
    assert_eq!(again.usage.bytes.load(Ordering::Relaxed), 7);
}

#[test]
fn keys_come_in_pages() {
    let bucket = bucket(&Arc::default(), roomy());
    for n in 0..150 {
        bucket.set(&format!("p/{n:03}"), b"", None, NOW).unwrap();
    }
    bucket.set("q", b"", None, NOW).unwrap();
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (mut keys, next) = bucket.keys("p/", cursor.as_deref(), 70, NOW).unwrap();
        seen.append(&mut keys);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.first().unwrap().as_str(), seen.last().unwrap().as_str()), (150, "p/000", "p/149"));
}

#[test]
fn many_threads_lose_no_increment() {
    let bucket = Arc::new(bucket(&Arc::default(), roomy()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert!(bucket.increment("n", 1, None, NOW).is_ok())));
        }
    });
    assert_eq!(bucket.get("n", NOW).unwrap().unwrap().octets, "800");
}
