//! Pure over a table of answers: what is chosen, what is passed over, and what is said where nothing is left.

use std::collections::BTreeMap;

use super::*;
use crate::routing::{Answer, Fault, FaultKind, Own, RecordKind};

/// Answers by name; what is not in the table does not exist.
#[derive(Default)]
struct Book {
    mx: BTreeMap<&'static str, Vec<(u16, &'static str)>>,
    hosts: BTreeMap<&'static str, Result<Vec<&'static str>, ResolveError>>,
}

impl Resolver for Book {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        let mx = |records: &Vec<(u16, &str)>| {
            records.iter().map(|(preference, host)| Mx { preference: *preference, exchange: (*host).into() }).collect()
        };
        let without = if self.hosts.contains_key(domain) { ResolveError::NoData } else { ResolveError::NoSuchName };
        Box::pin(std::future::ready(self.mx.get(domain).map(mx).ok_or(without)))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        let found = self.hosts.get(host).cloned().unwrap_or(Err(ResolveError::NoSuchName));
        let found = found.map(|addresses| addresses.into_iter().map(|ip| ip.parse().unwrap()).collect());
        Box::pin(std::future::ready(found))
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }

    fn records<'a>(&'a self, name: &'a str, _: RecordKind) -> Lookup<'a, Answer> {
        panic!("look-up of {name}")
    }
}

