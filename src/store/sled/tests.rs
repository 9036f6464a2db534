use super::*;

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn open(folder: &Path) -> Sled {
    Sled::open(folder, 8 << 20).unwrap()
}

/// What a crash would leave: a copy made while the store is open. The journal first: the database may be ahead of it.
fn crash_image(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    for folder in [folder.join("journal"), folder.to_owned()] {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let to = copy.path().join(if folder.ends_with("journal") { "journal" } else { "" });
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    copy
}

fn pairs(store: &Sled) -> Vec<String> {
    let pairs = store.range("queue", b"a", b"z", 10_000).unwrap();
    pairs.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect()
}

fn carry(store: &Sled) {
    store.shared.with(Engine::carry).unwrap();
}

/// Keys of which some are in the database, some in memory over it, and some in both.
async fn mixed(store: &Sled) -> Vec<String> {
    store.commit("queue", ["a", "b", "c", "d"].map(|k| put(k, "carried")).to_vec()).await.unwrap();
    carry(store);
    let writes = vec![put("a", "new"), Write::Delete { key: "b".into() }];
    store.ride("queue", writes).unwrap();
    store.commit("queue", vec![Write::Insert { key: "e".into(), value: "new".into() }]).await.unwrap();
    store.commit("queue", vec![Write::Delete { key: "d".into() }]).await.unwrap();
    ["a=new", "c=carried", "e=new"].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn a_crash_image_holds_all_that_was_committed_however_often_it_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let expected = mixed(&store).await;
    let image = crash_image(folder.path());
    carry(&store);
    let later = crash_image(folder.path());
    for image in [&image, &later] {
        // A crash of the one that recovers, before and after it has carried anything; and an end in order.
        let store = open(image.path());
        assert_eq!(pairs(&store), expected);
        let again = crash_image(image.path());
        carry(&store);
        let carried = crash_image(image.path());
        assert_eq!(pairs(&store), expected);
        drop(store);
        for image in [image, &again, &carried] {
            let store = open(image.path());
            assert_eq!(pairs(&store), expected);
            store.commit("queue", vec![put("f", "last")]).await.unwrap();
            let last = open(crash_image(image.path()).path());
            assert_eq!(pairs(&last).last().map(String::as_str), Some("f=last"));
            store.commit("queue", vec![Write::Delete { key: "f".into() }]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_tree_that_is_committed_to_is_not_written_past_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply("kv", vec![put("a", "1")]).unwrap();
    store.commit("queue", vec![put("a", "1")]).await.unwrap();
    assert!(matches!(store.apply("queue", vec![put("a", "2")]), Err(StoreError::Damaged(_))));
    assert!(matches!(store.swap("queue", b"a", None, Some(b"2")), Err(StoreError::Damaged(_))));
    store.apply("kv", vec![put("a", "2")]).unwrap();
    assert_eq!(pairs(&store), ["a=1"], "and the store goes on");
}

#[tokio::test]
async fn what_a_full_disk_left_uncarried_comes_back_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let expected = mixed(&store).await;
    for _ in 0..3 {
        let error = store.shared.fail(failure(&io::Error::from(io::ErrorKind::StorageFull)));
        assert!(matches!(error, StoreError::Full(_)));
        let back = async {
            while store.commit("queue", Vec::new()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), back).await.expect("the store never comes back");
        assert_eq!(pairs(&store), expected);
    }
}

#[tokio::test]
async fn what_is_committed_applied_and_ridden_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.apply("kv", vec![put("a", "1")]).unwrap();
    assert_eq!(store.get("kv", b"a").unwrap().as_deref(), Some(&b"1"[..]), "at once visible");
    let ticket = store.ride("queue", vec![put("b", "2"), put("c", "3")]).unwrap();
    store.commit("queue", vec![put("d", "4"), Write::Delete { key: "b".into() }]).await.unwrap();
    assert!(store.applied() > ticket && store.flushed() > ticket);
    drop(store);
    let store = open(folder.path());
    let pairs = store.range("queue", b"a", b"z", 9).unwrap();
    assert_eq!(pairs, [("c".into(), "3".into()), ("d".into(), "4".into())]);
    assert_eq!(store.range("queue", b"a", b"z", 1).unwrap().len(), 1);
    assert_eq!(store.range("queue", b"z", b"a", 1).unwrap(), []);
    assert_eq!(store.get("kv", b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

/// What a crash at this moment leaves, opened: everything in memory is gone.
fn crashed(folder: &Path) -> (tempfile::TempDir, Engine) {
    let left = tempfile::tempdir().unwrap();
    copy(folder, left.path());
    let engine = Engine::open(left.path(), 8 << 20).unwrap();
    (left, engine)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &target) } else { drop(std::fs::copy(entry.path(), target)) }
    }
}

fn commit(engine: &Engine, writes: Vec<Write>) {
    engine.commit(&mut [Item { tree: "queue", writes, bodies: Vec::new(), waiter: None }]).unwrap();
}

fn keys_of(engine: &Engine) -> Vec<String> {
    let pairs = engine.range("queue", b"a", b"z", 99).unwrap();
    pairs.iter().map(|(key, value)| format!("{}={}", key.escape_ascii(), value.escape_ascii())).collect()
}

#[test]
fn a_crash_at_any_step_leaves_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20).unwrap();
    let check = |step: &str, engine: &Engine, folder: &Path, expected: &[&str]| {
        assert_eq!(keys_of(engine), expected, "{step}");
        assert_eq!(keys_of(&crashed(folder).1), expected, "crashed when {step}");
    };
    commit(&engine, vec![put("a", "1"), put("b", "1")]);
    check("in the journal only", &engine, folder.path(), &["a=1", "b=1"]);
    engine.carry().unwrap();
    check("carried", &engine, folder.path(), &["a=1", "b=1"]);
    commit(&engine, vec![Write::Delete { key: "a".into() }, put("b", "2"), put("c", "1")]);
    check("journal over database", &engine, folder.path(), &["b=2", "c=1"]);
    // A life that begins with a replay, and ends before and after it is carried.
    let (left, second) = crashed(folder.path());
    commit(&second, vec![put("d", "1")]);
    check("committed behind a replay", &second, left.path(), &["b=2", "c=1", "d=1"]);
    second.carry().unwrap();
    check("a replay carried", &second, left.path(), &["b=2", "c=1", "d=1"]);
    // The first life went on; what the second one did is nothing to it.
    engine.carry().unwrap();
    check("carried again", &engine, folder.path(), &["b=2", "c=1"]);
}

