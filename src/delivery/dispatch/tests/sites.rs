//! Sites, over loopback: what domains with the same exchangers share, what complaints lead to, and that nobody waits for the
//! dead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::*;
use crate::delivery::shaping::{Adjustments, Rule, Shaping, Whom, shipped};
use crate::delivery::{Destination, Pool, Question, Source};
use crate::hooks::Route;
use crate::mail::Domain;
use crate::routing::{Answer, Lookup, Mx, RecordKind, ResolveError, Resolver, Selection, Table};

/// All domains below `shared.test` lead to two hosts, all others to hosts of their own. Every host is this one, by two
/// addresses.
pub(super) struct Names;

impl Resolver for Names {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        let mx = |preference, exchange: &str| Mx { preference, exchange: exchange.into() };
        let records = match domain {
            "lame.test" => Err(ResolveError::Temporary("SERVFAIL".into())),
            shared if shared.ends_with(".shared.test") => Ok(vec![mx(10, "a.mx.test"), mx(20, "b.mx.test")]),
            alone => Ok(vec![mx(10, &format!("mx.{alone}"))]),
        };
        Box::pin(std::future::ready(records))
    }
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        let stalls = host.starts_with("mx.stalls");
        let address = if stalls { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST };
        Box::pin(std::future::ready(Ok(vec![address.into()])))
    }
    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }
    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        panic!("look-up of {kind:?} {name}")
    }
}

/// Exchangers are this very host.
pub(super) fn here() -> Selection {
    Selection { never: Arc::default(), dane: false, ..Selection::default() }
}

async fn by_mx(config: Config, to: SocketAddr) -> Rig {
    let config = Config { mx_port: to.port(), selection: here(), ..config };
    Rig::with(config, None, Script::default(), Arc::new(Names)).await
}

fn sites(rig: &Rig) -> Vec<Value> {
    rig.dispatcher.destinations().iter().map(|line| serde_json::to_value(line).unwrap()).collect()
}

fn site<'a>(sites: &'a [Value], name: &str) -> &'a Value {
    sites.iter().find(|site| site["site"] == name).unwrap_or_else(|| panic!("{name} in {sites:?}"))
}

#[tokio::test]
async fn domains_with_the_same_exchangers_share_their_connections() {
    let mut sink = Sink::start(usual).await;
    let limits = LaneLimits { connections: 2, ..LaneLimits::default() };
    let mut rig = by_mx(limited(limits), sink.address).await;
    for n in 0..60 {
        rig.accept("sue@example.org", &[&format!("ann@d{}.shared.test", n % 6)]).await;
    }
    rig.run();
    for _ in 0..60 {
        take(&mut sink).await;
    }
    rig.empty().await;
    let sites = sites(&rig);
    rig.stop().await;
    assert_eq!(sites.len(), 1);
    assert_eq!((&sites[0]["site"], &sites[0]["limit"]), (&"(a|b).mx.test".into(), &2.into()));
    // One that was closed a moment ago may not be gone at the other end.
    let most = sink.most.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} connections at a time for six domains, two for their site");
    assert!(sink.connections() >= 6, "but each domain has connections of its own");
}

#[tokio::test]
async fn a_domain_that_can_not_be_looked_up_holds_nobody_up() {
    let mut sink = Sink::start(usual).await;
    let mut rig = by_mx(config(), sink.address).await;
    rig.run();
    let lame = rig.accept("sue@example.org", &["ann@lame.test"]).await;
    rig.accept("sue@example.org", &["ann@fine.test"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["ann@fine.test"]);
    let last = rig.tried(lame, 1).await.recipients[0].state.last.clone().unwrap();
    assert_eq!((last.stage, last.reply.unwrap().code), (Stage::Resolve, 451));
    rig.stop().await;
}

fn overworked(_: usize, line: &str) -> Option<&'static str> {
    line.starts_with("MAIL").then_some("450 4.7.1 too many messages from your host, slow down\r\n")
}

#[tokio::test]
async fn complaints_slow_the_site_down_and_are_shown_with_their_cause() {
    let sink = Sink::start(overworked).await;
    let config = Config { shaping: Shaping { backoff: shipped(), ..Shaping::default() }, ..config() };
    let mut rig = by_mx(config, sink.address).await;
    rig.run();
    for name in ["one", "two"] {
        let id = rig.accept("sue@example.org", &[&format!("ann@{name}.shared.test")]).await;
        rig.tried(id, 1).await;
    }
    let sites = sites(&rig);
    let line = site(&sites, "(a|b).mx.test");
    assert_eq!(
        (&line["state"], &line["backoff"], &line["earned"]),
        (&"slow".into(), &"rate-limited".into(), &1.into())
    );
    let question = Question { domain: Domain::parse("three.shared.test").unwrap(), tenant: None, null_sender: false };
    let told = serde_json::to_value(rig.dispatcher.explain(&question).await).unwrap();
    assert_eq!(told["states"][0]["backoff"], "rate-limited", "also for a domain that had no mail yet");
    assert_eq!(told["hops"][0]["exchangers"][1]["host"], "b.mx.test");
    assert!(told["limits"][0]["because"] == "default" && told["retry"]["waits"][0] == "5m", "{told}");
    rig.stop().await;
}

