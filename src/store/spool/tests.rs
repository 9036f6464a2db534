use super::*;
use crate::store::committer::Item;
use crate::store::{Committed, Pair, Write};
use std::sync::atomic::AtomicU64;

/// A store that only tells how far it is flushed.
#[derive(Default)]
struct Watermark(AtomicU64);

impl Store for Watermark {
    fn get(&self, tree: &str, _key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        panic!("the spool reads {tree}")
    }
    fn range(&self, tree: &str, _from: &[u8], _to: &[u8], _limit: usize) -> Result<Vec<Pair>, StoreError> {
        panic!("the spool reads {tree}")
    }
    fn apply(&self, tree: &str, _writes: Vec<Write>) -> Result<(), StoreError> {
        panic!("the spool writes {tree}")
    }
    fn swap(&self, tree: &str, _key: &[u8], _old: Option<&[u8]>, _new: Option<&[u8]>) -> Result<bool, StoreError> {
        panic!("the spool writes {tree}")
    }
    fn commit(&self, tree: &'static str, _writes: Vec<Write>) -> Committed<'_> {
        panic!("the spool writes {tree}")
    }
    fn ride(&self, tree: &'static str, _writes: Vec<Write>) -> Result<Ticket, StoreError> {
        panic!("the spool writes {tree}")
    }
    fn applied(&self) -> Ticket {
        panic!("nothing is read")
    }
    fn flushed(&self) -> Ticket {
        Ticket(self.0.load(Ordering::SeqCst))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    flushed: Arc<Watermark>,
    spool: Spool,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let flushed = Arc::new(Watermark::default());
    let spool = Spool::open(folder.path(), 0, flushed.clone()).unwrap();
    Bench { folder, flushed, spool }
}

fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

async fn drafted(spool: &Spool, octets: &[u8], step: usize) -> Content {
    let mut draft = spool.draft();
    for part in octets.chunks(step) {
        draft.append(part).await.unwrap();
    }
    assert_eq!(draft.len(), octets.len() as u64);
    draft.finish().await.unwrap()
}

async fn all_of(content: &Content) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < content.len() {
        all.extend_from_slice(&content.read_at(all.len() as u64, 100_000).await.unwrap());
    }
    all
}

#[tokio::test]
async fn small_drafts_stay_in_memory_and_large_ones_go_to_a_file() {
    let bench = bench();
    for (len, in_memory) in [(0, true), (1000, true), (256 * 1024, true), (256 * 1024 + 1, false), (3_000_000, false)] {
        let octets = octets(len);
        let content = drafted(&bench.spool, &octets, 70_000).await;
        assert_eq!(matches!(content, Content::Memory(_)), in_memory, "{len}");
        assert!(all_of(&content).await == octets, "{len}");
        assert_eq!(bench.spool.room().pending(), 0, "the budget is given back");
    }
}

#[tokio::test]
async fn a_draft_goes_to_its_file_early_when_all_drafts_together_are_large() {
    let bench = bench();
    bench.spool.room().await_octets(64 << 20);
    let content = drafted(&bench.spool, b"small", 5).await;
    assert!(matches!(&content, Content::Spooled(spooled) if spooled.is_whole()));
    assert_eq!(all_of(&content).await, b"small");
}

#[tokio::test]
async fn a_part_of_other_content_is_copied() {
    let bench = bench();
    let octets = octets(900_000);
    let whole = drafted(&bench.spool, &octets, 100_000).await;
    let mut draft = bench.spool.draft();
    draft.append(b"before ").await.unwrap();
    draft.copy(&whole, 300_000, 500_000, |_| ()).await.unwrap();
    let copy = all_of(&draft.finish().await.unwrap()).await;
    assert!(copy == [b"before ", &octets[300_000..800_000]].concat());
}

#[tokio::test]
async fn nothing_is_drafted_to_disk_below_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), u64::MAX, Arc::new(Watermark::default())).unwrap();
    let mut draft = spool.draft();
    draft.append(&octets(1000)).await.unwrap();
    assert!(matches!(draft.append(&octets(300_000)).await, Err(StoreError::Full(_))));
}

#[tokio::test]
async fn what_is_kept_for_the_queue_itself_is_not_refused_by_the_floor() {
    let (bench, folder) = (bench(), tempfile::tempdir().unwrap());
    let spool = Spool::open(folder.path(), u64::MAX, Arc::new(Watermark::default())).unwrap();
    let Content::Spooled(whole) = drafted(&bench.spool, &octets(300_000), 50_000).await else { panic!("in memory") };
    let part = Content::Spooled(Spooled { offset: 7, len: 200_000, ..whole });
    for (body, expected) in [(part, &octets(300_000)[7..200_007]), (Content::Memory(octets(9).into()), &octets(9)[..])]
    {
        let (file, crc) = spool.keep(&body).await.unwrap();
        assert_eq!(crc, crc32fast::hash(expected));
        let kept = Spooled { file, offset: 0, len: expected.len() as u64 };
        assert!(all_of(&Content::Spooled(kept)).await == expected);
    }
}

