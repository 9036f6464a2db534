//! Name servers that are slow, wrong or gone, and zones that make no sense. What can't be known is never taken for a "no".

use super::{CONTENT, first, is_done};
use crate::network::{Fault, Network};
use hickory_server::proto::op::ResponseCode;

/// What is said of a domain while its name server does this, until it is healed.
const FAULTS: &[(&str, &str)] = &[
    ("silent", "stage=Resolve reply=451 4.4.3"),
    ("servfail", "stage=Resolve reply=451 4.4.3"),
    ("refused", "stage=Resolve reply=451 4.4.3"),
    ("notimp", "stage=Resolve reply=451 4.4.3"),
    ("address-silent", "stage=Resolve reply=451 4.4.3"),
    ("address-servfail", "stage=Resolve reply=451 4.4.3"),
];

#[test]
fn a_name_server_that_fails_delays_mail_and_loses_none() {
    let network = Network::new();
    let peer = network.host("mx.good.test", "");
    for (name, _) in FAULTS {
        network.names.add_all(&[
            format!("{name}.test MX 10 mx.{name}.test"),
            format!("mx.{name}.test A {}", peer.address().ip()),
        ]);
    }
    let code = Fault::Code;
    network.names.fault("mx.address-silent.test", "ANY", Fault::Silence);
    network.names.fault("mx.address-servfail.test", "ANY", code(ResponseCode::ServFail));
    network.names.fault("silent.test", "ANY", Fault::Silence);
    network.names.fault("servfail.test", "ANY", code(ResponseCode::ServFail));
    network.names.fault("refused.test", "ANY", code(ResponseCode::Refused));
    network.names.fault("notimp.test", "ANY", code(ResponseCode::NotImp));
    let relay = network.relay("");
    for (name, _) in FAULTS {
        relay.smtp().deliver("a@client.test", &[&format!("b@{name}.test")], CONTENT);
    }
    for (name, why) in FAULTS {
        let line = first(&relay, &format!("b@{name}.test"));
        assert!(line.contains("deferred") && line.contains(why), "{name}: {line}");
    }
    assert_eq!(peer.waiting(), 0);
    network.names.heal();
    peer.has(FAULTS.len());
    is_done(&relay);
    assert_eq!(peer.waiting(), FAULTS.len(), "each came once");
}

#[test]
fn a_name_server_that_flaps_or_cuts_short_is_asked_again() {
    let network = Network::new();
    let peer = network.host("mx.good.test", "");
    network.names.add_all(&["flaps.test MX 10 mx.good.test", "long.test MX 10 mx.good.test"]);
    network.names.fault("flaps.test", "MX", Fault::Flap);
    network.names.fault("long.test", "MX", Fault::Truncate);
    let relay = network.relay("");
    for name in ["flaps", "long"] {
        relay.smtp().deliver("a@client.test", &[&format!("b@{name}.test")], CONTENT);
    }
    peer.has(2);
    is_done(&relay);
    assert_eq!(peer.waiting(), 2);
    let over_tcp = |(name, kind, tcp): &(String, String, bool)| name == "long.test" && kind == "MX" && *tcp;
    assert!(network.names.asked().iter().any(over_tcp), "{:?}", network.names.asked());
    assert!(first(&relay, "b@long.test").contains("delivered"), "in the first attempt");
}

#[test]
fn a_resolver_that_dies_and_comes_back_costs_time_only() {
    let network = Network::new();
    let peer = network.domain("there.test", "");
    let relay = network.relay("");
    network.names.die();
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let line = first(&relay, "b@there.test");
    assert!(line.contains("deferred") && line.contains("stage=Resolve reply=451 4.4.3"), "{line}");
    network.names.revive();
    assert_eq!(peer.next().recipients, ["b@there.test"]);
    is_done(&relay);
    assert_eq!(peer.waiting(), 0);
}

