//! TLS for connections that the relay makes: to next hops, and for plugins to servers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::audit::Audit;
use super::dane::{Dane, DaneVerifier, Mismatch};
use super::{Fault, TlsError, facts, pem};
use crate::hooks::{TlsFacts, TlsPolicy};

/// TLS for connections to next hops.
#[derive(Clone)]
pub struct TlsClients {
    /// The certificate is not judged.
    unjudged: TlsConnector,
    /// The certificate must verify for the name.
    verified: TlsConnector,
    /// What it would have to verify with. None: no authority is trusted.
    judge: Option<Arc<WebPkiServerVerifier>>,
    /// For verifiers of a single connection.
    provider: Arc<CryptoProvider>,
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
            for certificate in pem::certificates(path)? {
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
        let roots = Arc::new(roots);
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build().ok();
        let verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let unjudged = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unjudged(Arc::clone(&provider))))
            .with_no_client_auth();
        Ok(Self { unjudged: Arc::new(unjudged).into(), verified: Arc::new(verified).into(), judge, provider })
    }

    /// The settings for a policy: only [`TlsPolicy::Verify`] judges certificates. [`TlsPolicy::Dane`] has its own way
    /// ([`Self::connect_dane`]); who comes here with it is judged rather too hard.
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
        let (name, bare) = match server_name(host) {
            (Some(name), bare) => (name, bare),
            (None, _) if policy == TlsPolicy::Verify => {
                let text = "the next hop has no name that a certificate could be for";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            (None, bare) => (nameless(), bare),
        };
        let stream = self.connector_for(policy).connect(name, stream).await?;
        let mut facts = facts(stream.get_ref().1, shown(bare));
        facts.proof = matches!(policy, TlsPolicy::Verify | TlsPolicy::Dane).then(|| "certificate".into());
        Ok((stream, facts))
    }

    /// The handshake, as client of a server whose certificate must match TLSA records (RFC 7672). SNI is the TLSA base
    /// domain (section 3.2.1 there).
    ///
    /// # Errors
    /// When it fails, the certificate's refusal included.
    pub async fn connect_dane<S>(&self, stream: S, dane: &Arc<Dane>) -> io::Result<(TlsStream<S>, TlsFacts)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let base = dane.base().trim_end_matches('.').to_owned();
        let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let name = ServerName::try_from(base.clone()).map_err(|error| invalid(&error))?;
        let verifier = DaneVerifier { dane: Arc::clone(dane), provider: Arc::clone(&self.provider) };
        // Made for this connection alone: a session that is resumed would not be judged again.
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(Mismatch::laid_bare)?;
        let facts = TlsFacts { proof: Some("dane".into()), ..facts(stream.get_ref().1, Some(&base)) };
        Ok((stream, facts))
    }

    /// The handshake, as client, with any certificate; and what would have stopped it, had the certificate been judged.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn connect_audited<S>(&self, stream: S, host: &str) -> io::Result<(TlsStream<S>, TlsFacts, Option<Fault>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let audit = Arc::new(Audit::new(self.judge.clone(), Arc::clone(&self.provider)));
        // One of its own for each connection: a session taken up again would show no certificate.
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&audit) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let (name, bare) = server_name(host);
        let connector = TlsConnector::from(Arc::new(config));
        let unnamed = name.is_none().then_some(Fault::HostMismatch);
        let stream = connector.connect(name.unwrap_or_else(nameless), stream).await?;
        let facts = facts(stream.get_ref().1, shown(bare));
        Ok((stream, facts, unnamed.or_else(|| audit.found())))
    }
}

/// What a certificate has to be for. A target without a name goes by its address, in brackets if it was a literal; a Unix
/// socket has neither.
fn server_name(host: &str) -> (Option<ServerName<'static>>, &str) {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_start_matches("IPv6:").trim_end_matches('.');
    (ServerName::try_from(bare.to_owned()).ok(), bare)
}

/// For handshakes where nothing is asked of the certificate.
fn nameless() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// What Server Name Indication said: no addresses (RFC 6066 section 3).
fn shown(name: &str) -> Option<&str> {
    Some(name).filter(|name| name.parse::<std::net::IpAddr>().is_err())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_must_be_certificates() {
        assert!(TlsClients::load(None).is_ok());
        assert!(TlsClients::load(Some(Path::new("/nowhere/ca.pem"))).is_err());
    }
}