/// The proof at the head of the module, step by step.
#[tokio::test]
async fn a_file_is_used_again_only_when_its_record_is_gone_for_good_and_nobody_reads_it() {
    let bench = bench();
    let body = Content::Memory(octets(100_000).into());
    let (file, crc) = bench.spool.keep(&body).await.unwrap();
    let name = Arc::clone(file.name());
    drop(file);
    let other = |spool: Spool| async move {
        let (file, _) = spool.keep(&Content::Memory(octets(50_000).into())).await.unwrap();
        Arc::clone(file.name())
    };
    assert_ne!(other(bench.spool.clone()).await, name, "a record names it");
    let reader = bench.spool.read(&name, Sealed { len: 100_000, crc }).unwrap();
    bench.spool.release(&name, Ticket(5));
    assert_ne!(other(bench.spool.clone()).await, name, "somebody reads it");
    assert!(all_of(&reader).await == octets(100_000));
    drop(reader);
    assert_ne!(other(bench.spool.clone()).await, name, "a crash brings the record back");
    bench.flushed.0.store(4, Ordering::SeqCst);
    assert_ne!(other(bench.spool.clone()).await, name);
    bench.flushed.0.store(5, Ordering::SeqCst);
    assert_eq!(other(bench.spool.clone()).await, name);
}

#[tokio::test]
async fn a_draft_that_nobody_wanted_leaves_its_file_to_the_next() {
    let bench = bench();
    let Content::Spooled(first) = drafted(&bench.spool, &octets(300_000), 50_000).await else { panic!("in memory") };
    let name = Arc::clone(first.file.name());
    drop(first);
    let Content::Spooled(second) = drafted(&bench.spool, &octets(400_000), 50_000).await else { panic!("in memory") };
    assert_eq!(*second.file.name(), name);
}

#[tokio::test]
async fn a_name_that_nobody_flushed_is_flushed_by_who_uses_the_file_again() {
    let bench = bench();
    let take = |spool: &Spool| Inner::take(&spool.0).unwrap();
    let first = take(&bench.spool);
    let name = Arc::clone(first.name());
    assert!(first.fresh);
    drop(first);
    let again = take(&bench.spool);
    assert!(again.name() == &name && again.fresh, "its draft was given up");
    // A run that was killed here left it behind; the next one finds it.
    let spool = Spool::open(bench.folder.path(), 0, bench.flushed.clone()).unwrap();
    assert_eq!(spool.sweep(Some(&HashSet::new())).unwrap(), 1);
    let found = take(&spool);
    assert!(found.name() == &name && found.fresh);
    found.sync().unwrap();
    drop(found);
    let flushed = take(&spool);
    assert!(flushed.name() == &name && !flushed.fresh, "once is enough");
}

#[test]
fn folders_of_files_are_flushed_whoever_made_them() {
    let bench = bench();
    drop(Inner::take(&bench.spool.0).unwrap());
    let known = bench.spool.0.folders.lock().clone();
    assert_eq!(known.len(), 1);
    let spool = Spool::open(bench.folder.path(), 0, bench.flushed.clone()).unwrap();
    assert_eq!(*spool.0.folders.lock(), known, "found, and flushed");
    // All are there, but whoever made them did not come to flush them.
    spool.0.folders.lock().clear();
    let all = (0..FOLDERS).flat_map(|outer| (0..FOLDERS).map(move |inner| format!("{outer}/{inner}")));
    all.for_each(|name| std::fs::create_dir_all(bench.folder.path().join(name)).unwrap());
    let file = Inner::take(&spool.0).unwrap();
    let numbers: Vec<u32> = file.name().split('/').take(2).map(|number| number.parse().unwrap()).collect();
    assert_eq!(*spool.0.folders.lock(), HashSet::from([(numbers[0], numbers[1])]));
}