#[test]
fn zones_that_make_no_sense_are_told_apart() {
    let network = Network::new();
    let home = network.domain("client.test", "");
    let there = network.host("mx.there.test", "");
    network.names.add_all(&[
        "null.test MX 0 .",
        "nowhere.test MX 10 mx.nowhere.test",
        "itself.test MX 10 relay.test",
        "backup.test MX 10 mx.gone.test",
        "backup.test MX 20 mx.there.test",
        "alias.test CNAME real.test",
        "real.test MX 10 mx.there.test",
        "mx-alias.test MX 10 other.test",
        "other.test CNAME mx.there.test",
        "circle.test CNAME circle2.test",
        "circle2.test CNAME circle.test",
    ]);
    network.names.add(&format!("implicit.test A {}", there.address().ip()));
    network.names.add(&format!("relay.test A {}", there.address().ip()));
    let relay = network.relay("");
    for (domain, status) in
        [("absent.test", "5.1.2"), ("null.test", "5.1.10"), ("nowhere.test", "5.4.4"), ("itself.test", "5.4.6")]
    {
        relay.smtp().deliver("a@client.test", &[&format!("b@{domain}")], CONTENT);
        let bounce = home.next().text();
        assert!(bounce.contains(&format!("Status: {status}")), "{domain}: {bounce}");
    }
    for domain in ["backup.test", "alias.test", "mx-alias.test", "implicit.test"] {
        relay.smtp().deliver("a@client.test", &[&format!("b@{domain}")], CONTENT);
        assert_eq!(there.next().recipients, [format!("b@{domain}")]);
    }
    // Who can say that it will never end?
    relay.smtp().deliver("a@client.test", &["b@circle.test"], CONTENT);
    let line = first(&relay, "b@circle.test");
    assert!(line.contains("deferred"), "{line}");
    assert_eq!((home.waiting(), there.waiting()), (0, 0));
}

#[test]
fn the_hosts_of_a_domain_are_tried_in_their_order() {
    let network = Network::new();
    let last = network.host("last.test", "");
    let busy = network.host("busy.test", "banner: reply 421 4.3.2 busy");
    let closed = network.host("closed.test", "banner: reply 554 5.3.2 no mail here");
    network.names.add_all(&[
        "there.test MX 10 refuses.test",
        "there.test MX 20 busy.test",
        "there.test MX 30 closed.test",
        "there.test MX 40 silent.test",
        "there.test MX 50 last.test",
    ]);
    network
        .names
        .add_all(&[format!("refuses.test A {}", network.nobody()), format!("silent.test A {}", network.silence())]);
    let relay = network.relay("");
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    assert_eq!(last.next().recipients, ["b@there.test"]);
    is_done(&relay);
    let line = first(&relay, "b@there.test");
    assert!(line.contains("delivered") && line.contains("remote=\"last.test\""), "{line}");
    assert_eq!((busy.connections(), closed.connections(), last.waiting()), (1, 1, 0));
}

#[test]
fn answers_that_were_forged_are_not_believed() {
    let network = Network::signed();
    let (there, thief) = (network.domain("there.test", ""), network.host("mx.thief.test", ""));
    network.names.add_all(&[
        "insecure.test MX 10 mx.insecure.test".to_owned(),
        format!("mx.insecure.test A {}", there.address().ip()),
    ]);
    network.names.fault("there.test", "MX", Fault::Lie(vec!["there.test MX 10 mx.thief.test"]));
    let relay = network.relay("");
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let line = first(&relay, "b@there.test");
    assert!(line.contains("deferred") && line.contains("4.4.3"), "{line}");
    // Unsigned where the zone above says so, it is as good as ever.
    relay.smtp().deliver("a@client.test", &["b@insecure.test"], CONTENT);
    assert_eq!(there.next().recipients, ["b@insecure.test"]);
    network.names.heal();
    assert_eq!(there.next().recipients, ["b@there.test"]);
    is_done(&relay);
    assert_eq!((thief.connections(), there.waiting()), (0, 0));
}
