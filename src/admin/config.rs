//! `[admin]`: where the API listens, and who may ask.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Role, TokenHash};
use crate::tls::Certificate;

/// `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The Unix socket.
    pub socket: PathBuf,
    /// `[admin.http]`; none: no network hears of it.
    pub http: Option<Network>,
    /// `[admin.tokens.NAME]`, by name.
    pub tokens: Vec<Token>,
}

/// `[admin.http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where it listens.
    pub address: SocketAddr,
    /// None: plain HTTP, on a loopback address.
    pub certificate: Option<Certificate>,
    /// Who reads `/metrics`.
    pub metrics: Scrape,
}

/// Who reads metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scrape {
    /// Whoever has a token.
    #[default]
    Token,
    /// Whoever asks.
    Open,
}

/// `[admin.tokens.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name: who asks, in the audit.
    pub name: Arc<str>,
    /// What is kept of it.
    pub hash: TokenHash,
    /// What it may.
    pub role: Role,
}
