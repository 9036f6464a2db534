//! TLS for listeners: certificates, versions, what is asked of clients, and the facts of a connection.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::names::ByName;
use super::verify::Asking;
use super::{TlsError, certificate, facts, pem};
use crate::hooks::{ClientCertificate, TlsFacts};

/// `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The first one is for clients that name no host, or one that no certificate is for.
    pub certificates: Vec<Certificate>,
    /// Authorities for clients' certificates, PEM.
    pub authorities: Option<PathBuf>,
    /// Nothing older is spoken.
    pub minimum: Minimum,
}

/// Certificate chain and private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, leaf first.
    pub chain: PathBuf,
    /// PEM, PKCS #8, SEC 1 or PKCS #1. It may be the same file.
    pub key: PathBuf,
}

/// The oldest version of TLS. What is older than 1.2 is not spoken at all (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Minimum {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What clients of a listener are asked to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    #[default]
    None,
    /// A certificate; whoever has none, or one that does not verify, is served all the same.
    Ask,
    /// A certificate that an authority of the configuration vouches for.
    Require,
}

/// What is told of a certificate that is shown to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Where its chain stands.
    pub chain: PathBuf,
    /// Its subject (RFC 4514).
    pub subject: String,
    /// Its DNS names, in small letters.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
}

/// What files were when they were looked at; another one when any of them was written or replaced since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<Option<[i128; 5]>>);

impl ServerSettings {
    /// With one certificate, and nothing asked of clients.
    pub fn of(certificate: Certificate) -> Self {
        Self { certificates: vec![certificate], authorities: None, minimum: Minimum::Tls12 }
    }

    /// All files it names, each with its key in the configuration.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let certificates = self.certificates.iter();
        let pairs = certificates.flat_map(|c| [("tls.certificate", &*c.chain), ("tls.key", &*c.key)]);
        pairs.chain(self.authorities.iter().map(|path| ("tls.client-authorities", &**path))).collect()
    }

    /// How the files are now. Blocking.
    pub fn stamps(&self) -> Stamps {
        let stamp = |(_, path): (&str, &Path)| {
            let found = std::fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (found.mtime().into(), found.mtime_nsec().into());
            Some([found.dev().into(), found.ino().into(), seconds, nanoseconds, found.len().into()])
        };
        Stamps(self.files().into_iter().map(stamp).collect())
    }
}

/// TLS for listeners, read from files. Sessions can be resumed only where they began: what asks for certificates has tickets
/// of its own.
pub struct Tls {
    closed: TlsAcceptor,
    asking: TlsAcceptor,
    requiring: Option<TlsAcceptor>,
    judge: Option<Arc<dyn ClientCertVerifier>>,
    stamps: Stamps,
    warnings: Vec<String>,
    shown: Vec<Shown>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files. Blocking.
    ///
    /// # Errors
    /// [`TlsError`] names the file to look at.
    pub fn load(settings: &ServerSettings) -> Result<Self, TlsError> {
        // Before they are read: what is written meanwhile counts as a change.
        let stamps = settings.stamps();
        let provider = Arc::new(ring::default_provider());
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let (mut certificates, mut warnings, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for of in &settings.certificates {
            let certified = certified(of, &provider)?;
            let leaf = certified.cert.first().map(|leaf| &**leaf).unwrap_or_default();
            let warning = certificate::untimely(leaf, now);
            warnings.extend(warning.map(|text| format!("{}: {text}", of.chain.display())));
            shown.extend(certificate::of_server(leaf).map(|(subject, names, not_after)| {
                let chain = of.chain.clone();
                Shown { chain, subject, names, not_after }
            }));
            certificates.push((certificate::dns_names(leaf), Arc::new(certified)));
        }
        let names = Arc::new(ByName(certificates));
        let judge = settings.authorities.as_deref().map(|path| judge(path, &provider)).transpose()?;
        let acceptor = |asking: Option<Asking>| acceptor(settings, &provider, &names, asking);
        let asking = |judge| Some(Asking { provider: provider.clone(), judge });
        Ok(Self {
            closed: acceptor(None)?,
            asking: acceptor(asking(None))?,
            requiring: judge.clone().map(|judge| acceptor(asking(Some(judge)))).transpose()?,
            judge,
            stamps,
            warnings,
            shown,
        })
    }

    /// For a listener that asks this of clients. None: it requires certificates, and there are no authorities.
    pub fn acceptor(&self, clients: ClientCertificates) -> Option<&TlsAcceptor> {
        match clients {
            ClientCertificates::None => Some(&self.closed),
            ClientCertificates::Ask => Some(&self.asking),
            ClientCertificates::Require => self.requiring.as_ref(),
        }
    }

    /// The facts of a connection that a client made to us. A certificate is judged here each time: that of a resumed session
    /// may have expired since.
    pub fn facts(&self, connection: &ServerConnection) -> TlsFacts {
        let client = connection.peer_certificates().and_then(|chain| self.client(chain));
        let exporter = exporter(connection);
        TlsFacts { client: client.map(Arc::new), exporter, ..facts(connection, connection.server_name()) }
    }

    fn client(&self, chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let (leaf, others) = chain.split_first()?;
        let judged = self.judge.as_ref().map(|judge| judge.verify_client_cert(leaf, others, UnixTime::now()));
        Some(certificate::of_client(leaf, judged.is_some_and(|judged| judged.is_ok())))
    }

    /// How the files were before they were read.
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// The certificates, in the order of the settings.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// What an operator should know of the certificates, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// RFC 9266. Under TLS 1.2 it would also need the extended master secret, of which rustls does not tell.
fn exporter(connection: &ServerConnection) -> Option<Arc<[u8]>> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let exported = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
    exported.ok().map(|octets: [u8; 32]| octets.as_slice().into())
}

fn acceptor(
    settings: &ServerSettings,
    provider: &Arc<CryptoProvider>,
    names: &Arc<ByName>,
    asking: Option<Asking>,
) -> Result<TlsAcceptor, TlsError> {
    let of = || settings.certificates.first().map(|c| c.chain.clone()).unwrap_or_default();
    let fault = |e: rustls::Error| TlsError { path: of(), problem: e.to_string() };
    let versions: &[&SupportedProtocolVersion] = match settings.minimum {
        Minimum::Tls12 => &[&TLS13, &TLS12],
        Minimum::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(fault)?;
    let builder = match asking {
        Some(asking) => builder.with_client_cert_verifier(Arc::new(asking)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(names.clone());
    // The order of the suites is the relay's: the strongest that the client knows.
    config.ignore_client_order = true;
    config.ticketer = ring::Ticketer::new().map_err(fault)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certified(of: &Certificate, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let fault = |path: &Path, problem: String| TlsError { path: path.to_owned(), problem };
    let chain = pem::certificates(&of.chain)?;
    let private = pem::private_key(&of.key)?;
    // By itself, so that a bad key is told from one that does not fit the certificate.
    let key = provider.key_provider.load_private_key(private).map_err(|e| fault(&of.key, e.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(fault(&of.key, format!("the key does not fit the certificate in {}", of.chain.display())))
        }
        Err(other) => Err(fault(&of.chain, other.to_string())),
    }
}

/// Verifies what clients show against the authorities of a file.
fn judge(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let fault = |problem: String| TlsError { path: path.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    for authority in pem::certificates(path)? {
        roots.add(authority).map_err(|e| fault(e.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier.map_err(|e| fault(e.to_string()))
}

#[cfg(test)]
mod tests;
