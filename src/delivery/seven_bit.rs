//! What a message is sent as to a next hop that takes no 8-bit content (RFC 6152).
//!
//! Clients declare `BODY=8BITMIME` for what has no 8-bit octet as well: such a message needs nothing of the next hop. Reads
//! the stored body, and only where it matters.

use bytes::Bytes;

use super::client::Capabilities;
use crate::mail::BodyKind;
use crate::store::Content;

/// Read from the spool at a time.
const READ: usize = 256 * 1024;

/// The kind that a message declared as `declared` needs. What can't be read is found out when it is sent.
pub(super) async fn needed(declared: BodyKind, peer: &Capabilities, head: &Bytes, body: &Content) -> BodyKind {
    let asks = declared == BodyKind::EightBitMime && !peer.eight_bit_mime;
    if asks && head.is_ascii() && is_ascii(body).await { BodyKind::SevenBit } else { declared }
}

async fn is_ascii(body: &Content) -> bool {
    let mut offset = 0;
    while offset < body.len() {
        match body.read_at(offset, READ).await {
            Ok(piece) if piece.is_empty() => return true,
            Ok(piece) if piece.is_ascii() => offset += piece.len() as u64,
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_has_eight_bits_needs_them() {
        let (none, offers) =
            (Capabilities::default(), Capabilities { eight_bit_mime: true, ..Capabilities::default() });
        let table = [
            (BodyKind::EightBitMime, none, "A: b", "plain", BodyKind::SevenBit),
            (BodyKind::EightBitMime, none, "A: b", "Gr\u{fc}\u{df}e", BodyKind::EightBitMime),
            (BodyKind::EightBitMime, none, "A: \u{e4}", "plain", BodyKind::EightBitMime),
            (BodyKind::EightBitMime, offers, "A: b", "plain", BodyKind::EightBitMime),
            (BodyKind::SevenBit, none, "A: b", "Gr\u{fc}\u{df}e", BodyKind::SevenBit),
            (BodyKind::BinaryMime, none, "A: b", "plain", BodyKind::BinaryMime),
        ];
        for (declared, peer, head, body, want) in table {
            let (head, content) = (Bytes::from_static(head.as_bytes()), Content::Memory(body.into()));
            assert_eq!(needed(declared, &peer, &head, &content).await, want, "{declared:?} {body}");
        }
    }
}
