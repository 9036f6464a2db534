//! A next hop whose certificate has to match TLSA records (RFC 7672): it does, it does not, or it offers no TLS.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::delivery::requirement::Level;
use crate::tls::{Dane, TlsaRecord};

/// An authority and a certificate of it, in files.
struct Issued {
    folder: tempfile::TempDir,
    authority: Vec<u8>,
    leaf: Vec<u8>,
}

fn issue(name: &str, expires: i32) -> Issued {
    let folder = tempfile::tempdir().unwrap();
    let mut above = CertificateParams::default();
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let above_key = KeyPair::generate().unwrap();
    let authority = above.self_signed(&above_key).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(expires, 1, 1));
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &Issuer::from_params(&above, &above_key)).unwrap();
    std::fs::write(folder.path().join("cert"), leaf.pem() + &authority.pem()).unwrap();
    std::fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
    Issued { folder, authority: authority.der().to_vec(), leaf: leaf.der().to_vec() }
}

impl Issued {
    fn starttls(&self) -> Vec<Act> {
        let path = |file| self.folder.path().join(file);
        let certificates = vec![tls::Certificate { chain: path("cert"), key: path("key") }];
        let settings = ServerSettings { certificates, authorities: None, minimum: Minimum::default() };
        let acceptor = Tls::load(&settings).unwrap().acceptor(ClientCertificates::None).unwrap().clone();
        vec![hear("STARTTLS\r\n"), Say("220 go\r\n"), Act::Tls(acceptor)]
    }
}

/// With the digest of a whole certificate.
fn record(usage: u8, certificate: &[u8]) -> TlsaRecord {
    TlsaRecord { usage, selector: 0, matching: 1, data: Sha256::digest(certificate).to_vec() }
}

fn bound(records: Vec<TlsaRecord>) -> Opening {
    let names = Arc::new(["mx.dane.test".into(), "dane.test".into()]);
    let level = Level::Dane(Arc::new(Dane { records: records.into(), names }));
    let how = opening(TlsPolicy::Opportunistic);
    Opening { tls: Requirement { level, ..how.tls }, ..how }
}

#[tokio::test]
async fn a_host_is_held_to_its_tlsa_records() {
    let other = issue("mx.dane.test", 2040);
    let fresh = issue("mx.dane.test", 2040);
    let old = issue("mx.dane.test", 2020);
    let elsewhere = issue("elsewhere.test", 2040);
    let domain = issue("dane.test", 2040);
    const NONE: Option<&str> = Some("no TLSA record matches the certificate");
    let table = [
        (&fresh, vec![record(3, &fresh.leaf)], None),
        (&old, vec![record(3, &old.leaf)], None),
        (&elsewhere, vec![record(3, &elsewhere.leaf)], None),
        (&fresh, vec![record(3, &other.leaf)], NONE),
        (&fresh, vec![record(3, &other.leaf), record(3, &fresh.leaf)], None),
        (&fresh, vec![record(2, &fresh.authority)], None),
        (&domain, vec![record(2, &domain.authority)], None),
        (&fresh, vec![record(2, &other.authority)], NONE),
        (&old, vec![record(2, &old.authority)], Some("the chain to the trust anchor")),
        (&elsewhere, vec![record(2, &elsewhere.authority)], Some("the certificate is not for mx.dane.test")),
        (&fresh, vec![record(1, &fresh.leaf)], NONE),
    ];
    for (at, (shown, records, refused)) in table.into_iter().enumerate() {
        let again = match refused {
            None => vec![hear("EHLO relay.example\r\n"), Say(PIPELINED), hear("QUIT\r\n"), End],
            Some(_) => Vec::new(),
        };
        let (target, server) = serve(vec![script([hello(OFFERS_TLS), shown.starttls(), again])]).await;
        match (Connection::open(&tcp(), &target, &bound(records)).await, refused) {
            (Ok(connection), None) => {
                let facts = connection.tls().unwrap();
                let told = (facts.proof.as_deref(), facts.server_name.as_deref());
                assert_eq!(told, (Some("dane"), Some("mx.dane.test")), "case {at}");
                connection.quit().await;
            }
            (Err(error), Some(refused)) => {
                assert_eq!((error.stage, error.permanent, error.try_next_target), (Stage::Tls, false, true));
                assert!(error.error.as_ref().unwrap().contains(refused), "case {at}: {:?}", error.error);
            }
            (opened, _) => panic!("case {at}: {:?}", opened.map(|_| ()).map_err(|error| error.error)),
        }
        // One connection was made, and no second one in plain text.
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_host_with_tlsa_records_gets_nothing_in_plain_text() {
    let fresh = issue("mx.dane.test", 2040);
    let refuses = vec![hear("STARTTLS\r\n"), Say("454 4.7.0 not now\r\n"), hear("QUIT\r\n"), End];
    let silent = vec![hear("QUIT\r\n"), End];
    let broken = vec![hear("STARTTLS\r\n"), Say("220 go\r\n"), hear("\x16"), Say("what?\r\n")];
    for (ehlo, acts) in [(OFFERS_TLS, refuses), (PIPELINED, silent), (OFFERS_TLS, broken)] {
        let (target, server) = serve(vec![script([hello(ehlo), acts])]).await;
        let error = Connection::open(&tcp(), &target, &bound(vec![record(3, &fresh.leaf)])).await.unwrap_err();
        assert_eq!((error.stage, error.permanent, error.try_next_target), (Stage::Tls, false, true), "{error:?}");
        server.await.unwrap();
    }
}