fn book() -> Book {
    let timeout = ResolveError::Temporary(Fault::of(FaultKind::Timeout, "5 s"));
    Book {
        mx: [
            ("plain.test", vec![(10, "a.test"), (20, "b.test")]),
            ("broken.test", vec![(10, "slow.test"), (20, "b.test")]),
            ("slow.test", vec![(10, "slow.test"), (20, "gone.test")]),
            ("local.test", vec![(10, "loop.test")]),
            ("half.test", vec![(10, "loop.test"), (20, "both.test")]),
            ("ours.test", vec![(10, "front.test"), (20, "b.test")]),
            ("backup.test", vec![(10, "a.test"), (20, "front.test"), (20, "b.test"), (30, "many.test")]),
            ("waits.test", vec![(10, "slow.test"), (20, "front.test")]),
            ("many.test", vec![(10, "many.test"), (20, "b.test")]),
            ("void.test", vec![(10, "gone.test")]),
        ]
        .into(),
        hosts: [
            ("a.test", Ok(vec!["192.0.2.1"])),
            ("b.test", Ok(vec!["192.0.2.2"])),
            ("slow.test", Err(timeout)),
            ("gone.test", Err(ResolveError::NoSuchName)),
            ("loop.test", Ok(vec!["::1", "127.0.0.1"])),
            ("both.test", Ok(vec!["127.0.0.2", "192.0.2.3"])),
            ("front.test", Ok(vec!["2001:db8::25", "198.51.100.25"])),
            (
                "many.test",
                Ok(vec!["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "192.0.2.9"]),
            ),
            ("alone.test", Ok(vec!["192.0.2.4"])),
        ]
        .into(),
    }
}

/// The targets, or what is said without; and whether some host might do better later.
async fn found(hop: NextHop, selection: &Selection) -> (String, bool) {
    match targets(&book(), &hop, 25, selection).await {
        Ok(found) => {
            let address = |target: &Target| match &target.address {
                Address::Tcp(address) => address.ip().to_string(),
                Address::Unix(path) => path.display().to_string(),
            };
            (found.targets.iter().map(address).collect::<Vec<_>>().join(" "), found.unresolved.is_some())
        }
        Err(error) => {
            assert_eq!(error.permanent, error.reply.is_permanent(), "{error}");
            let status = error.reply.status.map(|status| status.to_string()).unwrap_or_default();
            (format!("{} {status}", error.reply.code), false)
        }
    }
}

fn own() -> Selection {
    let own = Own { addresses: vec!["198.51.100.25".parse().unwrap()], ..Own::default() };
    Selection { own, ..Selection::default() }
}

#[tokio::test]
async fn what_the_dns_leads_to() {
    let table = [
        ("plain.test", "192.0.2.1 192.0.2.2", false),
        ("alone.test", "192.0.2.4", false),
        // One failing look-up does not spoil the others, nor is it forgotten.
        ("broken.test", "192.0.2.2", true),
        ("slow.test", "451 4.4.3", false),
        ("void.test", "550 5.4.4", false),
        ("nowhere.test", "550 5.1.2", false),
        // Nobody is reached at this machine's own loopback, whatever a domain says.
        ("local.test", "550 5.4.4", false),
        ("loop.test", "550 5.4.4", false),
        ("half.test", "192.0.2.3", false),
        ("[127.0.0.1]", "550 5.4.4", false),
        ("[IPv6:::1]", "550 5.4.4", false),
        ("[192.0.2.1]", "192.0.2.1", false),
        // No host takes all places, and none of its families is left out.
        ("many.test", "2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.9 192.0.2.2", false),
    ];
    for (domain, expected, unresolved) in table {
        let found = found(NextHop::Mx(domain.into()), &Selection::default()).await;
        assert_eq!(found, (expected.to_owned(), unresolved), "{domain}");
    }
}

#[tokio::test]
async fn an_address_of_ours_cuts_the_list_there() {
    let table = [
        ("ours.test", "554 5.4.6", false),
        ("backup.test", "192.0.2.1", false),
        // What comes before us may be reached later; nothing comes back for now.
        ("waits.test", "451 4.4.3", false),
        ("front.test", "554 5.4.6", false),
        ("[198.51.100.25]", "554 5.4.6", false),
        ("plain.test", "192.0.2.1 192.0.2.2", false),
    ];
    for (domain, expected, unresolved) in table {
        let found = found(NextHop::Mx(domain.into()), &own()).await;
        assert_eq!(found, (expected.to_owned(), unresolved), "{domain}");
    }
    let named = Selection { own: Own { names: vec!["alone.test".into()], ..Own::default() }, ..Selection::default() };
    assert_eq!(found(NextHop::Mx("alone.test".into()), &named).await.0, "554 5.4.6", "by the implicit MX");
}

#[tokio::test]
async fn the_operators_own_hops_may_go_anywhere() {
    let smtp = |host: &str| NextHop::Smtp { host: host.into(), port: 25 };
    let lmtp = |host: &str| NextHop::Lmtp { host: host.into(), port: 24 };
    let table = [
        (smtp("loop.test"), "::1 127.0.0.1"),
        (smtp("127.0.0.1"), "127.0.0.1"),
        (lmtp("[::1]"), "::1"),
        (smtp("front.test"), "2001:db8::25 198.51.100.25"),
        (smtp("slow.test"), "451 4.4.3"),
        (smtp("gone.test"), "451 4.4.4"),
        (smtp("many.test"), "2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4 192.0.2.9"),
    ];
    for (hop, expected) in table {
        assert_eq!(found(hop.clone(), &own()).await.0, expected, "{hop:?}");
    }
}

#[tokio::test]
async fn what_was_passed_over_is_told() {
    let skip_hosts = ["a.test".into()].into();
    let selection = Selection { skip_hosts, max_hosts: 1, ..own() };
    let notes = |domain: &'static str| {
        let selection = selection.clone();
        async move { targets(&book(), &NextHop::Mx(domain.into()), 25, &selection).await.map(|found| found.notes) }
    };
    assert_eq!(notes("plain.test").await.unwrap(), ["10 a.test is left out: skip-hosts"]);
    assert_eq!(notes("many.test").await.unwrap(), ["20 b.test is left out: max-hosts"]);
    let found = targets(&book(), &NextHop::Mx("half.test".into()), 25, &own()).await.unwrap();
    assert!(found.notes.contains(&"20 both.test [127.0.0.2] is left out: no mail goes to 127.0.0.0/8".to_owned()));
}
