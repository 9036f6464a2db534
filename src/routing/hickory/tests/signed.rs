//! The relay validates by itself: a signed zone whose key is the trust anchor, with what lies below it: a signed zone, one
//! that is not, and one whose signatures are somebody else's.

use std::pin::Pin;

use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::Time;
use hickory_server::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_server::proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey};
use hickory_server::proto::rr::rdata::{NS, TLSA};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};

use super::*;
use crate::routing::{Tlsa, describe};

/// A parent answers for DS at a zone cut, and the zone itself for everything else.
struct Servers {
    parents: Catalog,
    all: Catalog,
}

impl RequestHandler for Servers {
    fn handle_request<'life0, 'life1, 'async_trait, R, T>(
        &'life0 self,
        request: &'life1 Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'async_trait>>
    where
        R: ResponseHandler + 'async_trait,
        T: Time + 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        let info = request.request_info().unwrap();
        let of = if info.query.query_type() == RecordType::DS { &self.parents } else { &self.all };
        of.handle_request::<R, T>(request, response_handle)
    }
}

type Handler = InMemoryZoneHandler<Runtime>;

fn signed(origin: &str, key: &EcdsaSigningKeyOf, records: Vec<(&str, RData)>) -> Handler {
    let origin = name(origin);
    let mut zone =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, Some(NxProofKind::Nsec));
    let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::NS(NS(name("ns.test.")))), 1);
    for (owner, data) in records {
        let owner = name(owner).append_domain(&origin).unwrap();
        assert!(zone.upsert_mut(Record::from_rdata(owner, 60, data), 1));
    }
    let signer = DnssecSigner::new(key.public(), Box::new(key.private()), origin, Duration::from_secs(86400));
    zone.add_zone_signing_key_mut(signer).unwrap();
    zone.secure_zone_mut().unwrap();
    zone
}

/// A key, as often as it is needed.
struct EcdsaSigningKeyOf(Vec<u8>);

impl EcdsaSigningKeyOf {
    fn new() -> Self {
        Self(EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap().secret_pkcs8_der().to_vec())
    }

    fn private(&self) -> EcdsaSigningKey {
        EcdsaSigningKey::from_pkcs8(&self.0.as_slice().into(), Algorithm::ECDSAP256SHA256).unwrap()
    }

    fn public(&self) -> DNSKEY {
        DNSKEY::from_key(&self.private().to_public_key().unwrap())
    }

    /// For the parent's zone.
    fn ds(&self, zone: &str) -> RData {
        let key = self.public();
        let digest = key.to_digest(&name(zone), DigestType::SHA256).unwrap();
        let tag = key.calculate_key_tag().unwrap();
        let ds = DS::new(tag, Algorithm::ECDSAP256SHA256, DigestType::SHA256, digest.as_ref().to_vec());
        RData::DNSSEC(DNSSECRData::DS(ds))
    }
}

fn tlsa(usage: u8, data: u8, length: usize) -> RData {
    RData::TLSA(TLSA::new(usage.into(), 1.into(), 1.into(), vec![data; length]))
}

fn below(zone: &str) -> Vec<(&str, RData)> {
    vec![
        ("mx", ip("192.0.2.9")),
        ("_25._tcp.mx", tlsa(3, 9, 32)),
        ("", mx(10, &format!("mx.{zone}"))),
        ("up", alias("mx.test.")),
    ]
}