#[test]
fn a_crash_while_it_is_opened_does_not_keep_the_database_closed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20).unwrap();
    commit(&engine, vec![put("a", "1")]);
    engine.carry().unwrap();
    drop(engine);
    let half_done = folder.path().join("snap.7FFFFFFFFFFFFFFF.generating");
    for torn in [&b""[..], b"only a part of it"] {
        std::fs::write(&half_done, torn).unwrap();
        let engine = Engine::open_patiently(folder.path(), 8 << 20).unwrap();
        assert_eq!(keys_of(&engine), ["a=1"]);
        assert!(!half_done.exists());
    }
}

#[tokio::test]
async fn an_empty_commit_waits_for_what_rode_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ticket = store.ride("queue", vec![put("a", "1")]).unwrap();
    store.commit("queue", Vec::new()).await.unwrap();
    assert!(store.flushed() >= ticket);
    assert!(store.get("queue", b"a").unwrap().is_some());
}

#[tokio::test]
async fn writes_are_in_order_and_a_dropped_future_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 0..50 {
        drop(store.commit("queue", vec![put("a", &round.to_string())]));
        store.ride("queue", vec![put("b", &round.to_string())]).unwrap();
    }
    store.commit("queue", Vec::new()).await.unwrap();
    assert_eq!(store.get("queue", b"a").unwrap().as_deref(), Some(&b"49"[..]));
    assert_eq!(store.get("queue", b"b").unwrap().as_deref(), Some(&b"49"[..]));
}

#[test]
fn a_swap_happens_only_where_the_value_is_as_expected() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(store.swap("kv", b"a", None, Some(b"1")).unwrap());
    assert!(!store.swap("kv", b"a", None, Some(b"2")).unwrap());
    assert!(store.swap("kv", b"a", Some(b"1"), None).unwrap());
    assert_eq!(store.get("kv", b"a").unwrap(), None);
}

#[test]
fn a_folder_in_use_and_a_folder_that_is_none_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    assert!(matches!(Sled::open(folder.path(), 1 << 20), Err(StoreError::Broken(_))));
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(Sled::open(&file, 1 << 20), Err(StoreError::Broken(_))));
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let error = |kind| failure(&io::Error::from(kind));
    assert!(matches!(error(io::ErrorKind::StorageFull), StoreError::Full(_)));
    assert!(matches!(error(io::ErrorKind::QuotaExceeded), StoreError::Full(_)));
    assert!(matches!(error(io::ErrorKind::PermissionDenied), StoreError::Broken(_)));
    assert!(matches!(failure(&io::Error::from_raw_os_error(28)), StoreError::Full(_)), "ENOSPC");
    assert!(matches!(super::engine::engine_failure(sled::Error::ReportableBug("x".into())), StoreError::Broken(_)));
}

#[tokio::test]
async fn a_broken_engine_fails_the_batch_and_all_that_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.health().unwrap();
    let error = store.shared.fail(failure(&io::Error::other("the disk is gone")));
    assert!(matches!(error, StoreError::Broken(_)));
    assert!(matches!(store.health(), Err(StoreError::Broken(_))));
    assert!(matches!(store.commit("queue", vec![put("a", "1")]).await, Err(StoreError::Broken(_))));
    assert!(matches!(store.ride("queue", Vec::new()), Err(StoreError::Broken(_))));
    assert!(matches!(store.get("queue", b"a"), Err(StoreError::Broken(_))));
}

#[tokio::test]
async fn a_full_engine_refuses_keeps_what_rides_and_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit("queue", vec![put("before", "1")]).await.unwrap();
    let error = store.shared.fail(failure(&io::Error::from(io::ErrorKind::StorageFull)));
    assert!(matches!(error, StoreError::Full(_)));
    store.ride("queue", vec![put("rider", "2")]).unwrap();
    // There is space all the while: the committer opens the database again by itself.
    let committed = async {
        while store.commit("queue", vec![put("after", "3")]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), committed).await.expect("the store never comes back");
    for key in ["before", "rider", "after"] {
        assert!(store.get("queue", key.as_bytes()).unwrap().is_some(), "{key}");
    }
}
