//! Keyed digests: what only a holder of the secret can write into an address. Pure.

use sha1::{Digest, Sha1};

/// Octets of a block of SHA-1.
const BLOCK: usize = 64;

/// HMAC (RFC 2104) with SHA-1, which is what SRS software agrees on; its weakness is collisions, and here there is no use for them.
pub(crate) fn hmac(key: &[u8], text: &[u8]) -> [u8; 20] {
    let mut block = [0_u8; BLOCK];
    let short: Vec<u8> = if key.len() > BLOCK { Sha1::digest(key).to_vec() } else { key.to_vec() };
    for (to, from) in block.iter_mut().zip(short) {
        *to = from;
    }
    let pad = |with: u8| block.map(|octet| octet ^ with);
    let inner = Sha1::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// Base64 (RFC 4648 section 4) without padding.
pub(crate) fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let value = bits >> (18 - 6 * digit) & 63;
            let digit = usize::try_from(value).ok().and_then(|value| DIGITS.get(value)).copied().unwrap_or(b'A');
            text.push(char::from(digit));
        }
    }
    text
}

/// The first characters of a keyed digest of some texts, joined and in lower case.
pub(crate) fn tag(secret: &str, parts: &[&str], length: usize) -> String {
    let text = parts.concat().to_ascii_lowercase();
    base64(&hmac(secret.as_bytes(), text.as_bytes())).chars().take(length).collect()
}

/// Shortest tag that is taken: four characters of six bits are out of reach of who may only try.
pub(crate) const LENGTH_MIN: usize = 4;

/// True if a tag was made with one of the secrets. Compared without case, because some systems change it on the way; that
/// costs a few bits of those a guess needs. A tag may be of another length than ours, as it was when it was made.
pub(crate) fn is_good(tag_found: &str, secrets: &[String], parts: &[&str]) -> bool {
    let length = tag_found.chars().count();
    length >= LENGTH_MIN
        && secrets.iter().any(|secret| {
            let expected = tag(secret, parts, length);
            // As long for a wrong first character as for a wrong last one.
            expected.len() == tag_found.len()
                && expected
                    .bytes()
                    .zip(tag_found.bytes())
                    .fold(0_u8, |differ, (one, other)| differ | (one.to_ascii_lowercase() ^ other.to_ascii_lowercase()))
                    == 0
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// RFC 2202 section 3, test cases 1, 2 and 6.
    #[test]
    fn digests_are_those_of_the_standard() {
        for (key, text, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
            (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(hex(&hmac(key, text)), expected);
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (octets, expected) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64(octets.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn tags_are_held_against_every_secret() {
        let secrets = ["new".to_owned(), "old".to_owned()];
        let made = tag("old", &["AB", "example.org", "Ann"], 4);
        assert!(is_good(&made, &secrets, &["AB", "example.org", "ann"]));
        assert!(is_good(&made.to_lowercase(), &secrets, &["AB", "example.org", "ann"]));
        assert!(is_good(&tag("new", &["x"], 9), &secrets, &["x"]));
        assert!(!is_good(&made, &secrets[..1], &["AB", "example.org", "ann"]));
        assert!(!is_good(&made, &secrets, &["AB", "example.org", "bob"]));
        assert!(!is_good(&made[..3], &secrets, &["AB", "example.org", "ann"]));
        assert!(!is_good("", &secrets, &[""]));
    }
}
