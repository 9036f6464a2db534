//! Content in the store is in small pieces, and what earlier programs wrote in larger ones is read.

use super::*;

const MESSAGES: usize = 120;

#[tokio::test]
async fn waiting_mail_makes_no_pages_that_need_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = || std::fs::read_dir(folder.path().join("db/blobs")).unwrap().count();
    let new = bench(folder.path()).await;
    for n in 0..MESSAGES {
        new.accept(&["a@example.net"], &octets(6000 + n * 220)).await;
    }
    // Closed, the store has brought everything into the database.
    new.close().await;
    assert_eq!(blobs(), 0, "as it came");
    let again = bench(folder.path()).await;
    let mut left = MESSAGES;
    while left > 0 {
        for lease in again.some(100).await {
            again.queue.settle(lease, vec![retry(0, later(3600))], None, Vec::new()).await.unwrap();
            left -= 1;
        }
    }
    again.close().await;
    assert_eq!(blobs(), 0, "as an attempt left it");
}

#[tokio::test]
async fn content_that_earlier_programs_kept_with_its_record_is_read_moved_and_removed() {
    for tried in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path()).await;
        let Incoming { mut record, head, body } = bench.incoming(&["a@example.net"], &octets(20_000));
        let Content::Memory(octets) = body else { panic!("it is in memory") };
        (record.head_size, record.body_size) = (head.len() as u32, octets.len() as u64);
        let value = stored::encode(&record, &head, &octets);
        let write = Write::Put { key: keys::fresh(record.id), value };
        bench.store.commit(keys::TREE, vec![write]).await.unwrap();
        bench.close().await;
        let bench = super::bench(folder.path()).await;
        let mut lease = bench.one().await;
        assert!(bench.body(&lease).await == octets);
        if tried {
            bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
            lease = bench.one().await;
            assert!(bench.body(&lease).await == octets);
        }
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
        bench.queue.shared.barrier().await.unwrap();
        assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), []);
    }
}
