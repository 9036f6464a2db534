//! What went wrong in a handshake, as far as others act on it: reports tell the domain whose host it was (RFC 8460).

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error};

use super::Mismatch;

/// Why a handshake failed, or would have under a stricter policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The certificate is for other names.
    #[error("the certificate is not for this name")]
    HostMismatch,
    /// Its time is over, or has not come yet.
    #[error("the certificate has expired or is not valid yet")]
    Expired,
    /// No authority that is trusted stands behind it.
    #[error("no trusted authority stands behind the certificate")]
    NotTrusted,
    /// Something else.
    #[error("{0}")]
    Other(Arc<str>),
}

impl Fault {
    /// By the error of a handshake.
    pub fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(Mismatch::Name(_)) = inner.and_then(|inner| inner.downcast_ref::<Mismatch>()) {
            return Self::HostMismatch;
        }
        match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => Self::of_tls(inner),
            None => Self::Other(error.to_string().into()),
        }
    }

    pub(super) fn of_tls(error: &Error) -> Self {
        let Error::InvalidCertificate(fault) = error else { return Self::Other(error.to_string().into()) };
        match fault {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::HostMismatch,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            CertificateError::UnknownIssuer => Self::NotTrusted,
            CertificateError::Other(other) => match other.0.downcast_ref::<Mismatch>() {
                Some(Mismatch::Name(_)) => Self::HostMismatch,
                Some(mismatch) => Self::Other(mismatch.to_string().into()),
                None => Self::Other(error.to_string().into()),
            },
            _ => Self::Other(error.to_string().into()),
        }
    }
}
