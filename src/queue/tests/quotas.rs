//! Quotas: what they refuse, and that they follow what is in the queue wherever it goes.

use super::*;

fn quota(name: &str, per: &str, messages: Option<u64>, octets: Option<u64>) -> Quota {
    let per = Per::parse(per).unwrap();
    Quota { name: name.into(), per, only: Vec::new(), except: Vec::new(), messages, octets }
}

/// Quotas of every kind that never refuse.
pub(super) fn wide() -> Vec<Quota> {
    let kinds = ["sender", "sender-domain", "domain", "identity", "listener", "client", "tenant", "annotation.p.k"];
    kinds.iter().map(|per| quota(per, per, Some(u64::MAX), Some(u64::MAX))).collect()
}

/// True where no quota knows of any mail.
pub(super) fn are_empty(queue: &Queue) -> bool {
    queue.quotas().iter().all(|quota| quota.values == 0)
}

fn values(bench: &Bench) -> Vec<(String, u64)> {
    bench.queue.quotas().into_iter().map(|quota| (quota.name, quota.values)).collect()
}

async fn with(quotas: Vec<Quota>) -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { quotas, ..config(folder.path()) }).await;
    (folder, bench)
}

impl Bench {
    /// Drops all mail; no quota knows of any then.
    async fn drop_all(&self) {
        self.queue.command(&Filter::default(), Command::Remove).await.unwrap();
        assert!(are_empty(&self.queue));
    }

