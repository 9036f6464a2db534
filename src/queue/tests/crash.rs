//! kill -9: what was accepted is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Command as Process, Stdio};

use super::*;

const FOLDER: &str = "WAYPOST_TEST_CRASH_FOLDER";

/// The program that is killed: accepts, tries and settles without end, and says what it accepted. Run by the test below.
#[test]
#[ignore = "a part of accepted_mail_survives_kill_9"]
fn accepts_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let bench = Arc::new(bench(Path::new(&folder)).await);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let bench = Arc::clone(&bench);
            tasks.spawn(async move {
                loop {
                    let len = fastrand::usize(..[100, 5000, 40_000, 400_000][task % 4]);
                    let incoming = bench.incoming(&["a@example.net"], &octets(len));
                    let id = bench.queue.accept(incoming).await.unwrap();
                    say(&format!("accepted {id} {len}"));
                }
            });
        }
        tasks.spawn(async move {
            loop {
                let lease = bench.one().await;
                let id = lease.record.id;
                if id.to_u64() % 2 == 0 {
                    say(&format!("settled {id}"));
                    let gone = all_gone(&lease);
                    bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
                } else {
                    bench.queue.settle(lease, vec![retry(0, later(60))], None, Vec::new()).await.unwrap();
                }
            }
        });
        tasks.join_all().await;
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn accepted_mail_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (mut accepted, mut settled) = (std::collections::BTreeMap::new(), BTreeSet::new());
    for _round in 0..4 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "queue::tests::crash::accepts_until_it_is_killed"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let enough = fastrand::usize(50..400);
        let mut read = |line: &str| match *line.split_whitespace().collect::<Vec<_>>() {
            ["accepted", id, len] => accepted.insert(id.to_owned(), len.parse::<u64>().unwrap()).is_none(),
            ["settled", id] => settled.insert(id.to_owned()),
            _ => false,
        };
        let mut line = String::new();
        let mut count = 0;
        while count < enough {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended by itself");
            count += usize::from(read(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        // The last line may be cut off.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().for_each(|line| {
            read(line);
        });
    }
    assert!(accepted.len() >= 50 && !settled.is_empty());
    let bench = bench(folder.path()).await;
    let found: std::collections::BTreeMap<String, u64> =
        bench.all().iter().map(|r| (r.id.to_string(), r.body_size)).collect();
    assert_eq!(bench.queue.counts().messages, found.len() as u64);
    assert_eq!(bench.queue.counts().damaged, 0);
    for (id, len) in accepted.iter().filter(|(id, _)| !settled.contains(*id)) {
        assert_eq!(found.get(id), Some(len), "{id} was accepted");
    }
    bench.clock.advance(Duration::from_secs(60));
    for _ in 0..found.len() {
        let lease = bench.one().await;
        let len = lease.record.body_size as usize;
        assert!(bench.body(&lease).await == octets(len), "{} has another body", lease.record.id);
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
    bench.assert_idle();
}
