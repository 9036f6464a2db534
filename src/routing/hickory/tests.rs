//! Against a name server in this process, on a port of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider as Runtime;
use hickory_server::proto::rr::RData;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA};
use hickory_server::proto::rr::{LowerName, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::UdpSocket;

use super::*;
use crate::hooks::NextHop;
use crate::routing::{Address, FaultKind, Own, ReverseName, Selection, Target, confirmed_name, reverse_name, targets};

mod signed;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn mx(preference: u16, exchange: &str) -> RData {
    RData::MX(MX::new(preference, name(exchange)))
}

fn alias(to: &str) -> RData {
    RData::CNAME(CNAME(name(to)))
}

fn ptr(to: &str) -> RData {
    RData::PTR(PTR(name(to)))
}

fn ip(text: &str) -> RData {
    match text.parse().unwrap() {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn zone(origin: &str, records: Vec<(&str, RData)>) -> Arc<InMemoryZoneHandler<Runtime>> {
    let origin = name(origin);
    let mut zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
    let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
    for (owner, data) in records {
        let owner = name(owner).append_domain(&origin).unwrap();
        assert!(zone.upsert_mut(Record::from_rdata(owner, 60, data), 1));
    }
    Arc::new(zone)
}

/// The name server, for as long as it is held.
struct Zones {
    _server: Server<Catalog>,
    resolver: Hickory,
}

async fn zones() -> Zones {
    let test = zone(
        "test.",
        vec![
            ("both", mx(20, "b.test.")),
            ("both", mx(10, "A.test.")),
            ("a", ip("192.0.2.1")),
            ("a", ip("192.0.2.2")),
            ("a", ip("2001:db8::1")),
            ("b", ip("192.0.2.3")),
            ("implicit", ip("192.0.2.4")),
            ("null", mx(0, ".")),
            ("alias", alias("both.test.")),
            ("byalias", mx(10, "c.test.")),
            ("c", alias("b.test.")),
            ("lost", mx(10, "nowhere.test.")),
            ("nodata", RData::TXT(hickory_server::proto::rr::rdata::TXT::new(vec!["x".to_owned()]))),
            ("partly", mx(10, "host.elsewhere.")),
            ("partly", mx(20, "b.test.")),
            ("away", mx(10, "host.elsewhere.")),
            ("liar", ip("198.51.100.1")),
            ("round", alias("about.test.")),
            ("about", alias("round.test.")),
            ("dangling", alias("nowhere.test.")),
        ],
    );
    let reverse = zone(
        "2.0.192.in-addr.arpa.",
        vec![("1", ptr("liar.test.")), ("1", ptr("A.test.")), ("3", ptr("liar.test.")), ("4", ptr("x.elsewhere."))],
    );
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::from(name("test.")), vec![test]);
    catalog.upsert(LowerName::from(name("2.0.192.in-addr.arpa.")), vec![reverse]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::new(catalog);
    server.register_socket(socket);
    Zones { _server: server, resolver: Hickory::with_servers(&[address]).unwrap() }
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn answers_and_the_lack_of_them_are_told_apart() {
    let zones = zones().await;
    let resolver = &zones.resolver;
    let mut both = resolver.mx("both.test").await.unwrap();
    both.sort_by_key(|mx| mx.preference);
    let record = |preference, exchange: &str| Mx { preference, exchange: exchange.into() };
    assert_eq!(both, [record(10, "a.test"), record(20, "b.test")]);
    assert_eq!(resolver.mx("alias.test.").await.unwrap().len(), 2, "aliases are followed");
    assert_eq!(resolver.mx("null.test").await, Ok(vec![record(0, ".")]));
    assert_eq!(resolver.exchangers("alias.test").await.unwrap().name, "both.test".into());
    assert_eq!(resolver.mx("dangling.test").await, Err(ResolveError::NoSuchName));
    assert!(matches!(resolver.mx("round.test").await, Err(ResolveError::Temporary(_))), "aliases have an end");
    assert_eq!(resolver.mx("implicit.test").await, Err(ResolveError::NoData));
    assert_eq!(resolver.mx("nowhere.test").await, Err(ResolveError::NoSuchName));
    assert_eq!(resolver.mx("a..b").await, Err(ResolveError::NoSuchName));
    let refused = resolver.mx("host.elsewhere").await;
    assert!(matches!(&refused, Err(ResolveError::Temporary(fault)) if fault.kind == FaultKind::Refused), "{refused:?}");

    let a = resolver.addresses("a.test").await.unwrap();
    assert!(a[0].is_ipv6() && a[1].is_ipv4() && a[2].is_ipv4(), "families take turns: {a:?}");
    assert_eq!(a.into_iter().collect::<BTreeSet<_>>(), ips(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]));
    assert_eq!(resolver.addresses("c.test").await.unwrap(), ["192.0.2.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.addresses("nodata.test").await, Err(ResolveError::NoData));
    assert_eq!(resolver.addresses("nowhere.test").await, Err(ResolveError::NoSuchName));
    let refused = resolver.addresses("host.elsewhere").await;
    assert!(matches!(refused, Err(ResolveError::Temporary(_))), "{refused:?}");
}

#[tokio::test]
async fn a_client_has_the_name_that_leads_back_to_it() {
    let zones = zones().await;
    let confirmed = |ip: &'static str| {
        let resolver = zones.resolver.clone();
        async move { confirmed_name(&resolver, ip.parse().unwrap()).await }
    };
    assert_eq!(confirmed("192.0.2.1").await, Ok(Some("a.test".into())));
    assert_eq!(confirmed("::ffff:192.0.2.1").await, Ok(Some("a.test".into())));
    assert_eq!(confirmed("192.0.2.3").await, Ok(None), "its name has another address");
    assert_eq!(confirmed("192.0.2.9").await, Ok(None), "it has no name");
    assert!(confirmed("192.0.2.4").await.is_err(), "its name can't be asked for");
    let reverse = |ip: &'static str| {
        let resolver = zones.resolver.clone();
        async move { reverse_name(&resolver, ip.parse().unwrap()).await }
    };
    assert_eq!(reverse("192.0.2.1").await, Ok(ReverseName::Confirmed("a.test".into())));
    assert_eq!(reverse("192.0.2.3").await, Ok(ReverseName::Unconfirmed));
    assert_eq!(reverse("192.0.2.9").await, Ok(ReverseName::Nameless));
}

#[tokio::test]
async fn records_come_as_they_are() {
    let zones = zones().await;
    let records = |name: &'static str, kind| {
        let resolver = zones.resolver.clone();
        async move { resolver.records(name, kind).await.map(|answer| (answer.records, answer.ttl, answer.secure)) }
    };
    let one = |data| Ok((vec![data], 60, false));
    assert_eq!(records("nodata.test", RecordKind::Txt).await, one(RecordData::Text(b"x".to_vec())));
    let null = RecordData::Mx(Mx { preference: 0, exchange: ".".into() });
    assert_eq!(records("NULL.test.", RecordKind::Mx).await, one(null));
    assert_eq!(records("alias.test", RecordKind::Cname).await, one(RecordData::Name("both.test".into())));
    assert_eq!(records("b.test", RecordKind::A).await, one(RecordData::Address(Ipv4Addr::new(192, 0, 2, 3).into())));
    assert_eq!(records("c.test", RecordKind::A).await.unwrap().0.len(), 1, "aliases are followed");
    let name = RecordData::Name("liar.test".into());
    assert_eq!(records("3.2.0.192.in-addr.arpa", RecordKind::Ptr).await, one(name));
    assert_eq!(records("a.test", RecordKind::Tlsa).await, Err(ResolveError::NoData));
    assert_eq!(records("nowhere.test", RecordKind::Ns).await, Err(ResolveError::NoSuchName));
    assert!(matches!(records("host.elsewhere", RecordKind::Srv).await, Err(ResolveError::Temporary(_))));
}

/// A server that answers each question with one address, and claims to have validated it if it was asked to say so.
async fn claiming() -> SocketAddr {
    use hickory_server::proto::op::{Message, OpCode};
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut octets).await {
            let asked = Message::from_vec(&octets[..length]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.metadata.authentic_data = asked.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
            let query = asked.queries[0].clone();
            answer.add_answers([Record::from_rdata(query.name().clone(), 9, ip("192.0.2.7"))]);
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn only_a_server_on_this_machine_is_believed_to_have_validated() {
    let server = claiming().await;
    let resolver = Hickory::with_servers(&[server]).unwrap();
    assert_eq!(resolver.validation(), "the name servers");
    for asked in ["first", "from the cache"] {
        let answer = resolver.records("signed.test", RecordKind::A).await.unwrap();
        assert_eq!((answer.ttl, answer.secure), (9, true), "{asked}");
    }
    let off = Hickory::new(&Dns { servers: vec![server], dnssec: Dnssec::Off, ..Dns::default() }).unwrap();
    assert!(!off.records("signed.test", RecordKind::A).await.unwrap().secure);
    let far = Hickory::with_servers(&[([192, 0, 2, 1], 53).into(), ([127, 0, 0, 1], 53).into()]).unwrap();
    assert_eq!(far.validation(), "nobody");
}

/// `host address:port` of each target.
fn short(targets: &[Target]) -> Vec<String> {
    let one = |target: &Target| match &target.address {
        Address::Tcp(address) => format!("{} {address}", target.host),
        Address::Unix(path) => format!("{} {}", target.host, path.display()),
    };
    targets.iter().map(one).collect()
}

#[tokio::test]
async fn hops_become_targets() {
    let zones = zones().await;
    let smtp = |host: &str| NextHop::Smtp { host: host.into(), port: 587 };
    let lmtp = |host: &str| NextHop::Lmtp { host: host.into(), port: 24 };
    let table: &[(NextHop, &[&str])] = &[
        (NextHop::Mx("implicit.test".into()), &["implicit.test 192.0.2.4:2525"]),
        (NextHop::Mx("byalias.test".into()), &["c.test 192.0.2.3:2525"]),
        (NextHop::Mx("partly.test".into()), &["b.test 192.0.2.3:2525"]),
        (NextHop::Mx("[192.0.2.9]".into()), &["[192.0.2.9] 192.0.2.9:2525"]),
        (NextHop::Mx("[IPv6:2001:db8::9]".into()), &["[IPv6:2001:db8::9] [2001:db8::9]:2525"]),
        (smtp("b.test"), &["b.test 192.0.2.3:587"]),
        (smtp("192.0.2.9"), &["192.0.2.9 192.0.2.9:587"]),
        (smtp("::1"), &["::1 [::1]:587"]),
        (lmtp("[::1]"), &["[::1] [::1]:24"]),
        (lmtp("unix:/run/lmtp"), &["unix:/run/lmtp /run/lmtp"]),
    ];
    for (hop, want) in table {
        let got = targets(&zones.resolver, hop, 2525, &Selection::default()).await.unwrap().targets;
        assert_eq!(short(&got), *want, "{hop:?}");
        assert!(got.iter().all(|target| target.lmtp == matches!(hop, NextHop::Lmtp { .. })));
    }
    let to_both = NextHop::Mx("both.test".into());
    let both = targets(&zones.resolver, &to_both, 25, &Selection::default()).await.unwrap().targets;
    assert_eq!(short(&both)[0], "a.test [2001:db8::1]:25");
    assert_eq!((both.len(), short(&both)[3].as_str()), (4, "b.test 192.0.2.3:25"));
    let own = Own { names: vec!["B.test".into()], ..Own::default() };
    let beyond = targets(&zones.resolver, &to_both, 25, &Selection { own, ..Selection::default() }).await.unwrap();
    assert_eq!(beyond.targets.len(), 3, "not to ourselves");
    let partly = NextHop::Mx("partly.test".into());
    let partly = targets(&zones.resolver, &partly, 25, &Selection::default()).await.unwrap();
    assert!(!partly.unresolved.unwrap().permanent, "one of its hosts might do better later");
}

#[tokio::test]
async fn hops_without_targets_say_why() {
    let zones = zones().await;
    let table = [
        (NextHop::Mx("nowhere.test".into()), true, "550 5.1.2"),
        (NextHop::Mx("nodata.test".into()), true, "550 5.4.4"),
        (NextHop::Mx("null.test".into()), true, "556 5.1.10"),
        (NextHop::Mx("lost.test".into()), true, "550 5.4.4"),
        (NextHop::Mx("away.test".into()), false, "451 4.4.3"),
        (NextHop::Mx("host.elsewhere".into()), false, "451 4.4.3"),
        (NextHop::Mx("".into()), true, "550 5.1.2"),
        (NextHop::Mx("[x]".into()), true, "550 5.1.2"),
        (NextHop::Smtp { host: "nowhere.test".into(), port: 25 }, false, "451 4.4.4"),
        (NextHop::Named("archive".into()), false, "451 4.3.5"),
    ];
    for (hop, permanent, want) in table {
        let error = targets(&zones.resolver, &hop, 25, &Selection::default()).await.unwrap_err();
        assert_eq!(error.permanent, permanent, "{hop:?}");
        assert!(error.to_string().starts_with(want), "{hop:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_answer() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let resolver = Hickory::with_servers(&[silent.local_addr().unwrap()]).unwrap();
    let answer = resolver.mx("example.net").await;
    assert!(matches!(&answer, Err(ResolveError::Temporary(fault)) if fault.kind == FaultKind::Timeout), "{answer:?}");
    let answer = resolver.addresses("example.net").await;
    assert!(matches!(answer, Err(ResolveError::Temporary(_))), "{answer:?}");
}

/// A server that counts questions: `a.test` has an address for 9 seconds, `none.test` has none for 5, others fail.
async fn counting() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    use hickory_server::proto::op::{Message, OpCode, ResponseCode};
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (socket.local_addr().unwrap(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut octets).await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let asked = Message::from_vec(&octets[..length]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            let query = asked.queries[0].clone();
            match query.name().to_ascii().as_str() {
                "a.test." => {
                    answer.add_answers([Record::from_rdata(query.name().clone(), 9, ip("192.0.2.7"))]);
                }
                "none.test." => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    let soa = SOA::new(name("test."), name("test."), 1, 60, 60, 60, 5);
                    answer.add_authorities([Record::from_rdata(name("test."), 60, RData::SOA(soa))]);
                }
                _ => answer.metadata.response_code = ResponseCode::ServFail,
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    (address, count)
}

#[tokio::test]
async fn answers_and_the_lack_of_them_are_kept_as_long_as_they_hold() {
    let (server, count) = counting().await;
    let asked = || count.swap(0, std::sync::atomic::Ordering::Relaxed);
    let dns = Dns { servers: vec![server], attempts: Some(0), prefer: Prefer::Ipv4Only, ..Dns::default() };
    let resolver = Hickory::new(&dns).unwrap();
    for wanted in [1, 0] {
        assert_eq!(resolver.addresses("a.test").await.unwrap().len(), 1);
        assert_eq!(resolver.addresses("none.test").await, Err(ResolveError::NoSuchName));
        assert_eq!(asked(), 2 * wanted);
    }
    for wanted in [1, 0] {
        let answer = resolver.addresses("fails.test").await;
        let failed = matches!(&answer, Err(ResolveError::Temporary(fault)) if fault.kind == FaultKind::ServerFailure);
        assert!(failed, "{answer:?}");
        assert!(asked() >= wanted, "a failure is kept for a moment, so that a queue does not beat on it");
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(5500)).await;
    tokio::time::resume();
    assert_eq!(resolver.addresses("none.test").await, Err(ResolveError::NoSuchName));
    resolver.addresses("a.test").await.unwrap();
    assert_eq!(asked(), 1, "only the answer without a record is over");

    let short = Dns { max_ttl: Duration::ZERO, negative_ttl: Duration::ZERO, ..dns.clone() };
    let resolver = Hickory::new(&short).unwrap();
    for _ in 0..2 {
        resolver.addresses("a.test").await.unwrap();
        assert_eq!(resolver.addresses("none.test").await, Err(ResolveError::NoSuchName));
        assert_eq!(asked(), 2);
    }
    let long = Hickory::new(&Dns { min_ttl: Duration::from_secs(60), ..dns }).unwrap();
    assert_eq!(long.records("a.test", RecordKind::A).await.unwrap().ttl, 60);
}

#[test]
fn families_come_as_they_are_preferred() {
    let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let (six, four) = (all(&["2001:db8::1", "2001:db8::2"]), all(&["192.0.2.1"]));
    let table = [
        (Prefer::Alternate, all(&["2001:db8::1", "192.0.2.1", "2001:db8::2"])),
        (Prefer::Ipv6, all(&["2001:db8::1", "2001:db8::2", "192.0.2.1"])),
        (Prefer::Ipv4, all(&["192.0.2.1", "2001:db8::1", "2001:db8::2"])),
        (Prefer::Ipv6Only, six.clone()),
        (Prefer::Ipv4Only, four.clone()),
    ];
    for (prefer, expected) in table {
        assert_eq!(ordered(six.clone(), four.clone(), prefer), expected, "{prefer:?}");
    }
}
