//! SCRAM verifiers in the file of credentials: their form, how a password becomes one, and what stands in for those that
//! do not exist. Blocking where it says so; must never show a key.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use crate::session::ScramVerifier;

/// The word before a verifier.
const SCHEME: &str = "SCRAM-SHA-256$";

/// RFC 7677 section 4 asks for 4,096 at least; more than a million would let each login take a second of CPU.
const ITERATIONS: RangeInclusive<u32> = 4096..=1_000_000;

/// Of new verifiers. Clients pay it at each login, whoever stole the file at each guess.
const NEW: u32 = 100_000;

const SALT: usize = 16;

/// Reads `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, keys and salt in base64, as PostgreSQL and others write
/// it. The error does not quote it.
pub(super) fn read(text: &str) -> Result<ScramVerifier, &'static str> {
    const FORM: &str = ": it is not of the form SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY";
    let key = |text: &str| STANDARD.decode(text).ok().and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or(FORM);
    let (costs, keys) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('$')).ok_or(FORM)?;
    let (iterations, salt) = costs.split_once(':').ok_or(FORM)?;
    let (stored_key, server_key) = keys.split_once(':').ok_or(FORM)?;
    let iterations = iterations.parse().map_err(|_| FORM)?;
    let salt = STANDARD.decode(salt).map_err(|_| FORM)?;
    if !ITERATIONS.contains(&iterations) {
        return Err(": its iterations are not from 4096 to 1000000");
    }
    if !(1..=64).contains(&salt.len()) {
        return Err(": its salt is not of 1 to 64 octets");
    }
    Ok(ScramVerifier { iterations, salt: salt.into(), stored_key: key(stored_key)?, server_key: key(server_key)? })
}

/// The form that `read` takes.
fn write(verifier: &ScramVerifier) -> String {
    let [salt, stored_key, server_key] =
        [&verifier.salt[..], &verifier.stored_key, &verifier.server_key].map(|octets| STANDARD.encode(octets));
    format!("{SCHEME}{}:{salt}${stored_key}:{server_key}", verifier.iterations)
}

/// A verifier for a password, with a salt of its own, written. Blocking.
pub(super) fn create(secret: &str) -> Result<String, String> {
    let mut salt = [0; SALT];
    getrandom::getrandom(&mut salt).map_err(|error| format!("no random octets: {error}"))?;
    // Clients prepare it before they compute (RFC 5802 section 2.2); one that can't be prepared would never match.
    let secret = stringprep::saslprep(secret).map_err(|_| {
        "the password has characters that SCRAM does not allow (RFC 4013): take others, or a line of --argon2"
            .to_owned()
    })?;
    derive(&secret, &salt, NEW).map(|verifier| write(&verifier)).ok_or_else(|| "SCRAM has no iterations".to_owned())
}

/// True if a verifier is this password's. Blocking, and takes as long as the verifier's iterations do.
pub(super) fn matches(verifier: &ScramVerifier, secret: &str) -> bool {
    let prepared = stringprep::saslprep(secret);
    let secret = prepared.as_deref().unwrap_or(secret);
    let Some(derived) = derive(secret, &verifier.salt, verifier.iterations) else { return false };
    // Over both keys at once, under a key of the process, for `hmac::verify` compares in constant time.
    let both = |verifier: &ScramVerifier| [verifier.stored_key, verifier.server_key].concat();
    let tag = hmac::sign(key(), &both(verifier));
    hmac::verify(key(), &both(&derived), tag.as_ref()).is_ok()
}

/// RFC 5802 section 3.
fn derive(secret: &str, salt: &[u8], iterations: u32) -> Option<ScramVerifier> {
    let rounds = NonZeroU32::new(iterations)?;
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, secret.as_bytes(), &mut salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&salted, b"Server Key");
    Some(ScramVerifier {
        iterations,
        salt: salt.into(),
        stored_key: stored_key.as_ref().try_into().ok()?,
        server_key: server_key.as_ref().try_into().ok()?,
    })
}

/// What is said of a name that has no verifier: the same as long as the relay runs, over reloads too, and nothing that
/// a password leads to. Who asks twice can't tell it from a name that has one.
pub(super) fn made_up(name: &str, iterations: u32) -> ScramVerifier {
    let octets = |of: &str| {
        let mut context = hmac::Context::with_key(key());
        context.update(of.as_bytes());
        context.update(name.as_bytes());
        let mut octets = [0; 32];
        octets.iter_mut().zip(context.sign().as_ref()).for_each(|(octet, from)| *octet = *from);
        octets
    };
    let salt = octets("salt:").into_iter().take(SALT).collect();
    ScramVerifier { iterations, salt, stored_key: octets("stored:"), server_key: octets("server:") }
}

/// Iterations of made-up verifiers where the file has none to go by.
pub(super) const USUAL: u32 = NEW;

/// The process's own key.
fn key() -> &'static hmac::Key {
    static KEY: OnceLock<hmac::Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut octets = [0; 32];
        // Where the system has no random octets, verifiers of unknown names can be told: no secret is lost by it.
        let _ = getrandom::getrandom(&mut octets);
        hmac::Key::new(hmac::HMAC_SHA256, &octets)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 section 3, up to the signatures that both sides show.
    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = derive("pencil", &salt, 4096).unwrap();
        let messages = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), messages.as_bytes());
        assert_eq!(STANDARD.encode(sign(&verifier.server_key)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = sign(&verifier.stored_key);
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), verifier.stored_key);
        assert!(matches(&verifier, "pencil") && !matches(&verifier, "Pencil"));
    }

    #[test]
    fn a_verifier_is_read_as_it_was_written() {
        let verifier = derive("x", b"salt", 4096).unwrap();
        let written = write(&verifier);
        assert_eq!(read(&written).unwrap(), verifier);
        assert!(!format!("{verifier:?}").contains("salt"));
        for (from, to) in
            [("$4096", "$4095"), ("$4096", "$1000001"), ("256", "1"), ("c2FsdA==", ""), ("=:", ":"), ("$4096", "$")]
        {
            assert!(read(&written.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
        let made = create("correct horse").unwrap();
        assert!(matches(&read(&made).unwrap(), "correct horse"));
        assert!(create("a\u{7}").unwrap_err().contains("RFC 4013"));
        // RFC 4013 section 3: a soft hyphen is nothing, and a Roman numeral is its letters.
        assert!(matches(&read(&create("I\u{ad}X").unwrap()).unwrap(), "\u{2168}"));
    }

    #[test]
    fn what_is_made_up_is_stable_and_of_its_name_alone() {
        let ann = made_up("ann", 4096);
        assert_eq!(ann, made_up("ann", 4096));
        assert_ne!(ann.salt, made_up("bob", 4096).salt);
        assert_ne!(ann.stored_key, ann.server_key);
        assert_eq!(ann.salt.len(), SALT);
    }
}
