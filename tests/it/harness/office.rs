//! Certificates for tests: an authority, what it signs, and clients that trust it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// An authority, and files of what it signed.
pub(crate) struct Office {
    folder: tempfile::TempDir,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Office {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// NAME.pem, the certificate and its key in one file, so that both change at once. It is for a host, an address, or a mailbox.
    pub(crate) fn issue(&self, file: &str, name: &str, serial: u64) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        let kind = if name.contains('@') { SanType::Rfc822Name } else { SanType::DnsName };
        params.subject_alt_names = vec![match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => kind(name.try_into().unwrap()),
        }];
        params.distinguished_name.push(DnType::CommonName, file);
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().unwrap();
        let both = params.signed_by(&key, &self.issuer).unwrap().pem() + &key.serialize_pem();
        let new = self.folder.path().join("new");
        fs::write(&new, both).unwrap();
        fs::rename(new, self.file(file)).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }

    /// What stands in `[tls]` for this file.
    pub(crate) fn pair(&self, name: &str) -> String {
        format!("certificate = {0:?}\nkey = {0:?}\n", self.file(name))
    }

    /// A client that trusts this authority, and has the certificate of a file to show.
    pub(crate) fn client(&self, shown: Option<&Path>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match shown {
            Some(file) => {
                let chain = vec![CertificateDer::from_pem_file(file).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
    }
}
