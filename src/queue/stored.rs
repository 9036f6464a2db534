//! The stored form of messages: versioned, checksummed, the same on every machine.
//!
//! A record value: version (1 octet), CRC-32 of all that follows (4, big-endian), length of the record (4), the
//! record (postcard), then head and body where both are small. A chunk of content: CRC-32 (4), octets.
//! Pure. Must never take for sound what does not verify.

mod first;

use bytes::{BufMut, Bytes, BytesMut};

use super::Record;
use super::keys;
use crate::mail::QueueId;
use crate::store::Write;

/// Of the form that this program writes. A new field in a record, or another order, is a new version.
pub(super) const VERSION: u8 = 2;

const PREFIX: usize = 1 + 4 + 4;

/// A body up to this size is in the store, a larger one in the spool.
pub(super) const INLINE: usize = 32 * 1024;

/// Content up to this size is one value with its record; larger content is cut into chunks of it. sled writes a page of up to
/// 17 pairs as one piece, and a piece above 128 KiB into a file of its own, which it does not flush with the rest.
pub(super) const CHUNK: usize = 7 * 1024;

/// Why a value can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("it was written by a later version of this program (form {0})")]
    Future(u8),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is too short")]
    Short,
    #[error("it is not a record")]
    Record,
}

/// A record with, perhaps, its content behind it.
pub(super) fn encode(record: &Record, head: &[u8], body: &[u8]) -> Bytes {
    encode_as(VERSION, record, head, body)
}

fn encode_as(version: u8, record: &impl serde::Serialize, head: &[u8], body: &[u8]) -> Bytes {
    let mut value = Vec::with_capacity(PREFIX + 512 + head.len() + body.len());
    value.put_u8(version);
    value.put_u64(0);
    // Serialising plain data into memory can't fail; were it to, the empty record would not decode and be set aside.
    let mut value = postcard::to_extend(record, value).unwrap_or_default();
    let length = u32::try_from(value.len().saturating_sub(PREFIX)).unwrap_or(u32::MAX);
    value.extend_from_slice(head);
    value.extend_from_slice(body);
    if let Some(place) = value.get_mut(5..PREFIX) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    let crc = crc32fast::hash(value.get(5..).unwrap_or_default());
    if let Some(place) = value.get_mut(1..5) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    // It may stay in memory for a while, with thousands of others: no larger than it is.
    value.shrink_to_fit();
    value.into()
}

/// The record and what is behind it.
pub(super) fn decode(value: &Bytes) -> Result<(Record, Bytes), FormError> {
    let version = *value.first().ok_or(FormError::Short)?;
    if version > VERSION {
        return Err(FormError::Future(version));
    }
    let crc = number(value, 1)?;
    if version == 0 || crc32fast::hash(value.get(5..).unwrap_or_default()) != crc {
        return Err(FormError::Checksum);
    }
    let end = PREFIX.saturating_add(number(value, 5)? as usize);
    let record = value.get(PREFIX..end).ok_or(FormError::Short)?;
    let record = match version {
        1 => postcard::from_bytes::<first::Record>(record).map(Record::from),
        _ => postcard::from_bytes(record),
    };
    Ok((record.map_err(|_not_one| FormError::Record)?, value.slice(end..)))
}

/// The same record, with what is behind it, in the form of today; none if it is already.
pub(super) fn renewed(value: &Bytes) -> Result<Option<Bytes>, FormError> {
    let (record, blob) = decode(value)?;
    Ok((value.first() != Some(&VERSION)).then(|| encode(&record, &blob, &[])))
}

/// Head and body as chunks.
pub(super) fn chunks(id: QueueId, head: &[u8], body: &[u8], writes: &mut Vec<Write>) {
    let mut parts = [head, body].into_iter().flat_map(|part| part.chunks(CHUNK)).peekable();
    let mut number = 0;
    while parts.peek().is_some() {
        let mut value = BytesMut::with_capacity(4 + CHUNK.min(head.len() + body.len()));
        value.put_u32(0);
        while let Some(part) = parts.next_if(|part| value.len() == 4 || value.len() - 4 + part.len() <= CHUNK) {
            value.put_slice(part);
        }
        let crc = crc32fast::hash(value.get(4..).unwrap_or_default());
        if let Some(place) = value.get_mut(..4) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        writes.push(Write::Put { key: keys::chunk(id, number), value: value.freeze() });
        number += 1;
    }
}

/// How many chunks [`chunks`] makes of a head and a body of these sizes: never more than this.
pub(super) fn chunk_count(record: &Record, inline_body: u64) -> u32 {
    let chunk = CHUNK as u64;
    u32::try_from(u64::from(record.head_size).div_ceil(chunk) + inline_body.div_ceil(chunk)).unwrap_or(u32::MAX)
}