/// A resolver that validates; its servers live as long as what else is returned.
async fn validating() -> (Hickory, impl Sized) {
    let (top, sub, forged, foreign) =
        (EcdsaSigningKeyOf::new(), EcdsaSigningKeyOf::new(), EcdsaSigningKeyOf::new(), EcdsaSigningKeyOf::new());
    let delegation = || RData::NS(NS(name("ns.test.")));
    let test = signed(
        "test.",
        &top,
        vec![
            ("ns", ip("192.0.2.53")),
            ("", mx(10, "mx.test.")),
            ("mx", ip("192.0.2.1")),
            ("mx", ip("2001:db8::1")),
            ("_25._tcp.mx", tlsa(3, 1, 32)),
            ("bare", ip("192.0.2.2")),
            ("strange", ip("192.0.2.3")),
            ("_25._tcp.strange", tlsa(1, 1, 32)),
            ("_25._tcp.strange", tlsa(3, 1, 31)),
            ("alias", alias("mx.test.")),
            ("out", alias("mx.open.test.")),
            ("_25._tcp.out", tlsa(3, 5, 32)),
            ("mixed", mx(10, "mx.test.")),
            ("mixed", mx(20, "mx.open.test.")),
            ("mixed", mx(30, "mx.forged.test.")),
            ("sub", delegation()),
            ("sub", sub.ds("sub.test.")),
            ("open", delegation()),
            ("forged", delegation()),
            ("forged", forged.ds("forged.test.")),
        ],
    );
    let open = zone("open.test.", {
        let mut records = below("open.test.");
        records.push(("", delegation()));
        records
    });
    let (sub, forged) =
        (signed("sub.test.", &sub, below("sub.test.")), signed("forged.test.", &foreign, below("forged.test.")));
    let test = Arc::new(test);
    let mut servers = Servers { parents: Catalog::new(), all: Catalog::new() };
    servers.parents.upsert(LowerName::from(name("test.")), vec![test.clone()]);
    servers.all.upsert(LowerName::from(name("test.")), vec![test]);
    servers.all.upsert(LowerName::from(name("sub.test.")), vec![Arc::new(sub)]);
    servers.all.upsert(LowerName::from(name("open.test.")), vec![open]);
    servers.all.upsert(LowerName::from(name("forged.test.")), vec![Arc::new(forged)]);

    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    std::fs::write(&anchor, format!("test. 3600 IN DNSKEY {}\n", top.public())).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dns =
        Dns { servers: vec![socket.local_addr().unwrap()], dnssec: Dnssec::Validate(Some(anchor)), ..Dns::default() };
    let mut server = Server::new(servers);
    server.register_socket(socket);
    (Hickory::new(&dns).unwrap(), server)
}

fn is_bogus<T>(answer: &Result<T, ResolveError>) -> bool {
    matches!(answer, Err(ResolveError::Temporary(fault)) if fault.kind == FaultKind::Bogus)
}

#[tokio::test]
async fn what_is_signed_is_told_from_what_is_not_and_from_what_is_forged() {
    let (resolver, _server) = validating().await;
    assert_eq!(resolver.validation(), "the relay");
    for _ in ["asked", "from the cache"] {
        for (host, secure) in [("mx.test", true), ("mx.sub.test", true), ("mx.open.test", false), ("out.test", false)] {
            let found = resolver.host(host).await.unwrap();
            assert_eq!((found.secure, found.alias_secure), (secure, host == "out.test"), "{host}");
            assert!(!found.addresses.is_empty());
        }
        let found = resolver.host("alias.test").await.unwrap();
        assert_eq!((&*found.name, found.secure, found.alias_secure), ("mx.test", true, true));
        let found = resolver.host("up.open.test").await.unwrap();
        assert_eq!((&*found.name, found.secure, found.alias_secure), ("mx.test", false, false));
        for (domain, secure) in [("test", true), ("sub.test", true), ("open.test", false)] {
            assert_eq!(resolver.exchangers(domain).await.unwrap().secure, secure, "{domain}");
        }
        for host in ["mx.forged.test", "up.forged.test"] {
            let found = resolver.host(host).await;
            assert!(is_bogus(&found), "{host}: {found:?}");
        }
        let found = resolver.exchangers("forged.test").await;
        assert!(is_bogus(&found), "{found:?}");
        // That there is nothing is proved, too.
        assert_eq!(resolver.exchangers("bare.test").await, Err(ResolveError::NoData));
        assert_eq!(resolver.exchangers("nowhere.test").await, Err(ResolveError::NoSuchName));
        assert_eq!(resolver.mx("nowhere.open.test").await, Err(ResolveError::NoSuchName));
        let denied = resolver.mx("nowhere.forged.test").await;
        assert!(is_bogus(&denied), "{denied:?}");
    }
}