fn blocking(_: usize, line: &str) -> Option<&'static str> {
    line.starts_with("MAIL").then_some("554 5.7.1 your IP is blocked\r\n")
}

#[tokio::test]
async fn a_suspended_site_is_left_alone_and_its_mail_comes_back_after_that() {
    let sink = Sink::start(blocking).await;
    let mut backoff = shipped();
    backoff.iter_mut().for_each(|backoff| backoff.count = 1);
    let config = Config { shaping: Shaping { backoff, ..Shaping::default() }, ..config() };
    let mut rig = by_mx(config, sink.address).await;
    rig.run();
    rig.accept("", &["ann@one.shared.test"]).await;
    rig.empty().await;
    let commands = sink.connections();
    // The connection of the first domain is gone, or idle: another domain needs one of its own.
    let second = rig.accept("", &["ann@two.shared.test"]).await;
    let record = rig.tried(second, 1).await;
    assert_eq!(sink.connections(), commands, "nobody asked again");
    let state = &record.recipients[0].state;
    let last = state.last.clone().unwrap();
    assert_eq!(last.reply.unwrap().to_string(), "450 4.4.1 the next hop could not be reached a moment ago");
    assert!(last.error.unwrap().starts_with("554 5.7.1 your IP is blocked (back-off blocked"));
    let wait = state.due.since(rig.clock.now()).as_secs();
    assert!((1790..=3600).contains(&wait), "{wait}: after the 30 minutes, and spread over as many");
    rig.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_limits_of_lanes_that_are_there() {
    let mut sink = Sink::start(usual).await;
    let mut rig = by_mx(config(), sink.address).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@one.shared.test"]).await;
    take(&mut sink).await;
    let rule = Rule {
        name: "few".into(),
        whom: Whom { mx: vec![".mx.test".into()], ..Whom::default() },
        set: Adjustments { connections: Some(3), ..Adjustments::default() },
    };
    let shaping = Shaping { rules: vec![rule], ..Shaping::default() };
    rig.reload(Config { shaping, mx_port: sink.address.port(), selection: here(), ..config() });
    rig.accept("sue@example.org", &["ann@one.shared.test"]).await;
    take(&mut sink).await;
    assert_eq!(site(&sites(&rig), "(a|b).mx.test")["limit"], 3);
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_fixed_next_hop_is_a_site_too() {
    let mut sink = Sink::start(usual).await;
    let mut config = config();
    let inner = Route { lane: Some("slow".into()), ..to(sink.address) };
    config.lanes.insert("slow".into(), LaneLimits { connections: 1, ..LaneLimits::default() });
    config.destinations.insert("smart".into(), Destination::Route(Arc::new(inner)));
    let mut rig = Rig::new(config, named("smart"), Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    take(&mut sink).await;
    rig.empty().await;
    let sites = sites(&rig);
    let line = site(&sites, &sink.address.to_string());
    assert_eq!(
        (&line["lane"], &line["limit"], &line["names"][0]),
        (&"slow".into(), &1.into(), &"destination smart".into())
    );
    rig.table.store(Arc::new(Table::default()));
    rig.stop().await;
}

#[tokio::test]
async fn sites_that_stall_hold_nobody_up() {
    let mut sink = Sink::start(usual).await;
    let stalled = tokio::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), sink.address.port())).await.unwrap();
    let config = Config { max_connections: 8, ..config() };
    let mut rig = by_mx(config, sink.address).await;
    rig.run();
    // One that has answered does not stand in line with those that may be dead.
    rig.accept("sue@example.org", &["ann@fine.test"]).await;
    take(&mut sink).await;
    for n in 0..200 {
        rig.accept("sue@example.org", &[&format!("ann@stalls{}.test", n % 100)]).await;
    }
    for _ in 0..40 {
        rig.accept("sue@example.org", &["ann@fine.test"]).await;
    }
    let (mut held, mut arrived) = (Vec::new(), 0);
    while arrived < 40 {
        tokio::select! {
            biased;
            Ok((stream, _)) = stalled.accept() => held.push(stream),
            taken = take(&mut sink) => {
                assert_eq!(taken.recipients, ["ann@fine.test"]);
                arrived += 1;
            }
        }
    }
    while rig.queue.counts().messages > 200 {
        tokio::task::yield_now().await;
    }
    assert!(held.len() <= 4, "{} sockets for those that never answered, of 8", held.len());
    drop((held, stalled));
    rig.stop().await;
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_and_its_share_leaves_from_the_others() {
    let mut sink = Sink::start(usual).await;
    let mut config = config();
    let source = |address: &str, ehlo: &str| Source {
        addresses: vec![address.parse().unwrap()],
        ehlo: Some(ehlo.into()),
        ..Source::default()
    };
    // Not an address of this host.
    config.sources.insert("broken".into(), source("192.0.2.77", "broken.test"));
    config.sources.insert("good".into(), source("127.0.0.3", "good.test"));
    let members = vec![("broken".into(), 9), ("good".into(), 1)];
    config.pools.insert("both".into(), Pool { members, sticky: false });
    let route = Route { source: Some("both".into()), ..to(sink.address) };
    let mut rig = Rig::new(config, route, Script::default()).await;
    rig.run();
    for _ in 0..20 {
        rig.accept("sue@example.org", &["ann@example.net"]).await;
    }
    for _ in 0..20 {
        assert_eq!(take(&mut sink).await.recipients, ["ann@example.net"]);
    }
    rig.empty().await;
    let sites = sites(&rig);
    assert!(sites.iter().any(|site| site["source"] == "good" && site["state"] == "ready"), "{sites:?}");
    assert!(sites.iter().all(|site| site["rest-secs"].is_null()), "the next hop is not to blame: {sites:?}");
    rig.stop().await;
}

/// Two hops, each from a source of its own.
fn two_hops(first: SocketAddr, x: &str, second: SocketAddr, y: &str) -> (Config, Route) {
    let mut config = config();
    let source = |address: &str| Source { addresses: vec![address.parse().unwrap()], ..Source::default() };
    let mut hops = Vec::new();
    for (name, source_name, next, address) in [("a", "x", first, x), ("b", "y", second, y)] {
        config.sources.insert(source_name.into(), source(address));
        let route = Route { source: Some(source_name.into()), ..to(next) };
        config.destinations.insert(name.into(), Destination::Route(Arc::new(route)));
        hops.push(crate::hooks::NextHop::Named(name.into()));
    }
    (config, Route { hops, ..Route::default() })
}

#[tokio::test]
async fn the_source_of_another_hop_is_not_held_against_that_of_the_first() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    // The first host is dead, and the second can't be reached from this host.
    let (config, route) = two_hops(dead, "127.0.0.3", dead, "192.0.2.77");
    let mut rig = Rig::new(config, route, Script::default()).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["ann@example.net"]).await;
    let last = rig.tried(id, 1).await.recipients[0].state.last.clone().unwrap();
    assert_eq!((last.kind, last.stage, &*last.remote.unwrap()), (OutcomeKind::Temporary, Stage::Connect, "127.0.0.1"));
    let trouble = |name: &str| rig.dispatcher.sources().lock().trouble(name, rig.clock.now()).is_some();
    assert_eq!((trouble("x"), trouble("y")), (false, true));
    rig.stop().await;
}