    /// The value and the quota that stand in the way.
    async fn offer(&self, tenant: &str, recipients: &[&str], len: usize) -> Result<QueueId, String> {
        let mut incoming = self.incoming(recipients, &octets(len));
        if !tenant.is_empty() {
            incoming.record.annotations.set("p", "1", "tenant", tenant).unwrap();
        }
        match self.queue.accept(incoming).await {
            Ok(id) => Ok(id),
            Err(QueueError::OverQuota(over)) => Err(over.to_string()),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn each_value_has_its_own_and_room_comes_back() {
    let (_folder, bench) = with(vec![quota("tenants", "tenant", Some(2), None)]).await;
    for tenant in ["acme", "Acme", "other"] {
        bench.offer(tenant, &["a@example.net"], 10).await.unwrap();
    }
    let refused = bench.offer("ACME", &["a@example.net"], 10).await;
    assert_eq!(refused, Err("quota tenants: 2 messages of tenant acme are queued, its most is 2".to_owned()));
    bench.offer("", &["a@example.net"], 10).await.expect("it is nobody's");
    bench.offer("other", &["a@example.net"], 10).await.unwrap();
    let status = bench.queue.quotas();
    assert_eq!((status[0].values, status[0].refused), (2, 1));

    let lease = bench.one().await;
    let gone = all_gone(&lease);
    bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    bench.offer("acme", &["a@example.net"], 10).await.unwrap();
    bench.offer("acme", &["a@example.net"], 10).await.unwrap_err();
    bench.drop_all().await;
}

#[tokio::test]
async fn octets_count_and_a_message_larger_than_all_of_it_is_taken_alone() {
    let (_folder, bench) = with(vec![quota("senders", "sender", None, Some(1000))]).await;
    bench.offer("", &["a@example.net"], 900).await.unwrap();
    bench.offer("", &["a@example.net"], 300_000).await.expect("there were 914 of 1000");
    let refused = bench.offer("", &["a@example.net"], 1).await.unwrap_err();
    assert!(refused.starts_with("quota senders: 300928 octets of sender sender@example.org"), "{refused}");
    let mut own = bench.incoming(&["a@example.net"], b"");
    own.record.sender = ReversePath(None);
    bench.queue.accept(own).await.expect("the null reverse-path has no quota");
}

#[tokio::test]
async fn values_that_are_named_and_domains_below_one() {
    let only = Quota { only: vec![".example.net".into(), "here.test".into()], ..quota("d", "domain", Some(1), None) };
    let except = Quota { except: vec!["big".into()], ..quota("t", "tenant", Some(1), None) };
    let (_folder, bench) = with(vec![only, except]).await;
    bench.offer("big", &["a@x.example.net", "b@x.example.net", "a@there.test"], 1).await.unwrap();
    bench.offer("big", &["a@example.net", "a@there.test"], 1).await.expect("another domain each time");
    let refused = bench.offer("big", &["a@there.test", "c@X.example.net"], 1).await.unwrap_err();
    assert!(refused.contains("quota d: 1 messages of domain x.example.net"), "{refused}");
    bench.offer("small", &["a@there.test"], 1).await.unwrap();
    bench.offer("small", &["a@there.test"], 1).await.unwrap_err();
}

#[tokio::test]
async fn what_changes_in_the_queue_changes_there_and_a_restart_counts_it_anew() {
    let (folder, bench) = with(wide()).await;
    let id = bench.offer("acme", &["a@x.test", "b@y.test", "c@y.test"], 40_000).await.unwrap();
    let count = |name: &str, bench: &Bench| values(bench).into_iter().find(|(of, _)| of == name).unwrap().1;
    assert_eq!((count("domain", &bench), count("tenant", &bench)), (2, 1));
    let lease = bench.one().await;
    let gone = |recipient| Settled { recipient, change: Change::Gone, outcome: None, past: None };
    let mut notes = lease.record.annotations.clone();
    notes.remove("p", "tenant");
    notes.set("p", "1", "k", "v").unwrap();
    let settled = vec![gone(0), retry(1, later(9)), retry(2, later(9))];
    bench.queue.settle(lease, settled, Some(notes), Vec::new()).await.unwrap();
    let seen = |bench: &Bench| (count("domain", bench), count("tenant", bench), count("annotation.p.k", bench));
    assert_eq!(seen(&bench), (1, 0, 1));
    bench.close().await;
    let bench = bench_with(Config { quotas: wide(), ..config(folder.path()) }).await;
    assert_eq!(seen(&bench), (1, 0, 1), "of {id}");
    bench.queue.command(&Filter::default(), Command::Hold("why".into())).await.unwrap();
    assert_eq!(seen(&bench), (1, 0, 1));
    bench.drop_all().await;
}

#[tokio::test]
async fn reports_of_the_relay_itself_are_counted_and_never_refused() {
    let (_folder, bench) = with(vec![quota("d", "domain", Some(1), None)]).await;
    bench.offer("", &["a@example.org"], 1).await.unwrap();
    let lease = bench.one().await;
    let report = bench.incoming(&["sender@example.org"], b"it failed");
    let gone = all_gone(&lease);
    let another = Incoming { record: Record { id: bench.queue.next_id(), ..report.record.clone() }, ..report.clone() };
    bench.queue.settle(lease, gone, None, vec![report, another]).await.unwrap();
    assert_eq!(bench.queue.counts().messages, 2);
    bench.offer("", &["a@example.org"], 1).await.unwrap_err();
    bench.drop_all().await;
}

#[tokio::test]
async fn limits_change_while_mail_is_queued_and_what_was_refused_stays_counted() {
    let (_folder, bench) = with(vec![quota("tenants", "tenant", Some(1), None)]).await;
    bench.offer("acme", &["a@example.net"], 1).await.unwrap();
    bench.offer("acme", &["a@example.net"], 1).await.unwrap_err();
    assert!(!bench.queue.set_quotas(&[quota("tenants", "tenant", Some(1), None)]), "as they were");
    let more = [quota("tenants", "tenant", Some(2), None), quota("later", "listener", Some(1), None)];
    assert!(bench.queue.set_quotas(&more));
    bench.offer("acme", &["a@example.net"], 1).await.unwrap();
    bench.offer("acme", &["a@example.net"], 1).await.unwrap_err();
    let status: Vec<_> = bench.queue.quotas().into_iter().map(|q| (q.name, q.values, q.refused)).collect();
    assert_eq!(status, [("tenants".to_owned(), 1, 2), ("later".to_owned(), 0, 0)]);
    assert!(bench.queue.set_quotas(&[]));
    bench.offer("acme", &["a@example.net"], 1).await.expect("there is no quota now");
    bench.queue.set_quotas(&more[..1]);
    let refused = bench.offer("acme", &["a@example.net"], 1).await.unwrap_err();
    assert!(refused.contains(" 3 messages"), "what came meanwhile was counted: {refused}");
}

#[tokio::test]
async fn at_mail_what_is_known_by_then_counts() {
    let (_folder, bench) =
        with(vec![quota("s", "sender-domain", Some(1), None), quota("d", "domain", Some(1), None)]).await;
    bench.offer("", &["a@example.net"], 1).await.unwrap();
    let (same, other) = (Mailbox::parse("x@EXAMPLE.org", false).unwrap(), Mailbox::parse("x@a.test", false).unwrap());
    let asked = |sender| bench.queue.has_room_for(&Marks { sender, ..Marks::default() });
    assert_eq!(asked(Some(&same)).unwrap_err().quota, "s".into());
    assert_eq!((asked(Some(&other)), asked(None)), (Ok(()), Ok(())));
}

#[tokio::test]
async fn of_a_long_value_people_are_told_the_beginning_and_all_of_it_counts() {
    let (_folder, bench) = with(vec![quota("t", "tenant", Some(1), None)]).await;
    let long = "é".repeat(2000);
    bench.offer(&long, &["a@example.net"], 1).await.unwrap();
    bench.offer(&format!("{long}!"), &["a@example.net"], 1).await.expect("another");
    let refused = bench.offer(&long, &["a@example.net"], 1).await.unwrap_err();
    assert!(refused.contains(&format!(" {}… are", "é".repeat(320))), "{refused}");
}

#[test]
fn values_are_taken_in_the_form_that_mail_has_them_in() {
    for (per, written, taken) in [
        ("domain", "MÜNCHEN.example", Some("xn--mnchen-3ya.example")),
        ("sender-domain", ".Example.org", Some(".example.org")),
        ("domain", "[192.0.2.1]", Some("[192.0.2.1]")),
        ("domain", "no domain", None),
        ("sender", "\"ann\"@Example.org", Some("ann@example.org")),
        ("sender", "example.org", None),
        ("client", "2001:DB8:0::1", Some("2001:db8::1")),
        ("client", "::ffff:192.0.2.1", Some("192.0.2.1")),
        ("client", "unix:uid=1000", Some("unix:uid=1000")),
        ("client", "192.0.2.0/24", None),
        ("tenant", "Acme", Some("acme")),
        ("tenant", "", None),
    ] {
        assert_eq!(Per::parse(per).unwrap().normal(written).as_deref(), taken, "{per} {written}");
    }
}

#[test]
fn kinds_are_read_as_they_are_shown() {
    for text in ["sender", "sender-domain", "domain", "identity", "listener", "client", "tenant", "annotation.a.b"] {
        assert_eq!(Per::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Per::parse("annotation.campaign"), Per::parse("campaign"));
    for text in ["", "annotation.", "Sender", "recipient"] {
        assert_eq!(Per::parse(text), None, "{text:?}");
    }
}