#[tokio::test]
async fn large_files_are_removed_rather_than_kept() {
    let bench = bench();
    let Content::Spooled(large) = drafted(&bench.spool, &octets(2_000_000), 100_000).await else { panic!("in memory") };
    let path = bench.folder.path().join(&**large.file.name());
    assert!(path.exists());
    drop(large);
    bench.spool.tidy();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_does_not_verify_is_told_and_set_aside() {
    let bench = bench();
    let (file, crc) = bench.spool.keep(&Content::Memory(octets(100_000).into())).await.unwrap();
    let name = Arc::clone(file.name());
    drop(file);
    let sealed = Sealed { len: 100_000, crc };
    let path = bench.folder.path().join(&*name);
    let mut wrong = octets(100_000);
    wrong[77_777] ^= 1;
    for stored in [&wrong[..], &wrong[..5]] {
        std::fs::write(&path, stored).unwrap();
        assert!(matches!(bench.spool.read(&name, sealed), Err(StoreError::Damaged(_))));
    }
    bench.spool.set_aside(&name);
    assert!(!path.exists());
    assert!(bench.folder.path().join("damaged").join(name.replace('/', "-")).exists());
    assert!(matches!(bench.spool.read(&name, sealed), Err(StoreError::Damaged(_))), "it is missing");
}

#[tokio::test]
async fn files_without_a_record_are_found_at_start() {
    let bench = bench();
    let mut names = Vec::new();
    for _ in 0..3 {
        let (file, _) = bench.spool.keep(&Content::Memory(octets(40_000).into())).await.unwrap();
        names.push(Arc::clone(file.name()));
    }
    let spool = Spool::open(bench.folder.path(), 0, bench.flushed.clone()).unwrap();
    assert_eq!(spool.sweep(Some(&HashSet::from([Arc::clone(&names[1])]))).unwrap(), 2);
    for _ in 0..2 {
        let (file, _) = spool.keep(&Content::Memory(octets(40_000).into())).await.unwrap();
        assert!(names.contains(file.name()) && *file.name() != names[1]);
    }
}

#[test]
fn a_body_that_cannot_be_written_is_refused_and_others_go_on() {
    let bench = bench();
    let item = |len: usize| {
        let (_, _, body) = bench.spool.place(&octets(40_000).into()).unwrap().unwrap();
        let body = Body { octets: octets(len).into(), ..body };
        let (waiter, answer) = tokio::sync::oneshot::channel();
        let write = Write::Delete { key: "k".into() };
        (Item { tree: "t", writes: vec![write], bodies: vec![body], waiter: Some(waiter) }, answer)
    };
    let ((well, mut told), (ill, mut refused)) = (item(40_000), item(70_000));
    let mut items = [ill, well];
    Body::write_all(&mut items);
    assert!(items[0].writes.is_empty() && items[0].waiter.is_none() && matches!(refused.try_recv(), Ok(Err(_))));
    assert!(items[1].writes.len() == 1 && items[1].bodies.is_empty() && told.try_recv().is_err());
    let slab = std::fs::read(bench.folder.path().join("slab-64k")).unwrap();
    assert!(slab == octets(40_000), "the first slot");
}

#[tokio::test]
async fn what_this_run_has_had_to_do_with_is_not_swept() {
    let bench = bench();
    let body = || Content::Memory(octets(40_000).into());
    let orphan = Arc::clone(bench.spool.keep(&body()).await.unwrap().0.name());
    let spool = Spool::open(bench.folder.path(), 0, bench.flushed.clone()).unwrap();
    // Its record came after the records were looked through.
    let (own, _) = spool.keep(&body()).await.unwrap();
    // Its record went before they were.
    let (gone, _) = bench.spool.keep(&body()).await.unwrap();
    spool.release(gone.name(), Ticket(9));
    assert_eq!(spool.sweep(Some(&HashSet::new())).unwrap(), 1);
    let (next, _) = spool.keep(&body()).await.unwrap();
    assert_eq!(*next.name(), orphan);
    let (another, _) = spool.keep(&body()).await.unwrap();
    assert!(another.name() != own.name() && another.name() != gone.name());
}

#[tokio::test]
async fn nothing_is_swept_where_any_file_may_be_named() {
    let bench = bench();
    let (kept, _) = bench.spool.keep(&Content::Memory(octets(40_000).into())).await.unwrap();
    let spool = Spool::open(bench.folder.path(), 0, bench.flushed.clone()).unwrap();
    assert_eq!(spool.sweep(None).unwrap(), 0);
    let (next, _) = spool.keep(&Content::Memory(octets(40_000).into())).await.unwrap();
    assert_ne!(next.name(), kept.name());
}

#[tokio::test]
async fn a_disk_in_need_gets_back_all_that_is_not_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let flushed = Arc::new(Watermark::default());
    let spool = Spool::open(folder.path(), u64::MAX, flushed.clone()).unwrap();
    let mut names = Vec::new();
    for ticket in 1..4 {
        let file = Inner::take(&spool.0).unwrap();
        *file.fate.lock() = Fate::Released(Ticket(ticket));
        names.push(folder.path().join(&**file.name()));
    }
    assert!(!spool.is_untidy());
    flushed.0.store(2, Ordering::SeqCst);
    assert!(spool.is_untidy());
    spool.tidy();
    assert_eq!(names.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, false, true]);
    assert!(!spool.is_untidy());
}

#[tokio::test]
async fn near_the_floor_the_pool_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let free = rustix::fs::statvfs(folder.path()).map(|s| s.f_bavail * s.f_frsize).unwrap();
    let store = Arc::new(Watermark::default());
    // Above the floor, but not by half as much again.
    let spool = Spool::open(folder.path(), free / 5 * 4, store).unwrap();
    drop(drafted(&spool, &octets(300_000), 70_000).await);
    assert_eq!(spool.0.files.lock().retired.len(), 1);
    assert!(spool.is_untidy());
    spool.tidy();
    assert!(spool.0.files.lock().free.is_empty());
    let files = |folder: &Path| subfolders(folder).unwrap().iter().map(|f| folder.join(f)).collect::<Vec<_>>();
    let left = files(folder.path()).iter().flat_map(|f| files(f)).flat_map(|f| std::fs::read_dir(f).unwrap()).count();
    assert_eq!(left, 0);
    spool.room().check().unwrap();
}
