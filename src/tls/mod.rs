//! TLS in both directions: certificates for listeners and what clients show, verification of next hops, by name or by DANE.
//!
//! The only place that builds rustls configurations. They name their cryptography (ring) themselves, so that nothing
//! depends on a process-wide default. Files are read here, blocking: call it off the workers.

mod audit;
mod certificate;
mod client;
mod dane;
mod fault;
mod names;
mod outlook;
mod pem;
mod server;
mod verify;

use std::path::PathBuf;

use rustls::CommonState;

pub use client::TlsClients;
pub use dane::{Dane, Mismatch, TlsaRecord};
pub use fault::Fault;
pub use outlook::{Remark, remarks};
pub use server::{Certificate, ClientCertificates, Minimum, ServerSettings, Shown, Stamps, Tls};

use crate::hooks::TlsFacts;

/// Why files make no TLS settings.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsError {
    /// The file in question.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What both directions tell of a connection.
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