#[tokio::test]
async fn tlsa_records_are_found_and_never_taken_for_absent_when_they_are_forged() {
    let (resolver, _server) = validating().await;
    let base = |found: Result<Tlsa, ResolveError>| match found {
        Ok(Tlsa::Records { base, records }) => format!("{base} {}", records[0].data[0]),
        other => format!("{other:?}"),
    };
    for (host, expected) in [
        ("mx.test", "mx.test 1"),
        ("alias.test", "mx.test 1"),
        ("mx.sub.test", "mx.sub.test 9"),
        // Its own records hold, although the host it is an alias of is not signed.
        ("out.test", "out.test 5"),
        ("bare.test", "Ok(None)"),
        ("strange.test", "Ok(Unusable)"),
        ("mx.open.test", "Ok(Insecure)"),
        ("up.open.test", "Ok(Insecure)"),
    ] {
        assert_eq!(base(resolver.tlsa(host, 25).await), expected, "{host}");
    }
    assert_eq!(base(resolver.tlsa("mx.test", 26).await), "Ok(None)");
    assert!(is_bogus(&resolver.tlsa("mx.forged.test", 25).await));
}

#[tokio::test]
async fn one_forged_host_does_not_spoil_the_others() {
    let (resolver, _server) = validating().await;
    let hop = NextHop::Mx("mixed.test".into());
    let found = targets(&resolver, &hop, 25, &Selection::default()).await.unwrap();
    let secure: Vec<_> = found.targets.iter().map(|t| (&*t.host, t.origin.named, t.origin.secure)).collect();
    assert_eq!(secure, [("mx.test", true, true), ("mx.test", true, true), ("mx.open.test", true, false)]);
    assert_eq!(&*found.targets[0].names(&"mx.test".into()), ["mx.test".into(), Arc::<str>::from("mixed.test")]);
    assert_eq!(found.unresolved.unwrap().to_string().split(' ').next(), Some("451"));
    let error = targets(&resolver, &NextHop::Mx("forged.test".into()), 25, &Selection::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "451 4.4.3 forged.test: the answer's DNSSEC signatures are not valid");

    let lines = describe(&resolver, &hop, 25, &Selection::default()).await;
    let expected = [
        "MX of mixed.test: 3 records, validated",
        "  10 mx.test: validated",
        "    TLSA _25._tcp.mx.test: DANE: the certificate must match",
        "      3 1 1 0101010101010101010101010101010101010101010101010101010101010101",
        "    [2001:db8::1]:25",
        "    192.0.2.1:25",
        "  20 mx.open.test: not validated",
        "    TLSA _25._tcp.mx.open.test: not validated: no DANE",
        "    192.0.2.9:25",
        "  (30 451 4.4.3 mx.forged.test: the answer's DNSSEC signatures are not valid)",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_trust_anchor_must_be_one() {
    let with = |path: std::path::PathBuf| {
        let dns =
            Dns { servers: vec![([127, 0, 0, 1], 53).into()], dnssec: Dnssec::Validate(Some(path)), ..Dns::default() };
        Hickory::new(&dns).map(|_| ()).map_err(|error| error.to_string())
    };
    let folder = tempfile::tempdir().unwrap();
    assert!(with(folder.path().join("none")).unwrap_err().contains("trust anchor"));
    std::fs::write(folder.path().join("junk"), "what is this\n").unwrap();
    assert!(with(folder.path().join("junk")).unwrap_err().contains("trust anchor"));
    let system = Dns { servers: vec![([127, 0, 0, 1], 53).into()], dnssec: Dnssec::Validate(None), ..Dns::default() };
    assert_eq!(Hickory::new(&system).unwrap().validation(), "the relay");
}
