//! The little of ASN.1 (DER) that keys need: PEM files read, public keys wrapped. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The algorithm identifier rsaEncryption with its NULL (RFC 3279 section 2.3.1).
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A PKCS#8 document of an Ed25519 key up to its 32 octets (RFC 8410 section 7): the form that every library reads.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The first PEM block of a text (RFC 7468): its label and its octets.
pub(super) fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let rest = text.split_once("-----BEGIN ")?.1;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// A PEM file of a PKCS#8 document.
pub(super) fn pem_of_ed25519(seed: &[u8; 32]) -> String {
    let document = [&ED25519_PKCS8[..], seed].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document))
}

/// The SubjectPublicKeyInfo (RFC 5280 section 4.1) around an RSAPublicKey: what DKIM records have, whatever RFC 6376
/// section 3.6.1 was first taken to say (its erratum 3017).
pub(super) fn public_key_info(rsa_public_key: &[u8]) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend_from_slice(rsa_public_key);
    let mut inner = RSA_ENCRYPTION.to_vec();
    push(&mut inner, 0x03, &bits);
    let mut out = Vec::with_capacity(inner.len() + 4);
    push(&mut out, 0x30, &inner);
    out
}

/// One element: tag, length, content.
fn push(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    match significant.as_slice() {
        [] => out.push(0),
        [short @ 0..=0x7f] => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_where_they_can_be() {
        for (length, head) in [(0, &[4_u8, 0][..]), (127, &[4, 127]), (128, &[4, 0x81, 128]), (300, &[4, 0x82, 1, 44])]
        {
            let mut out = Vec::new();
            push(&mut out, 4, &vec![7; length]);
            assert_eq!(&out[..head.len()], head);
            assert_eq!(out.len(), head.len() + length);
        }
    }

    #[test]
    fn the_first_block_of_a_file_is_read() {
        let text = "comment\n-----BEGIN A KEY-----\nAAEC\r\nAwQF\n-----END A KEY-----\n-----BEGIN B-----\n";
        assert_eq!(pem(text), Some(("A KEY", vec![0, 1, 2, 3, 4, 5])));
        for bad in ["", "-----BEGIN A-----\nAAEC", "-----BEGIN A-----\n?\n-----END A-----", "AAEC"] {
            assert_eq!(pem(bad), None, "{bad}");
        }
    }
}
