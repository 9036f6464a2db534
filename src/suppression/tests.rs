use super::*;
use crate::store::Sled;
use crate::time::Manual;

const START: Timestamp = Timestamp::from_secs(1_795_473_060);

fn open(folder: &std::path::Path) -> (Suppression, Arc<Manual>) {
    let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.join("db"), 8 << 20).unwrap());
    let clock = Arc::new(Manual::new(START));
    (Suppression::open(store, clock.clone()).unwrap(), clock)
}

fn entry(pattern: &str, tenant: Option<&str>, until: Option<Timestamp>) -> Entry {
    let tenant = tenant.map(Into::into);
    Entry { pattern: pattern.into(), tenant, reason: "why".into(), by: "uid 0".into(), added: START, until }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, false).unwrap()
}

#[tokio::test]
async fn addresses_and_domains_of_tenants_and_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let (list, clock) = open(folder.path());
    assert!(list.is_empty() && list.check(None, &mailbox("ann@x.test")).is_none());
    list.add(entry("Ann@X.test", None, None)).await.unwrap();
    list.add(entry("@gone.test", Some("acme"), None)).await.unwrap();
    list.add(entry("bob@y.test", Some("acme"), Some(START.plus(Duration::from_secs(60))))).await.unwrap();
    let hit = |tenant, text: &str| list.check(tenant, &mailbox(text)).map(|entry| entry.pattern.to_string());
    assert_eq!(hit(None, "ann@x.test").as_deref(), Some("ann@x.test"));
    assert_eq!(hit(Some("acme"), "ANN@x.test").as_deref(), Some("ann@x.test"));
    assert_eq!((hit(None, "a@gone.test"), hit(Some("other"), "a@gone.test")), (None, None));
    assert_eq!(hit(Some("acme"), "a@gone.test").as_deref(), Some("gone.test"));
    assert!(hit(Some("acme"), "bob@y.test").is_some());
    assert_eq!(hit(None, "a@sub.gone.test"), None);
    clock.advance(Duration::from_secs(61));
    assert_eq!((hit(Some("acme"), "bob@y.test"), list.list(None, "", 10).len()), (None, 2));
    list.sweep();
    assert_eq!(list.len(), 2);
    assert_eq!(list.list(Some("acme"), "GONE", 10).len(), 1);
    assert!(list.remove(None, "ann@x.test").await.unwrap() && !list.remove(None, "ann@x.test").await.unwrap());
    assert_eq!(hit(None, "ann@x.test"), None);
    drop(list);
    let (list, _) = open(folder.path());
    assert_eq!(list.len(), 1, "it outlives a restart");
    for bad in ["", "@", "a@", "a b", "-"] {
        assert!(list.add(entry(bad, None, None)).await.is_err(), "{bad}");
    }
    assert!(list.add(entry("x.test", Some("a\0b"), None)).await.is_err());
}

#[tokio::test]
async fn failures_are_learned_from_only_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (list, _) = open(folder.path());
    let (to, unknown) = (mailbox("nobody@x.test"), Some(Status::new(5, 1, 1)));
    list.learn(None, &to, unknown, "550 no such user");
    assert!(list.is_empty(), "off by default");
    list.configure(&Config { auto: true, ..Config::default() });
    list.learn(None, &to, Some(Status::new(5, 7, 1)), "550 blocked");
    list.learn(None, &to, None, "550 no");
    assert!(list.is_empty());
    list.learn(Some("acme"), &to, unknown, "550 no such\r\nuser");
    assert!(list.check(None, &to).is_none());
    let entry = list.check(Some("acme"), &to).unwrap();
    assert_eq!((&*entry.reason, &*entry.by), ("550 no suchuser", "auto"));
    assert_eq!(entry.until, Some(START.plus(Config::default().keep)));
}
