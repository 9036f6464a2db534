//! DANE from end to end: zones that are signed, a relay that validates them, and hosts that show what they published, or do
//! not (RFC 7672).

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::harness::{Relay, wait_for};
use crate::network::{Fault, Network, Peer};

const CONTENT: &str = "From: <a@client.test>\r\nSubject: a test\r\n\r\nhello\r\n";

/// A whole certificate, as a TLSA record has it.
fn hex(der: &[u8]) -> String {
    der.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn publish(network: &Network, domain: &str, peer: &Peer, record: &str) {
    network.names.add(&format!("_{}._tcp.mx.{domain} TLSA {record}", peer.address().port()));
}

/// The first line of the log about somebody at this domain.
fn first(relay: &Relay, domain: &str) -> String {
    let field = format!("recipient=b@{domain} ");
    wait_for(&field, || relay.log().lines().find(|line| line.contains(&field)).map(str::to_owned))
}

#[test]
fn a_host_gets_mail_if_it_shows_what_it_published_and_not_otherwise() {
    let network = Network::signed();
    let authority = CertificateDer::from_pem_file(network.office.file("ca")).unwrap();
    let domain = |domain: &'static str, script: &str| (domain, network.domain(domain, script));
    let own = |peer: &Peer| format!("3 0 0 {}", hex(&peer.certificate().unwrap()));

    let (ee, at_ee) = domain("ee.test", "certificate other");
    publish(&network, ee, &at_ee, &own(&at_ee));
    let (ta, at_ta) = domain("ta.test", "certificate good");
    publish(&network, ta, &at_ta, &format!("2 0 0 {}", hex(&authority)));
    let (unusable, at_unusable) = domain("unusable.test", "certificate expired");
    publish(&network, unusable, &at_unusable, &format!("1 1 1 {}", "01".repeat(32)));
    // Without signatures a record says nothing, and without a record everything is as ever.
    let (insecure, at_insecure) = domain("insecure.test", "");
    publish(&network, insecure, &at_insecure, &format!("3 1 1 {}", "01".repeat(32)));
    let (none, at_none) = domain("none.test", "");

    let (wrong, at_wrong) = domain("wrong.test", "certificate good");
    publish(&network, wrong, &at_wrong, &format!("3 1 1 {}", "01".repeat(32)));
    let (old, at_old) = domain("old.test", "certificate expired");
    publish(&network, old, &at_old, &format!("2 0 0 {}", hex(&authority)));
    let (bare, at_bare) = domain("bare.test", "");
    publish(&network, bare, &at_bare, &format!("3 1 1 {}", "01".repeat(32)));
    let (open, at_open) = domain("open.test", "");
    publish(&network, open, &at_open, &format!("1 1 1 {}", "01".repeat(32)));
    let (hidden, at_hidden) = domain("hidden.test", "certificate good");
    let question = format!("_{}._tcp.mx.{hidden}", at_hidden.address().port());
    network.names.fault(&question, "TLSA", Fault::Code(hickory_server::proto::op::ResponseCode::ServFail));

    let relay = network.relay("");
    let good = [(ee, &at_ee, true), (ta, &at_ta, true), (unusable, &at_unusable, true)];
    let good = good.into_iter().chain([(insecure, &at_insecure, false), (none, &at_none, false)]);
    for (domain, peer, secured) in good {
        relay.smtp().deliver("a@client.test", &[&format!("b@{domain}")], CONTENT);
        assert_eq!(peer.next().secured, secured, "{domain}");
    }
    for (domain, peer, why) in [
        (wrong, &at_wrong, "no TLSA record matches the certificate"),
        (old, &at_old, "the chain to the trust anchor of a TLSA record does not hold"),
        (bare, &at_bare, "the next hop offers no STARTTLS, and TLS is required"),
        (open, &at_open, "the next hop offers no STARTTLS, and TLS is required"),
        (hidden, &at_hidden, "TLSA records"),
    ] {
        relay.smtp().deliver("a@client.test", &[&format!("b@{domain}")], CONTENT);
        let line = first(&relay, domain);
        assert!(line.contains("deferred") && line.contains(why), "{domain}: {line}");
        assert!(!peer.said().iter().any(|said| said.starts_with("MAIL")), "{domain}: {:?}", peer.said());
    }
    assert_eq!(at_hidden.connections(), 0, "nobody asks for a certificate without knowing which");

    let told = relay.command(&["explain", ee]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("DANE: the certificate must match") && told.contains("validated"), "{told}");
}

#[test]
fn the_next_host_gets_what_the_first_may_not_have() {
    let network = Network::signed();
    network.names.add_all(&["two.test MX 10 a.two.test", "two.test MX 20 b.two.test"]);
    let (forged, good) =
        (network.host("a.two.test", "certificate other"), network.host("b.two.test", "certificate good"));
    let of = |peer: &Peer, host: &str, record: String| {
        network.names.add(&format!("_{}._tcp.{host} TLSA {record}", peer.address().port()));
    };
    of(&forged, "a.two.test", format!("3 1 1 {}", "01".repeat(32)));
    of(&good, "b.two.test", format!("3 0 0 {}", hex(&good.certificate().unwrap())));
    let relay = network.relay("tls = \"dane\"");
    relay.smtp().deliver("a@client.test", &["b@two.test"], CONTENT);
    assert!(good.next().secured);
    assert_eq!(forged.connections(), 1);

    // Who insists on DANE gets none of it to a host without records.
    let bare = network.domain("none.test", "certificate good");
    relay.smtp().deliver("a@client.test", &["b@none.test"], CONTENT);
    let line = first(&relay, "none.test");
    assert!(line.contains("deferred") && line.contains("4.7.5"), "{line}");
    assert_eq!(bare.connections(), 0);
}
