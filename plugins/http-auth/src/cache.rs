//! Successes that are kept for a while: a salted, slow hash of the password, never the password. Pure.

use std::fmt::Write as _;

use pbkdf2::pbkdf2_hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::Known;

/// Rounds of PBKDF2 (RFC 8018): some milliseconds, of the 50 a call at AUTH has.
const ROUNDS: u32 = 5000;

/// Octets of salt (RFC 8018 section 4.1 wants 8 at least).
pub(crate) const SALT: u32 = 16;

/// What is kept of a success.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    salt: String,
    hash: String,
    known: Known,
}

impl Entry {
    /// Of a password that was good.
    pub(crate) fn of(secret: &str, salt: &[u8], known: Known) -> Self {
        let salt = hex(salt);
        Self { hash: hash(secret, &salt), salt, known }
    }

    /// Who somebody with this password is, if it is the one that was good.
    pub(crate) fn verify(self, secret: &str) -> Option<Known> {
        let offered = hash(secret, &self.salt);
        // Over all octets, however early they differ.
        let differ = offered.bytes().zip(self.hash.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        (differ == 0 && offered.len() == self.hash.len()).then_some(self.known)
    }
}

/// Who is meant: a digest, because names are longer than keys may be, and nobody's business in a dump.
pub(crate) fn key(name: &str, acts_as: Option<&str>) -> String {
    let mut digest = Sha256::new();
    for part in [name, acts_as.unwrap_or_default()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    format!("s:{}", hex(digest.finalize().get(..20).unwrap_or_default()))
}

fn hash(secret: &str, salt: &str) -> String {
    let mut output = [0_u8; 32];
    pbkdf2_hmac::<Sha256>(secret.as_bytes(), salt.as_bytes(), ROUNDS, &mut output);
    hex(&output)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String can't fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(secret: &str, salt: &[u8]) -> String {
        serde_json::to_string(&Entry::of(secret, salt, Known::default())).unwrap()
    }

    #[test]
    fn only_the_same_password_is_good() {
        let text = stored("correct horse", b"0123456789abcdef");
        assert!(!text.contains("horse"), "{text}");
        let entry = || serde_json::from_str::<Entry>(&text).unwrap();
        assert!(entry().verify("correct horse").is_some());
        for secret in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(entry().verify(secret).is_none(), "{secret}");
        }
        let cut: Entry = serde_json::from_str(r#"{"salt": "", "hash": "", "known": {}}"#).unwrap();
        assert!(cut.verify("anything").is_none());
    }

    #[test]
    fn salts_make_a_difference() {
        assert_ne!(stored("x", b"0123456789abcdef"), stored("x", b"1123456789abcdef"));
    }

    #[test]
    fn keys_tell_people_apart() {
        assert_eq!(key("ann", None).len(), 42);
        assert_ne!(key("ann", None), key("Ann", None));
        assert_ne!(key("ann", Some("bob")), key("annbob", None));
    }
}
