//! rustls settings for both directions: certificates for listeners, verification for next hops.
//!
//! The only file that builds rustls configurations. They name their cryptography (ring) themselves, so that nothing
//! depends on a process-wide default. Files are read here, blocking: call it off the workers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::hooks::{TlsFacts, TlsPolicy};

/// Why files make no TLS settings.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsError {
    /// The file in question.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// TLS for listeners.
#[derive(Clone, Copy, Debug)]
pub struct Tls;

impl Tls {
    /// From PEM files: the certificate with its chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC1). They may
    /// be the same file.
    ///
    /// # Errors
    /// [`TlsError`] names the file to look at.
    pub fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
        let fault = |path: &Path, problem: String| TlsError { path: path.to_owned(), problem };
        let certificates = certificates(chain)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| fault(key, words(&e, "private key")))?;
        let provider = Arc::new(ring::default_provider());
        // Asked by itself, so that a bad key is told from one that does not fit the certificate.
        provider.key_provider.load_private_key(private.clone_key()).map_err(|e| fault(key, e.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(chain, e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(certificates, private)
            .map_err(|e| match e {
                rustls::Error::InconsistentKeys(_) => {
                    fault(key, format!("the key does not fit the certificate in {}", chain.display()))
                }
                other => fault(chain, other.to_string()),
            })?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The facts of a connection that a client made to us.
    pub fn facts(connection: &ServerConnection) -> TlsFacts {
        facts(connection, connection.server_name())
    }
}

/// TLS for connections to next hops.
#[derive(Clone)]
pub struct TlsClients {
    /// The certificate is not judged.
    unjudged: TlsConnector,
    /// The certificate must verify for the name.
    verified: TlsConnector,
}

impl std::fmt::Debug for TlsClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClients")
    }
}

impl TlsClients {
    /// With the system's roots, and those of `extra` (PEM) beside them. A system without roots is no error: nothing
    /// verifies then. Blocking.
    ///
    /// # Errors
    /// When `extra` is no file of certificates.
    pub fn load(extra: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = extra {
            for certificate in certificates(path)? {
                let fault = |e: rustls::Error| TlsError { path: path.to_owned(), problem: e.to_string() };
                roots.add(certificate).map_err(fault)?;
            }
        }
        let provider = Arc::new(ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|e| TlsError { path: extra.unwrap_or(Path::new("TLS")).to_owned(), problem: e.to_string() })
        };
        let verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let unjudged = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unjudged(Arc::clone(&provider))))
            .with_no_client_auth();
        Ok(Self { unjudged: Arc::new(unjudged).into(), verified: Arc::new(verified).into() })
    }

    /// The settings for a policy: only [`TlsPolicy::Verify`] judges certificates.
    pub fn connector_for(&self, policy: TlsPolicy) -> &TlsConnector {
        match policy {
            TlsPolicy::Verify | TlsPolicy::Dane => &self.verified,
            TlsPolicy::Inherit | TlsPolicy::Off | TlsPolicy::Opportunistic | TlsPolicy::Encrypt => &self.unjudged,
        }
    }

    /// The handshake, as client.
    ///
    /// # Errors
    /// When it fails, the certificate's refusal included.
    pub async fn connect<S>(&self, stream: S, host: &str, policy: TlsPolicy) -> io::Result<(TlsStream<S>, TlsFacts)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A target without a name goes by its address, in brackets if it was a literal; a Unix socket has neither.
        let bare = host.trim_start_matches('[').trim_end_matches(']').trim_start_matches("IPv6:").trim_end_matches('.');
        let name = match ServerName::try_from(bare.to_owned()) {
            Ok(name) => name,
            Err(_) if policy == TlsPolicy::Verify => {
                let text = "the next hop has no name that a certificate could be for";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Err(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
        };
        let stream = self.connector_for(policy).connect(name, stream).await?;
        let facts = facts(stream.get_ref().1, Some(bare).filter(|name| name.parse::<std::net::IpAddr>().is_err()));
        Ok((stream, facts))
    }
}

/// Takes any certificate, but insists that the server has its key: encryption against those who only listen (RFC 7435).
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |problem: String| TlsError { path: path.to_owned(), problem };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|e| fault(words(&e, "certificate")))?;
    if found.is_empty() { Err(fault(words(&pem::Error::NoItemsFound, "certificate"))) } else { Ok(found) }
}

fn words(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {wanted} in PEM form in it"),
        pem::Error::Io(error) => error.to_string(),
        other => format!("no good {wanted}: {other}"),
    }
}

fn facts(connection: &CommonState, server_name: Option<&str>) -> TlsFacts {
    let protocol = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    TlsFacts {
        protocol: protocol.into(),
        cipher: cipher.into(),
        server_name: server_name.map(Into::into),
        ..TlsFacts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_of_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (cert, key) in [("cert", "key"), ("other-cert", "other-key")] {
            let made = rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).unwrap();
            std::fs::write(path(cert), made.cert.pem()).unwrap();
            std::fs::write(path(key), made.signing_key.serialize_pem()).unwrap();
        }
        let both = std::fs::read(path("cert")).unwrap().into_iter().chain(std::fs::read(path("key")).unwrap());
        std::fs::write(path("both"), both.collect::<Vec<u8>>()).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        std::fs::write(path("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        std::fs::write(path("no-cert"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        std::fs::write(path("no-key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(Tls::acceptor(&path("cert"), &path("key")).is_ok());
        assert!(Tls::acceptor(&path("both"), &path("both")).is_ok());
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
            let error = Tls::acceptor(&path(cert), &path(key)).err().map(|e| (e.path, e.problem));
            let (path_at_fault, said) = error.unwrap_or_else(|| panic!("{cert} and {key} were taken"));
            assert_eq!(path_at_fault, path(at_fault), "{cert} and {key}: {said}");
            assert!(said.contains(problem), "{cert} and {key}: {said}");
        }
    }

    #[test]
    fn extra_roots_must_be_certificates() {
        assert!(TlsClients::load(None).is_ok());
        assert!(TlsClients::load(Some(Path::new("/nowhere/ca.pem"))).is_err());
    }
}
