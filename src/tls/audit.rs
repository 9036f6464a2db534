//! A certificate that is looked at and taken whatever is found: for policies that are only being tried (RFC 8461 section 5).

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::Fault;

/// Takes every certificate, as long as the server has its key, and remembers what a judge would have said.
#[derive(Debug)]
pub(super) struct Audit {
    /// None: no authority is trusted at all.
    judge: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Fault>>,
}

impl Audit {
    pub(super) fn new(judge: Option<Arc<WebPkiServerVerifier>>, provider: Arc<CryptoProvider>) -> Self {
        Self { judge, provider, found: Mutex::default() }
    }

    /// What is wrong with the certificate, if something is.
    pub(super) fn found(&self) -> Option<Fault> {
        self.found.lock().clone()
    }
}

impl ServerCertVerifier for Audit {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.found.lock() = match &self.judge {
            None => Some(Fault::NotTrusted),
            Some(judge) => {
                let judged = judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                judged.err().map(|error| Fault::of_tls(&error))
            }
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
