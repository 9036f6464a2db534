//! The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. Pure but for the nonce it is given.
//!
//! The password does not go over the wire, and the server proves that it knows the account as well. Must never answer a
//! server that did not take up the nonce, nor compute for as long as a server likes.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use crate::delivery::Credential;

/// Rounds that a server may ask for, some 50 ms of work; the common number is 4096 (RFC 7677 section 4).
const ROUNDS_MAX: u32 = 100_000;

/// `n,,`: no channel binding, no other identity (RFC 5802 section 7).
const HEADER: &str = "n,,";

/// One exchange.
pub(super) struct Scram {
    secret: Vec<u8>,
    nonce: String,
    first: String,
    /// What the server has to say at last.
    signature: Option<Vec<u8>>,
}

impl fmt::Debug for Scram {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").finish_non_exhaustive()
    }
}

impl Scram {
    /// For this account. `None` where the password is not of ASCII: it would have to be prepared first (RFC 5802 section
    /// 5.1), and other mechanisms do without.
    pub(super) fn new(credential: &Credential, nonce: String) -> Option<Self> {
        let plain = credential.secret.bytes().all(|b| (b' '..=b'~').contains(&b));
        let name = credential.name.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={name},r={nonce}");
        let secret = credential.secret.as_bytes().to_vec();
        plain.then_some(Self { secret, nonce, first, signature: None })
    }

    /// The first message, in base64.
    pub(super) fn first(&self) -> String {
        STANDARD.encode(format!("{HEADER}{}", self.first))
    }

    /// The answer to the server's first message, both in base64; `None` if that makes no sense.
    pub(super) fn answer(&mut self, challenge: &str) -> Option<String> {
        let challenge = String::from_utf8(STANDARD.decode(challenge).ok()?).ok()?;
        let mut parts = challenge.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let rounds: u32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || rounds > ROUNDS_MAX {
            return None;
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::new(rounds)?, &salt, &self.secret, &mut salted);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(HEADER));
        let message = format!("{},{challenge},{without_proof}", self.first);
        let client_key = signed(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = signed(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = signed(&salted, b"Server Key");
        self.signature = Some(signed(server_key.as_ref(), message.as_bytes()).as_ref().to_vec());
        Some(STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }

    /// True if the server's last message, in base64, shows that it knows the account.
    pub(super) fn is_proof(&self, last: &str) -> bool {
        let said = STANDARD.decode(last).ok().and_then(|last| String::from_utf8(last).ok());
        let said = said.as_deref().and_then(|last| last.strip_prefix("v=")).and_then(|v| STANDARD.decode(v).ok());
        said.is_some() && said == self.signature
    }
}

fn signed(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(secret: &str) -> Option<Scram> {
        let credential = Credential { name: "user".into(), secret: secret.into() };
        Scram::new(&credential, "rOprNGfwEbeRWgbNEkqO".into())
    }

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_example_of_rfc_7677() {
        let mut scram = exchange("pencil").unwrap();
        assert_eq!(STANDARD.decode(scram.first()).unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = STANDARD.decode(scram.answer(&STANDARD.encode(SERVER_FIRST)).unwrap()).unwrap();
        let want = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(last).unwrap(), want);
        assert!(scram.is_proof(&STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
        assert!(!scram.is_proof(&STANDARD.encode("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
        assert!(!scram.is_proof(""));
    }

    #[test]
    fn what_makes_no_sense_is_not_answered() {
        for bad in [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001",
            "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            "e=unknown-user",
        ] {
            assert_eq!(exchange("pencil").unwrap().answer(&STANDARD.encode(bad)), None, "{bad}");
        }
        assert!(exchange("bleistift\u{e9}").is_none());
        assert!(!exchange("pencil").unwrap().is_proof(&STANDARD.encode("v=")), "nothing was asked yet");
    }
}
