use std::slice::from_ref;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring::default_provider;

use super::*;

/// An authority, one below it, and a server's certificate from the latter.
struct Chain {
    root: CertificateDer<'static>,
    middle: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
}

/// A server's certificate for these DNS names (or, without any, with this common name) that expires so many years from 2020.
fn chain(names: &[&str], common: &str, expires: i32) -> Chain {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let (root_key, middle_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = authority("root").self_signed(&root_key).unwrap();
    let root_params = authority("root");
    let middle_params = authority("middle");
    let middle = middle_params.signed_by(&middle_key, &Issuer::from_params(&root_params, &root_key)).unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(expires, 1, 1);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &Issuer::from_params(&middle_params, &middle_key)).unwrap();
    Chain { root: root.der().clone(), middle: middle.der().clone(), leaf: leaf.der().clone() }
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &[u8]) -> TlsaRecord {
    let part = if selector == SPKI { certificate::spki(certificate).unwrap() } else { certificate.to_vec() };
    let data = match matching {
        SHA2_256 => digest(&SHA256, &part).as_ref().to_vec(),
        SHA2_512 => digest(&SHA512, &part).as_ref().to_vec(),
        _ => part,
    };
    TlsaRecord { usage, selector, matching, data }
}

/// In the year 2026.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_000_000))
}

fn judged(records: Vec<TlsaRecord>, names: &[&str], leaf: &CertificateDer<'_>, shown: &[CertificateDer<'_>]) -> String {
    let names = names.iter().map(|name| Arc::from(*name)).collect();
    let dane = Dane { records: records.into(), names };
    match dane.judge(&default_provider(), leaf, shown, now()) {
        Ok(()) => "ok".to_owned(),
        Err(Mismatch::None) => "none".to_owned(),
        Err(Mismatch::Chain(_)) => "chain".to_owned(),
        Err(Mismatch::Name(name)) => format!("not {name}"),
    }
}

#[test]
fn records_are_read_and_shown_as_they_are() {
    let octets = [3, 1, 1, 0xab, 0x0c];
    let record = TlsaRecord::parse(&octets).unwrap();
    assert_eq!((record.usage, record.selector, record.matching, &*record.data), (3, 1, 1, &octets[3..]));
    assert_eq!(record.to_string(), "3 1 1 ab0c");
    assert_eq!(TlsaRecord::parse(&[3, 1]), None);
}

#[test]
fn only_what_smtp_may_use_is_usable() {
    let chain = chain(&["mx.test"], "x", 2040);
    let spki = certificate::spki(&chain.root).unwrap();
    let (cert, sha256, sha512) = (chain.root.to_vec(), vec![7; 32], vec![7; 64]);
    let table: [(u8, u8, u8, &[u8], bool); 20] = [
        // RFC 7672 section 3.1.3: the usages of PKIX are no use.
        (0, 1, 1, &sha256, false),
        (1, 1, 1, &sha256, false),
        (2, 0, 0, &cert, true),
        (2, 1, 0, &spki, true),
        (2, 0, 1, &sha256, true),
        (2, 1, 1, &sha256, true),
        (2, 0, 2, &sha512, true),
        (2, 1, 2, &sha512, true),
        (3, 0, 0, &cert, true),
        (3, 1, 0, &spki, true),
        (3, 0, 1, &sha256, true),
        (3, 1, 2, &sha512, true),
        // What nobody knows yet, and digests of another length.
        (4, 1, 1, &sha256, false),
        (255, 1, 1, &sha256, false),
        (3, 2, 1, &sha256, false),
        (3, 1, 3, &sha256, false),
        (3, 1, 1, &sha512, false),
        (3, 1, 2, &sha256, false),
        // A key where a certificate should be, and the other way round.
        (2, 0, 0, &spki, false),
        (3, 1, 0, &cert, false),
    ];
    for (usage, selector, matching, data, usable) in table {
        let record = TlsaRecord { usage, selector, matching, data: data.to_vec() };
        assert_eq!(record.is_usable(), usable, "{usage} {selector} {matching} with {} octets", data.len());
    }
    assert!(!TlsaRecord { usage: 3, selector: 1, matching: 1, data: Vec::new() }.is_usable());
}

#[test]
fn a_domains_own_certificate_needs_neither_name_nor_time_nor_authority() {
    let (old, other) = (chain(&["elsewhere.test"], "x", 2020), chain(&["mx.test"], "x", 2040));
    for selector in [CERT, SPKI] {
        for matching in [FULL, SHA2_256, SHA2_512] {
            let records = vec![record(3, selector, matching, &old.leaf)];
            assert_eq!(judged(records.clone(), &["mx.test"], &old.leaf, &[]), "ok", "3 {selector} {matching}");
            assert_eq!(judged(records, &["mx.test"], &other.leaf, from_ref(&other.middle)), "none");
        }
    }
    // It says nothing about authorities: the certificate above, shown as one, is not the server's.
    let records = vec![record(3, 1, 1, &old.middle)];
    assert_eq!(judged(records, &["elsewhere.test"], &old.leaf, from_ref(&old.middle)), "none");
}

