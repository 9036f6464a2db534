//! Real handshakes within one process: which certificate, which version, what is known of the client.

use std::fs;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// An authority, and a folder for what it signs.
struct Office {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for these names, in files called so.
    fn issue(&self, file: &str, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let of = Certificate { chain: self.path(file), key: self.path(&format!("{file}.key")) };
        fs::write(&of.chain, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&of.key, key.serialize_pem()).unwrap();
        of
    }

    fn settings(&self, certificates: Vec<Certificate>) -> ServerSettings {
        ServerSettings { certificates, authorities: Some(self.path("ca")), minimum: Minimum::Tls12 }
    }

    /// A client that trusts this authority, with a certificate or without.
    fn client(&self, shown: Option<&Certificate>, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(pem::certificates(&self.path("ca")).unwrap().remove(0)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        Arc::new(match shown {
            Some(of) => {
                let key = KeyPair::from_pem(&fs::read_to_string(&of.key).unwrap()).unwrap().serialize_der();
                let chain = pem::certificates(&of.chain).unwrap();
                builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key).into()).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
        .into()
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A handshake, and an octet each way, so that both know how it ended and tickets have come.
async fn shake(
    tls: &Tls,
    clients: ClientCertificates,
    client: &TlsConnector,
    name: &str,
) -> Option<(TlsFacts, TlsStream<DuplexStream>)> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async {
        let mut stream = tls.acceptor(clients).unwrap().accept(far).await.ok()?;
        let facts = tls.facts(stream.get_ref().1);
        stream.write_all(b"x").await.ok()?;
        stream.flush().await.ok()?;
        stream.read_u8().await.ok()?;
        Some(facts)
    };
    let connect = async {
        let mut stream = client.connect(ServerName::try_from(name.to_owned()).unwrap(), near).await.ok()?;
        stream.read_u8().await.ok()?;
        stream.write_all(b"y").await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    };
    let (facts, stream) = tokio::join!(serve, connect);
    Some((facts?, stream?))
}

fn shown(stream: &TlsStream<DuplexStream>) -> Vec<String> {
    certificate::dns_names(&stream.get_ref().1.peer_certificates().unwrap()[0])
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let office = Office::new();
    let certificates = vec![office.issue("a", &["mx.example.org", "127.0.0.1"]), office.issue("b", &["*.example.net"])];
    let tls = Tls::load(&office.settings(certificates)).unwrap();
    assert_eq!(tls.warnings(), [] as [String; 0]);
    let client = office.client(None, BOTH);
    let none = ClientCertificates::None;
    for (name, expected) in [("mx.example.org", "mx.example.org"), ("b.example.net", "*.example.net")] {
        let (facts, stream) = shake(&tls, none, &client, name).await.unwrap();
        assert_eq!(shown(&stream)[0], expected);
        assert_eq!((facts.server_name.as_deref(), facts.client), (Some(name), None));
    }
    let (_, stream) = shake(&tls, none, &client, "127.0.0.1").await.unwrap();
    assert_eq!(shown(&stream)[0], "mx.example.org", "no name: the first");
}

#[tokio::test]
async fn the_strongest_suite_is_taken_and_old_versions_where_they_are_allowed() {
    let office = Office::new();
    let mut settings = office.settings(vec![office.issue("a", &["mx.example.org"])]);
    let (old, new) = (office.client(None, &[&TLS12]), office.client(None, BOTH));
    let none = ClientCertificates::None;
    let tls = Tls::load(&settings).unwrap();
    let (facts, _) = shake(&tls, none, &old, "mx.example.org").await.unwrap();
    assert_eq!(&*facts.cipher, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    assert_eq!((&*facts.protocol, facts.exporter), ("TLSv1.2", None));
    settings.minimum = Minimum::Tls13;
    let tls = Tls::load(&settings).unwrap();
    assert!(shake(&tls, none, &old, "mx.example.org").await.is_none());
    let (facts, stream) = shake(&tls, none, &new, "mx.example.org").await.unwrap();
    assert_eq!((&*facts.protocol, &*facts.cipher), ("TLSv1.3", "TLS13_AES_256_GCM_SHA384"));
    let connection = stream.get_ref().1;
    let ours = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).unwrap();
    assert_eq!(facts.exporter.as_deref(), Some(ours.as_slice()), "both ends export the same");
}

#[tokio::test]
async fn certificates_of_clients_are_asked_for_judged_and_kept_over_resumption() {
    let (office, elsewhere) = (Office::new(), Office::new());
    let tls = Tls::load(&office.settings(vec![office.issue("a", &["mx.example.org"])])).unwrap();
    let (good, foreign) = (office.issue("good", &["ann.example"]), elsewhere.issue("foreign", &["bob.example"]));
    let (ask, require) = (ClientCertificates::Ask, ClientCertificates::Require);
    for version in [&TLS12, &TLS13] {
        let nobody = office.client(None, &[version]);
        let (facts, _) = shake(&tls, ask, &nobody, "mx.example.org").await.unwrap();
        assert_eq!(facts.client, None);
        assert!(shake(&tls, require, &nobody, "mx.example.org").await.is_none(), "{version:?}: none shown");
        let stranger = office.client(Some(&foreign), &[version]);
        let (facts, _) = shake(&tls, ask, &stranger, "mx.example.org").await.unwrap();
        let client = facts.client.unwrap();
        assert_eq!((client.verified, &*client.subject), (false, "CN=foreign"));
        assert!(shake(&tls, require, &stranger, "mx.example.org").await.is_none(), "{version:?}: not ours");
        for clients in [ask, require] {
            let ann = office.client(Some(&good), &[version]);
            let (first, stream) = shake(&tls, clients, &ann, "mx.example.org").await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            let client = first.client.clone().unwrap();
            assert!(client.verified, "{version:?} {clients:?}");
            assert_eq!(client.dns_names, ["ann.example".into()]);
            let (again, stream) = shake(&tls, clients, &ann, "mx.example.org").await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?} {clients:?}");
            assert_eq!(again.client, first.client, "{version:?} {clients:?}");
        }
        // A session that began where nothing is asked is no way in where something is required.
        let nobody = office.client(None, &[version]);
        shake(&tls, ClientCertificates::None, &nobody, "mx.example.org").await.unwrap();
        assert!(shake(&tls, require, &nobody, "mx.example.org").await.is_none(), "{version:?}: resumed elsewhere");
    }
}

#[test]
fn without_authorities_nothing_can_be_required() {
    let office = Office::new();
    let mut settings = office.settings(vec![office.issue("a", &["mx.example.org"])]);
    settings.authorities = None;
    let tls = Tls::load(&settings).unwrap();
    assert!(tls.acceptor(ClientCertificates::Ask).is_some() && tls.acceptor(ClientCertificates::Require).is_none());
    settings.authorities = Some(office.path("a.key"));
    assert_eq!(Tls::load(&settings).unwrap_err().path, office.path("a.key"));
}

#[test]
fn a_changed_file_has_another_stamp() {
    let office = Office::new();
    let settings = office.settings(vec![office.issue("a", &["mx.example.org"])]);
    let tls = Tls::load(&settings).unwrap();
    assert_eq!(*tls.stamps(), settings.stamps());
    office.issue("new", &["mx.example.org"]);
    fs::rename(office.path("new.key"), office.path("a.key")).unwrap();
    assert_ne!(*tls.stamps(), settings.stamps());
    fs::remove_file(office.path("a.key")).unwrap();
    assert_ne!(*tls.stamps(), settings.stamps());
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let office = Office::new();
    let of = office.issue("a", &["mx.example.org"]);
    let mut params = CertificateParams::new(vec!["mx.example.org".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::from_pem(&fs::read_to_string(&of.key).unwrap()).unwrap();
    fs::write(&of.chain, params.signed_by(&key, &office.issuer).unwrap().pem()).unwrap();
    let tls = Tls::load(&office.settings(vec![of.clone()])).unwrap();
    let [warning] = tls.warnings() else { panic!("{:?}", tls.warnings()) };
    assert!(warning.starts_with(&of.chain.display().to_string()) && warning.contains("expired on"), "{warning}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_of_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (cert, key) in [("cert", "key"), ("other-cert", "other-key")] {
        let made = rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).unwrap();
        fs::write(path(cert), made.cert.pem()).unwrap();
        fs::write(path(key), made.signing_key.serialize_pem()).unwrap();
    }
    let both = fs::read(path("cert")).unwrap().into_iter().chain(fs::read(path("key")).unwrap());
    fs::write(path("both"), both.collect::<Vec<u8>>()).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    fs::write(path("no-cert"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(path("no-key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let load = |cert: &str, key: &str| {
        let certificates = vec![Certificate { chain: path(cert), key: path(key) }];
        Tls::load(&ServerSettings { certificates, authorities: None, minimum: Minimum::Tls12 })
    };
    assert!(load("cert", "key").is_ok() && load("both", "both").is_ok());
    let table = [
        ("none", "key", "none", "No such file"),
        ("cert", "none", "none", "No such file"),
        ("empty", "key", "empty", "no certificate in PEM form"),
        ("key", "key", "key", "no certificate in PEM form"),
        ("cert", "cert", "cert", "no private key in PEM form"),
        ("cut", "key", "cut", "no good certificate"),
        ("no-cert", "key", "no-cert", ""),
        ("cert", "no-key", "no-key", ""),
        ("cert", "other-key", "other-key", "does not fit the certificate in"),
    ];
    for (cert, key, at_fault, problem) in table {
        let error = load(cert, key).err().map(|e| (e.path, e.problem));
        let (path_at_fault, said) = error.unwrap_or_else(|| panic!("{cert} and {key} were taken"));
        assert_eq!(path_at_fault, path(at_fault), "{cert} and {key}: {said}");
        assert!(said.contains(problem), "{cert} and {key}: {said}");
    }
}
