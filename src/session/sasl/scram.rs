//! The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677): a strict reader of what the client says, and rsasl, which
//! makes the nonce and does the sums.
//!
//! rsasl takes it that messages are whole and panics over some that are cut short, takes SCRAM-SHA-256-PLUS without a
//! binding, and leaves names escaped. Must never hand it what the readers here have not taken, nor ask it anything
//! after it said no.

use std::fmt;
use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::prelude::{Mechanism as Offer, Mechname, Registry, SASLConfig, SASLServer, SessionError, State, Validation};
use rsasl::property::ChannelBindings;
use rsasl::validate::{Validate, ValidationError};

use super::Mechanism;
use super::messages::{decode, is_name, unescape};

/// The only channel binding there is here (RFC 9266); a connection under TLS 1.3 has it.
pub(super) const BINDING: &str = "tls-exporter";

/// What proves a password without being one (RFC 5803).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The account's own salt.
    pub salt: Arc<[u8]>,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// With it the relay proves that it knows the account.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramVerifier {
    /// Without salt and keys: who has them can guess passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// What a client says of channel binding (RFC 5802 section 6).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// `n`: it knows none.
    Unknown,
    /// `y`: it does, and believes that the server does not.
    Unoffered,
    /// `p=NAME`: it uses this one.
    Used(String),
}

/// A client's first message, whole.
#[derive(Debug)]
pub(super) struct ClientFirst {
    message: Vec<u8>,
    pub flag: Flag,
    pub name: Arc<str>,
    pub acts_as: Option<Arc<str>>,
}

impl ClientFirst {
    /// `FLAG,[a=AUTHZID],n=NAME,r=NONCE` (RFC 5802 section 7). There are no extensions yet, and nobody can tell what the
    /// proof would cover if there were.
    pub(super) fn read(message: Vec<u8>) -> Option<Self> {
        let [flag, authzid, name, nonce] = parts(&message)?;
        let flag = match flag {
            "n" => Flag::Unknown,
            "y" => Flag::Unoffered,
            _ => Flag::Used(flag.strip_prefix("p=").filter(|name| is_binding(name))?.to_owned()),
        };
        let acts_as = if authzid.is_empty() { None } else { Some(unescape(authzid.strip_prefix("a=")?)?) };
        let name = unescape(name.strip_prefix("n=")?)?;
        nonce.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let acts_as = acts_as.filter(|acts_as| *acts_as != name).map(Arc::from);
        Some(Self { message, flag, name: name.into(), acts_as })
    }
}

/// True if a message is one that ends an exchange: `c=BINDING,r=NONCE,p=PROOF`.
fn is_client_final(message: &[u8]) -> bool {
    let Some([binding, nonce, proof]) = parts(message) else { return false };
    let base64 = |part: &str, key: &str| part.strip_prefix(key).and_then(|text| decode(text.as_bytes()));
    base64(binding, "c=").is_some_and(|header| !header.is_empty())
        && nonce.strip_prefix("r=").is_some_and(is_nonce)
        && base64(proof, "p=").is_some_and(|proof| proof.len() == 32)
}

/// The attributes of a message, as many as there have to be.
fn parts<const N: usize>(message: &[u8]) -> Option<[&str; N]> {
    let parts: Vec<&str> = std::str::from_utf8(message).ok()?.splitn(N + 1, ',').collect();
    parts.try_into().ok()
}

/// Printable, and no comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// RFC 5056 section 7.
fn is_binding(name: &str) -> bool {
    is_name(name) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

/// An exchange whose last message is still to come.
pub(in crate::session) struct Scram {
    exchange: rsasl::prelude::Session<Proven>,
    pub mechanism: Mechanism,
    pub name: Arc<str>,
    pub acts_as: Option<Arc<str>>,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// What a client's last message is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It knows the password; the server's own proof goes back.
    Held(Vec<u8>),
    /// It does not, or it was not talking through this connection.
    Wrong,
    /// It can't be read.
    Unreadable,
}

impl Scram {
    /// With the server's answer. `exporter` is what the client may bind itself to, and there only for
    /// SCRAM-SHA-256-PLUS. None where rsasl will not.
    pub(super) fn begin(
        mechanism: Mechanism,
        first: ClientFirst,
        verifier: ScramVerifier,
        exporter: Option<Arc<[u8]>>,
    ) -> Option<(Self, Vec<u8>)> {
        static OFFERS: &[Offer] = &[SCRAM_SHA256, SCRAM_SHA256_PLUS];
        let registry = Registry::with_mechanisms(match exporter {
            Some(_) => OFFERS,
            None => OFFERS.get(..1)?,
        });
        let known = Known { verifier, exporter };
        let config = SASLConfig::builder().with_registry(registry).with_callback(known).ok()?;
        let name = Mechname::parse(mechanism.name().as_bytes()).ok()?;
        let mut exchange = SASLServer::<Proven>::new(config).start_suggested(name).ok()?;
        let mut answer = Vec::new();
        let state = exchange.step(Some(&first.message), &mut answer).ok()?;
        let ClientFirst { name, acts_as, .. } = first;
        matches!(state, State::Running).then_some((Self { exchange, mechanism, name, acts_as }, answer))
    }

    /// The client's last message.
    pub(super) fn finish(&mut self, message: &[u8]) -> Proof {
        if !is_client_final(message) {
            return Proof::Unreadable;
        }
        let mut answer = Vec::new();
        match self.exchange.step(Some(message), &mut answer) {
            // A wrong proof ends in the same state; only a right one is validated.
            Ok(State::Finished(_)) if self.exchange.validation().is_some() => Proof::Held(answer),
            _ => Proof::Wrong,
        }
    }
}

/// Set by rsasl when the proof was right.
struct Proven;

impl Validation for Proven {
    type Value = ();
}

/// What rsasl asks for.
struct Known {
    verifier: ScramVerifier,
    exporter: Option<Arc<[u8]>>,
}

impl SessionCallback for Known {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        let ScramVerifier { iterations, salt, stored_key, server_key } = &self.verifier;
        let stored = ScramStoredPassword::new(*iterations, salt, stored_key, server_key);
        request.satisfy::<ScramStoredPassword<'static>>(&stored)?;
        if let Some(exporter) = &self.exporter {
            request.satisfy::<ChannelBindings>(exporter)?;
        }
        Ok(())
    }

    fn validate(&self, _: &SessionData, _: &Context<'_>, validate: &mut Validate<'_>) -> Result<(), ValidationError> {
        validate.finalize::<Proven>(());
        Ok(())
    }
}
