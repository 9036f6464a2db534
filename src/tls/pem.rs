//! Certificates and keys in PEM files. Blocking.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// All certificates of a file, in its order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |problem: String| TlsError { path: path.to_owned(), problem };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|e| fault(words(&e, "certificate")))?;
    if found.is_empty() { Err(fault(words(&pem::Error::NoItemsFound, "certificate"))) } else { Ok(found) }
}

/// The private key in a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let fault = |e: pem::Error| TlsError { path: path.to_owned(), problem: words(&e, "private key") };
    PrivateKeyDer::from_pem_file(path).map_err(fault)
}

fn words(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {wanted} in PEM form in it"),
        pem::Error::Io(error) => error.to_string(),
        other => format!("no good {wanted}: {other}"),
    }
}
