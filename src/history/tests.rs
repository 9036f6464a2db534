use super::*;
use crate::hooks::{Outcome, OutcomeKind, Stage};
use crate::queue::{Change, Past, Settled};
use crate::smtp::{Reply, Status};
use crate::time::{Manual, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_795_473_060);

fn history(folder: &std::path::Path) -> History {
    let history = History::new(Arc::new(Manual::new(NOW)));
    let config = Config { record: true, path: folder.join("h"), keep: Duration::from_secs(86_400), bytes: 1 << 20 };
    history.configure(&config);
    history
}

fn gone(recipient: u32, kind: OutcomeKind) -> Settled {
    let reply = match kind {
        OutcomeKind::Delivered => Reply::new(250, Status::new(2, 0, 0), "queued"),
        _ => Reply::new(550, Status::new(5, 1, 1), "nobody here"),
    };
    let (error, remote, remote_endpoint) = (None, Some("mx.test".into()), None);
    let outcome =
        Outcome { recipient, kind, stage: Stage::Done, reply: Some(reply), error, remote, remote_endpoint, at: NOW };
    Settled { recipient, change: Change::Gone, outcome: Some(outcome), past: None }
}

fn told(history: &History, id: u64, settled: &[Settled], dialogue: Option<&str>) {
    let record = crate::admin::record_for_tests(id);
    let (hop, took) = ("smtp://mx.test:25", Duration::from_millis(70));
    let finished = Finished { record: &record, settled, hop, took, dialogue, now: NOW };
    if let Some(line) = finished.line() {
        history.tell(&line);
    }
}

#[test]
fn what_left_the_queue_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(folder.path());
    told(&history, 1, &[gone(0, OutcomeKind::Delivered)], None);
    told(&history, 2, &[gone(0, OutcomeKind::Permanent), gone(1, OutcomeKind::Delivered)], Some("C: RCPT\nS: 550 no"));
    let stays = Settled { change: Change::Park { at: NOW, rule: 1 }, ..gone(0, OutcomeKind::Temporary) };
    told(&history, 3, &[stays], None);
    let found = |query: &Query| history.find(query).unwrap();
    assert_eq!(found(&Query::default()).messages.len(), 2, "who stays is not in it");
    let failed = found(&Query { failed: true, ..Query::default() });
    assert_eq!(failed.messages.len(), 1);
    insta::assert_snapshot!(serde_json::to_string_pretty(&failed.messages[0]).unwrap());
    for (query, count) in [
        (Query { id: Some("0000000000001".into()), ..Query::default() }, 1),
        (Query { id: Some("0000000000009".into()), ..Query::default() }, 0),
        (Query { recipient: Some("R1@Example".into()), ..Query::default() }, 1),
        (Query { sender: Some("nobody".into()), ..Query::default() }, 0),
        (Query { since: Some(NOW), ..Query::default() }, 2),
        (Query { until: Some(NOW.minus(Duration::from_secs(1))), ..Query::default() }, 0),
    ] {
        assert_eq!(found(&query).messages.len(), count, "{query:?}");
    }
    let one = found(&Query { limit: 1, ..Query::default() });
    assert_eq!((one.messages[0]["queue_id"].as_str(), one.more), (Some("0000000000002"), true));
}

#[test]
fn past_attempts_come_along_and_texts_are_cut() {
    let mut record = crate::admin::record_for_tests(1).as_ref().clone();
    let long = Outcome { error: Some("é".repeat(5000).into()), ..gone(0, OutcomeKind::Temporary).outcome.unwrap() };
    record.recipients[0].state.history = vec![Past::of(&long, "mx:x.test".into(), Duration::from_secs(1))];
    let settled = [Settled { outcome: Some(Outcome { recipient: 0, ..long }), ..gone(0, OutcomeKind::Permanent) }];
    let finished =
        Finished { record: &record, settled: &settled, hop: "", took: Duration::ZERO, dialogue: None, now: NOW };
    let line = finished.line().unwrap();
    assert!(line.len() < 3000, "{}", line.len());
    let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(read["recipients"][0]["before"][0]["hop"], "mx:x.test");
}

#[test]
fn nothing_is_written_where_nothing_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::new(Arc::new(Manual::new(NOW)));
    assert!(!history.is_on() && history.find(&Query::default()).is_err());
    let config = Config { record: false, path: folder.path().join("h"), keep: Duration::from_secs(1), bytes: 1 << 20 };
    history.configure(&config);
    assert!(!history.is_on());
    assert_eq!(history.find(&Query::default()).unwrap(), Found::default());
}