#[tokio::test]
async fn a_hop_with_a_source_of_its_own_is_tried_where_that_of_the_first_fails() {
    let mut sink = Sink::start(usual).await;
    let (config, route) = two_hops(sink.address, "192.0.2.77", sink.address, "127.0.0.3");
    let mut rig = Rig::new(config, route, Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["ann@example.net"]);
    rig.empty().await;
    let trouble = |name: &str| rig.dispatcher.sources().lock().trouble(name, rig.clock.now()).is_some();
    assert_eq!((trouble("x"), trouble("y")), (true, false), "that the other works does not mend the first");
    assert!(sites(&rig).iter().all(|site| site["rest-secs"].is_null()), "no host is to blame");
    rig.stop().await;
}

#[tokio::test]
async fn without_a_source_mail_waits_and_says_why() {
    let sink = Sink::start(usual).await;
    let mut config = config();
    let broken = Source { addresses: vec!["192.0.2.77".parse().unwrap()], ..Source::default() };
    config.sources.insert("broken".into(), broken);
    let route = Route { source: Some("broken".into()), ..to(sink.address) };
    let mut rig = Rig::new(config, route, Script::default()).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["ann@example.net"]).await;
    let last = rig.tried(id, 1).await.recipients[0].state.last.clone().unwrap();
    assert_eq!((last.kind, last.stage), (OutcomeKind::Temporary, Stage::Queue));
    let error = last.error.unwrap();
    assert!(error.contains("source address 192.0.2.77"), "{error}");
    assert_eq!(sink.connections(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn what_waits_for_its_turn_is_given_up_in_time() {
    let mut sink = Sink::start(usual).await;
    let limits = LaneLimits { per_hour: Some(1), ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("", &["ann@example.net"]).await;
    take(&mut sink).await;
    let late = rig.accept_with("", &["bob@example.net"], |record| {
        record.arrived = record.arrived.minus(Duration::from_secs(6 * 86_400));
        record.recipients[0].state.attempts = 1;
    });
    let late = late.await;
    rig.until(|rig| rig.record(late).is_none()).await;
    let waits = rig.accept("", &["cis@example.net"]).await;
    let soon = rig.clock.now();
    rig.until(|rig| rig.record(waits).is_some_and(|r| r.recipients[0].state.due > soon)).await;
    assert_eq!(rig.record(waits).unwrap().recipients[0].state.attempts, 0, "its turn is to come");
    assert!(sink.taken.try_recv().is_err());
    rig.stop().await;
}
