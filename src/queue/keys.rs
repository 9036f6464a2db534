//! Keys of the queue's tree. One tree for all, because only writes to one tree are atomic together.
//!
//! `n` id: a message not tried yet, record and small content in one value; its own due index, by arrival.
//! `m` id: the record of a message that waits for another try or is held. `d` due id: when; none for held ones; `u` instead of
//! it for those that go before others.
//! `b` id number: content of `m`, and large header sections of `n`, in chunks. `x` and any of these: damaged.
//! `r` number: a rule in force.

use bytes::{BufMut, Bytes, BytesMut};

use crate::mail::QueueId;
use crate::time::Timestamp;

/// Where it stands when a message is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// Of most.
    Due,
    /// Of those that go before others.
    Urgent,
}

impl Index {
    pub(super) const fn prefix(self) -> u8 {
        match self {
            Self::Due => b'd',
            Self::Urgent => b'u',
        }
    }
}

/// The queue's tree.
pub(super) const TREE: &str = "queue";

pub(super) fn fresh(id: QueueId) -> Bytes {
    named(b'n', id)
}

pub(super) fn waiting(id: QueueId) -> Bytes {
    named(b'm', id)
}

pub(super) fn chunk(id: QueueId, number: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(13);
    key.put_u8(b'b');
    key.put_u64(id.to_u64());
    key.put_u32(number);
    key.freeze()
}

/// Sorted by time, then by arrival. Times before 1970 count as 1970.
pub(super) fn due(index: Index, at: Timestamp, id: QueueId) -> Bytes {
    let mut key = BytesMut::with_capacity(17);
    key.put_u8(index.prefix());
    key.put_u64(at.micros().max(0).unsigned_abs());
    key.put_u64(id.to_u64());
    key.freeze()
}

/// Of a rule; 0: the number of the last one made.
pub(super) fn rule(number: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(5);
    key.put_u8(b'r');
    key.put_u32(number);
    key.freeze()
}

pub(super) fn damaged(key: &[u8]) -> Bytes {
    [b"x", key].concat().into()
}

/// Past every key that begins with `prefix`.
pub(super) fn end(prefix: u8) -> [u8; 1] {
    [prefix + 1]
}

/// The id of an `n` or `m` key.
pub(super) fn id_of(key: &[u8]) -> Option<QueueId> {
    key.get(1..9)?.try_into().ok().map(|raw| QueueId::from_u64(u64::from_be_bytes(raw)))
}

/// Time and id of a `d` or `u` key.
pub(super) fn due_of(key: &[u8]) -> Option<(Timestamp, QueueId)> {
    let at = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let id = u64::from_be_bytes(key.get(9..17)?.try_into().ok()?);
    Some((Timestamp::from_micros(i64::try_from(at).ok()?), QueueId::from_u64(id)))
}

fn named(prefix: u8, id: QueueId) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(prefix);
    key.put_u64(id.to_u64());
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_they_should_and_read_back() {
        let (a, b) = (QueueId::from_u64(7), QueueId::from_u64(8));
        let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(300));
        let due = |at, id| due(Index::Due, at, id);
        assert!(due(early, b) < due(late, a) && due(early, a) < due(early, b));
        assert_eq!(due_of(&super::due(Index::Urgent, late, a)), Some((late, a)));
        assert!(fresh(a) < fresh(b) && *fresh(b) < end(b'n')[..] && chunk(a, 9) < chunk(a, 10));
        assert_eq!(due_of(&due(late, b)), Some((late, b)));
        assert_eq!(due_of(&due(Timestamp::from_secs(-5), b)), Some((Timestamp::default(), b)));
        assert_eq!(id_of(&waiting(b)), Some(b));
        assert_eq!(id_of(b"n123"), None);
    }
}