/// The octets of a chunk.
pub(super) fn open_chunk(value: &Bytes) -> Result<Bytes, FormError> {
    let crc = number(value, 0)?;
    let octets = value.slice(4..);
    if crc32fast::hash(&octets) == crc { Ok(octets) } else { Err(FormError::Checksum) }
}

fn number(value: &[u8], at: usize) -> Result<u32, FormError> {
    let raw = value.get(at..at + 4).and_then(|raw| raw.try_into().ok()).ok_or(FormError::Short)?;
    Ok(u32::from_be_bytes(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::record;

    /// The form on disk: a change here is a new version, and the old one must still be read.
    #[test]
    fn the_bytes_of_version_2_stay() {
        let value = encode(&record(7, &["a@example.net"]), b"H", b"B");
        let hex: String = value.iter().map(|octet| format!("{octet:02x}")).collect();
        insta::assert_snapshot!(hex, @"02ae137419000000560780c48fdfa4beb00600010673656e6465720b6578616d706c652e6f7267000000010001610b6578616d706c652e6e657401610b6578616d706c652e6e6574000080c48fdfa4beb006000000000000000000000000004842");
    }

    #[test]
    fn the_bytes_of_version_1_are_read() {
        let hex = "01c179bfbd000000530780c48fdfa4beb00600010673656e6465720b6578616d706c652e6f7267000000010001610b6578616d\
                   706c652e6e657401610b6578616d706c652e6e6574000080c48fdfa4beb006000000000000000000004842";
        let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let (read, blob) = decode(&octets.collect::<Vec<u8>>().into()).unwrap();
        assert_eq!((read, &blob[..]), (record(7, &["a@example.net"]), &b"HB"[..]));
    }

    #[test]
    fn a_record_of_version_1_is_renewed_with_what_is_behind_it() {
        let hex = "01c179bfbd000000530780c48fdfa4beb00600010673656e6465720b6578616d706c652e6f7267000000010001610b6578616d\
                   706c652e6e657401610b6578616d706c652e6e6574000080c48fdfa4beb006000000000000000000004842";
        let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let renewed = renewed(&octets.collect::<Vec<u8>>().into()).unwrap().unwrap();
        assert_eq!(renewed, encode(&record(7, &["a@example.net"]), b"H", b"B"));
        assert_eq!(super::renewed(&renewed).unwrap(), None, "once is enough");
    }

    #[test]
    fn a_record_reads_back_with_what_is_behind_it() {
        let written = record(7, &["a@example.net", "b@example.net"]);
        let (read, blob) = decode(&encode(&written, b"head", b"body")).unwrap();
        assert_eq!((read, &blob[..]), (written, &b"headbody"[..]));
    }

    #[test]
    fn damage_and_later_versions_are_told_apart() {
        let value = encode(&record(7, &["a@example.net"]), b"head", b"body").to_vec();
        for at in 1..value.len() {
            let mut wrong = value.clone();
            wrong[at] ^= 0x10;
            assert_eq!(decode(&wrong.into()).unwrap_err(), FormError::Checksum, "octet {at}");
        }
        for len in 0..value.len() {
            decode(&Bytes::copy_from_slice(&value[..len])).unwrap_err();
        }
        let mut later = value;
        later[0] = VERSION + 1;
        let error = decode(&later.into()).unwrap_err();
        assert_eq!(error, FormError::Future(3));
        assert_eq!(error.to_string(), "it was written by a later version of this program (form 3)");
    }

    #[test]
    fn chunks_hold_all_of_the_content_and_are_never_more_than_counted() {
        for (head, body) in [(0, 0), (1, 0), (500, 4096), (CHUNK, CHUNK), (CHUNK + 1, 1), (262_144, INLINE), (3, CHUNK)]
        {
            let (head, body) = (vec![b'h'; head], vec![b'b'; body]);
            let mut writes = Vec::new();
            chunks(QueueId::from_u64(7), &head, &body, &mut writes);
            let mut record = record(7, &["a@example.net"]);
            record.head_size = head.len() as u32;
            assert!(writes.len() <= chunk_count(&record, body.len() as u64) as usize);
            let mut all = Vec::new();
            for write in writes {
                let Write::Put { value, .. } = write else { panic!("a delete") };
                assert!(value.len() <= 4 + CHUNK);
                all.extend_from_slice(&open_chunk(&value).unwrap());
            }
            assert!(all == [head, body].concat());
        }
        assert_eq!(open_chunk(&Bytes::from_static(b"\0\0\0\0x")), Err(FormError::Checksum));
        assert_eq!(open_chunk(&Bytes::from_static(b"\0")), Err(FormError::Short));
    }
}