#[test]
fn an_authority_vouches_for_names_for_as_long_as_certificates_hold() {
    let (good, old) = (chain(&["mx.test", "*.example.test"], "x", 2040), chain(&["mx.test"], "x", 2020));
    let shown = [good.middle.clone(), good.root.clone()];
    for selector in [CERT, SPKI] {
        for matching in [FULL, SHA2_256, SHA2_512] {
            for anchor in [&good.root, &good.middle] {
                let records = vec![record(2, selector, matching, anchor)];
                assert_eq!(judged(records.clone(), &["mx.test"], &good.leaf, &shown), "ok", "2 {selector} {matching}");
                assert_eq!(judged(records, &["nx.test"], &good.leaf, &shown), "not nx.test");
            }
            let records = vec![record(2, selector, matching, &old.root)];
            assert_eq!(judged(records, &["mx.test"], &old.leaf, &[old.middle.clone(), old.root.clone()]), "chain");
        }
    }
    let records = vec![record(2, 0, 1, &good.root)];
    assert_eq!(judged(records.clone(), &["nx.test", "mx.test"], &good.leaf, &shown), "ok", "any name will do");
    assert_eq!(judged(records.clone(), &["a.example.test"], &good.leaf, &shown), "ok");
    assert_eq!(judged(records.clone(), &["a.b.example.test"], &good.leaf, &shown), "not a.b.example.test");
    // The digest of an authority that is not shown leads nowhere (RFC 7672 section 3.1.1), nor does another one's.
    assert_eq!(judged(records, &["mx.test"], &good.leaf, &shown[..1]), "none");
    assert_eq!(judged(vec![record(2, 0, 1, &old.root)], &["mx.test"], &good.leaf, &shown), "none");
    // Anybody can show somebody else's authority.
    let foreign = vec![record(2, 0, 1, &old.root)];
    assert_eq!(judged(foreign, &["mx.test"], &good.leaf, &[good.middle.clone(), old.root.clone()]), "chain");
}

#[test]
fn an_authority_that_is_published_whole_need_not_be_shown() {
    let good = chain(&["mx.test"], "x", 2040);
    let (middle, nothing) = ([good.middle.clone()], []);
    for (selector, anchor, shown, expected) in [
        (CERT, &good.root, &middle[..], "ok"),
        (CERT, &good.middle, &nothing[..], "ok"),
        (CERT, &good.root, &nothing[..], "chain"),
        (SPKI, &good.root, &middle[..], "ok"),
        (SPKI, &good.middle, &nothing[..], "ok"),
        (SPKI, &good.root, &nothing[..], "chain"),
        (SPKI, &good.leaf, &middle[..], "chain"),
    ] {
        assert_eq!(judged(vec![record(2, selector, FULL, anchor)], &["mx.test"], &good.leaf, shown), expected);
    }
}

#[test]
fn the_common_name_counts_only_where_there_is_no_other() {
    let (bare, both) = (chain(&[], "mx.test", 2040), chain(&["other.test"], "mx.test", 2040));
    let of = |chain: &Chain, name: &str| {
        let shown = [chain.middle.clone()];
        judged(vec![record(2, 1, 1, &chain.middle)], &[name], &chain.leaf, &shown)
    };
    assert_eq!(of(&bare, "MX.test"), "ok");
    assert_eq!(of(&bare, "nx.test"), "not nx.test");
    assert_eq!(of(&both, "mx.test"), "not mx.test");
    assert_eq!(of(&chain(&[], "*.example.test", 2040), "a.example.test"), "ok");
    assert_eq!(of(&chain(&[], "*.example.test", 2040), "example.test"), "not example.test");
}

#[test]
fn of_two_digests_the_stronger_one_decides() {
    let (ours, other) = (chain(&["mx.test"], "x", 2040), chain(&["mx.test"], "x", 2040));
    let weak = record(3, 1, 1, &ours.leaf);
    let table = [
        (vec![weak.clone()], "ok"),
        (vec![weak.clone(), record(3, 1, 2, &other.leaf)], "none"),
        (vec![record(3, 1, 2, &other.leaf), weak.clone(), record(3, 1, 2, &ours.leaf)], "ok"),
        // Of another selector or usage, or one that can't be used, it has no say.
        (vec![weak.clone(), record(3, 0, 2, &other.leaf)], "ok"),
        (vec![weak.clone(), record(2, 1, 2, &other.root)], "ok"),
        (vec![weak.clone(), TlsaRecord { usage: 3, selector: 1, matching: 2, data: vec![1; 63] }], "ok"),
        (vec![record(1, 1, 1, &ours.leaf)], "none"),
        (vec![], "none"),
    ];
    for (records, expected) in table {
        assert_eq!(judged(records.clone(), &["mx.test"], &ours.leaf, &[]), expected, "{records:?}");
    }
}

#[test]
fn what_is_no_certificate_matches_nothing() {
    let good = chain(&["mx.test"], "x", 2040);
    let junk = CertificateDer::from(b"\x30\x03junk".as_slice());
    let records = vec![record(3, 1, 1, &good.leaf), record(2, 0, 0, &good.root), record(2, 1, 0, &good.root)];
    assert_eq!(judged(records.clone(), &["mx.test"], &junk, from_ref(&junk)), "chain");
    assert_eq!(judged(records, &["mx.test"], &good.leaf, &[junk, good.middle.clone()]), "ok");
    // Unless it is published as such.
    let junk = CertificateDer::from(b"\x30\x03junk".as_slice());
    assert_eq!(judged(vec![record(3, 0, 1, &junk)], &["mx.test"], &junk, &[]), "ok");
}
