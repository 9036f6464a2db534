//! One private key: read from its file, signs, and tells its public half. Blocking where it reads; RSA takes a millisecond.
//!
//! Must never show the private half, nor take a key that verifiers are told to refuse (RFC 8301 section 3.2).

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::digest::{Digest, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};

use super::der;

/// Octets of a key's file: one of RSA with 4096 bits has some 3300.
const FILE_MAX: u64 = 64 * 1024;

/// How signatures of a key are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    /// RFC 6376 section 3.3.2.
    RsaSha256,
    /// RFC 8463.
    Ed25519Sha256,
}

impl Algorithm {
    /// All there are.
    pub(super) const ALL: [Self; 2] = [Self::RsaSha256, Self::Ed25519Sha256];

    /// As in `a=`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// A private key.
pub struct Key(Kind);

enum Kind {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// A file has no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Key {
    /// Reads a PEM file: PKCS#8, or PKCS#1 for RSA. Blocking.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(path: &Path) -> Result<Self, KeyError> {
        let wrong = |problem: String| KeyError { path: path.to_owned(), problem };
        let text = read(path).map_err(|error| wrong(format!("the key can't be read: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    /// As the file has it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (label, der) = der::pem(text).ok_or("there is no private key in PEM form in it")?;
        match label {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).map_err(|e| rejected(&e)).map(Self::rsa),
            "PRIVATE KEY" => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
                Ok(pair) => Ok(Self(Kind::Ed25519(pair))),
                Err(_) => RsaKeyPair::from_pkcs8(&der).map_err(|e| rejected(&e)).map(Self::rsa),
            },
            "ENCRYPTED PRIVATE KEY" => Err("the key is encrypted, and nobody is there to type its password: \
                                            `openssl pkey -in FILE -out PLAINFILE` writes it without"
                .to_owned()),
            other => Err(format!("it has a {other}, where a PRIVATE KEY or an RSA PRIVATE KEY belongs")),
        }
    }

    fn rsa(pair: RsaKeyPair) -> Self {
        Self(Kind::Rsa(Box::new(pair)))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.0 {
            Kind::Rsa(_) => Algorithm::RsaSha256,
            Kind::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The `k=` and the octets of `p=` in its record (RFC 6376 section 3.6.1, RFC 8463 section 4).
    pub(super) fn public(&self) -> (&'static str, Vec<u8>) {
        match &self.0 {
            Kind::Rsa(pair) => ("rsa", der::public_key_info(pair.public_key().as_ref())),
            Kind::Ed25519(pair) => ("ed25519", pair.public_key().as_ref().to_vec()),
        }
    }

    /// Signs what was canonicalised.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub(super) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        match &self.0 {
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)?;
                Ok(signature)
            }
            // RFC 8463 section 3: what is signed is the digest, not the input.
            Kind::Ed25519(pair) => Ok(pair.sign(digest(input).as_ref()).as_ref().to_vec()),
        }
    }

    /// True if the signature is one of this key.
    pub(super) fn has_signed(&self, input: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Rsa(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
                .verify(input, signature)
                .is_ok(),
            Kind::Ed25519(pair) => UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref())
                .verify(digest(input).as_ref(), signature)
                .is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm()).finish()
    }
}

fn digest(input: &[u8]) -> Digest {
    ring::digest::digest(&SHA256, input)
}

fn rejected(error: &ring::error::KeyRejected) -> String {
    match error.to_string().as_str() {
        // RFC 8301 section 3.2 would let 1024 bits pass, and advises 2048; keys of less can't be signed with here.
        "TooSmall" => "an RSA key of less than 2048 bits: make a new one, `openssl genrsa -out FILE 2048`".to_owned(),
        "TooLarge" => "an RSA key of more than 4096 bits, which many verifiers refuse: make one of 2048".to_owned(),
        "WrongAlgorithm" => "the key is neither RSA nor Ed25519".to_owned(),
        other => format!("no good RSA or Ed25519 key: {other}"),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes an Ed25519 key in a new file that only its owner can read. Blocking.
///
/// # Errors
/// Where the file can't be made, or is there already.
pub fn generate_ed25519(path: &Path) -> Result<(), KeyError> {
    let failed = |problem: String| KeyError { path: path.to_owned(), problem };
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| failed("the system gives no random octets".to_owned()))?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| failed(error.to_string()))?;
    let written = file.write_all(der::pem_of_ed25519(&seed).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| failed(error.to_string()))
}
