//! Body hashes, computed while the body streams by: mail-auth would want the whole message in one piece of memory.

use std::io;

use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

use crate::store::Content;

/// Octets in memory at a time.
const CHUNK: usize = 256 * 1024;

/// A hash that some signature speaks of: how the body is canonicalised, which hash, how much of the body (zero: all), and
/// the place for the result. As mail-auth lists them: each once, so there are at most four.
pub(crate) type Hash = (Canonicalization, HashAlgorithm, u64, Vec<u8>);

/// Computes all of them in one pass. Blocking.
///
/// # Errors
/// When the body can't be read.
pub(crate) fn fill(body: &Content, hashes: &mut [Hash]) -> io::Result<()> {
    if hashes.is_empty() {
        return Ok(());
    }
    let mut hashers: Vec<_> = hashes
        .iter()
        .map(|(canonicalization, algorithm, length, _)| {
            let context = match algorithm {
                HashAlgorithm::Sha1 => Sha1::hasher(),
                HashAlgorithm::Sha256 => Sha256::hasher(),
            };
            BodyHasher::new(context, *canonicalization, *length)
        })
        .collect();
    let mut write = |octets: &[u8]| hashers.iter_mut().for_each(|hasher| hasher.write(octets));
    match body {
        Content::Memory(octets) => write(octets),
        Content::Spooled(spooled) => {
            let mut at = 0;
            while at < spooled.len {
                let chunk = spooled.read_at(at, CHUNK)?;
                write(&chunk);
                at = at.saturating_add(chunk.len() as u64);
            }
        }
    }
    for (hasher, (.., place)) in hashers.into_iter().zip(hashes) {
        *place = hasher.finish().0.complete().as_ref().to_vec();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sled, Spool, Store};

    const ALL: [(Canonicalization, HashAlgorithm); 4] = [
        (Canonicalization::Simple, HashAlgorithm::Sha1),
        (Canonicalization::Simple, HashAlgorithm::Sha256),
        (Canonicalization::Relaxed, HashAlgorithm::Sha1),
        (Canonicalization::Relaxed, HashAlgorithm::Sha256),
    ];

    /// As mail-auth hashes a body that it has whole.
    fn at_once(body: &[u8]) -> Vec<Vec<u8>> {
        ALL.iter().map(|(c, h)| h.hash(c.canonical_body(body, 0)).as_ref().to_vec()).collect()
    }

    fn filled(body: &Content) -> Vec<Vec<u8>> {
        let mut hashes = ALL.map(|(c, h)| (c, h, 0, Vec::new()));
        fill(body, &mut hashes).unwrap();
        hashes.into_iter().map(|(.., hash)| hash).collect()
    }

    #[test]
    fn bodies_in_memory() {
        for body in ["", "\r\n", "\r\n\r\n", "a", "a\r\n", "a \t b \r\n \r\n\r\n", " \r\nb\r\n\r\n\r\nc"] {
            assert_eq!(filled(&Content::Memory(body.into())), at_once(body.as_bytes()), "{body:?}");
        }
    }

    #[tokio::test]
    async fn a_large_body_is_read_in_chunks_and_their_borders_do_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let store: std::sync::Arc<dyn Store> =
            std::sync::Arc::new(Sled::open(&dir.path().join("db"), 1 << 20).unwrap());
        let spool = Spool::open(&dir.path().join("spool"), 0, store).unwrap();
        // White space and line ends at every place of a chunk's border.
        for shift in 0..4 {
            let mut body = vec![b'x'; CHUNK - 2 - shift];
            body.extend(b" \r\n \r\n\r\ny");
            body.extend(vec![b'z'; CHUNK]);
            body.extend(b"\r\n\r\n");
            let mut draft = spool.draft();
            draft.append(&body).await.unwrap();
            let content = draft.finish().await.unwrap();
            assert!(matches!(content, Content::Spooled(_)));
            assert_eq!(filled(&content), at_once(&body), "{shift}");
        }
    }
}
