//! Lists of zip archives, from their central directory; nothing is unpacked but an archive within, within bounds. Pure.
//!
//! Everything in an archive was written by somebody who may want it to be misread: each number is checked against what
//! is there.

use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// Octets of an archive within an archive.
const INNER_MAX: usize = 8 << 20;

/// The end record (APPNOTE 4.3.16) without its comment, which has at most 65535 octets.
const END: usize = 22;

/// An entry of the central directory (4.3.12), and the head of a file (4.3.7), without what follows them.
const ENTRY: usize = 46;
const HEAD: usize = 30;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Octets that are not UTF-8 are replaced: extensions are ASCII.
    pub(crate) name: String,
    pub(crate) encrypted: bool,
    method: u16,
    packed: usize,
    at: usize,
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Broken,
    TooMany,
}

/// All entries of an archive, at most `most`.
pub(crate) fn entries(archive: &[u8], most: usize) -> Result<Vec<Entry>, Problem> {
    let end = end(archive).ok_or(Problem::Broken)?;
    let count = usize::from(u16_at(archive, end + 10).ok_or(Problem::Broken)?);
    let size = usize_at(archive, end + 12).ok_or(Problem::Broken)?;
    if count > most {
        return Err(Problem::TooMany);
    }
    // From the end back: something may stand before the archive, such as a program that unpacks it.
    let mut at = end.checked_sub(size).ok_or(Problem::Broken)?;
    let before = at.checked_sub(usize_at(archive, end + 16).ok_or(Problem::Broken)?).ok_or(Problem::Broken)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (entry, length) = entry(archive, at, before).ok_or(Problem::Broken)?;
        found.push(entry);
        at += length;
    }
    // Entries that the count does not tell of would be seen by others.
    if at == end { Ok(found) } else { Err(Problem::Broken) }
}

/// Where the last end record is whose comment fits.
fn end(archive: &[u8]) -> Option<usize> {
    let last = archive.len().checked_sub(END)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|at| {
        archive.get(*at..).is_some_and(|rest| rest.starts_with(b"PK\x05\x06"))
            && u16_at(archive, at + 20).is_some_and(|comment| at + END + usize::from(comment) <= archive.len())
    })
}

fn entry(archive: &[u8], at: usize, before: usize) -> Option<(Entry, usize)> {
    let rest = archive.get(at..)?;
    if !rest.starts_with(b"PK\x01\x02") {
        return None;
    }
    let length = |offset| u16_at(rest, offset).map(usize::from);
    let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
    let flags = u16_at(rest, 8)?;
    let entry = Entry {
        name: String::from_utf8_lossy(rest.get(ENTRY..ENTRY + name)?).into_owned(),
        // Encrypted, or with a masked head (4.4.4).
        encrypted: flags & 1 != 0 || flags & 0x2000 != 0,
        method: u16_at(rest, 10)?,
        packed: usize_at(rest, 20)?,
        at: usize_at(rest, 42)?.checked_add(before)?,
    };
    Some((entry, ENTRY + name + extra + comment))
}

/// What is in an entry, if it is not encrypted, not too large and packed in a usual way.
pub(crate) fn unpacked(archive: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    let head = archive.get(entry.at..)?;
    if entry.encrypted || !head.starts_with(b"PK\x03\x04") {
        return None;
    }
    let from = HEAD + usize::from(u16_at(head, 26)?) + usize::from(u16_at(head, 28)?);
    let packed = head.get(from..from.checked_add(entry.packed)?)?;
    match entry.method {
        0 if packed.len() <= INNER_MAX => Some(packed.to_vec()),
        8 => decompress_to_vec_with_limit(packed, INNER_MAX).ok(),
        _ => None,
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let two = octets.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(two.try_into().ok()?))
}

fn usize_at(octets: &[u8], at: usize) -> Option<usize> {
    let four = octets.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// Archives for tests.
#[cfg(test)]
pub(crate) mod testing {
    /// Entries by name, flags and content, packed or not.
    pub(crate) fn zip(entries: &[(&str, u16, &[u8])], packed: bool) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, flags, content) in entries {
            let data = if packed { miniz_oxide::deflate::compress_to_vec(content, 6) } else { content.to_vec() };
            let at = u32::try_from(archive.len()).unwrap();
            let method: u16 = if packed { 8 } else { 0 };
            let sizes = [u32::try_from(data.len()).unwrap(), u32::try_from(content.len()).unwrap()];
            let names = [u16::try_from(name.len()).unwrap(), 0];
            let shared = |out: &mut Vec<u8>| {
                out.extend([20, 0]);
                out.extend(flags.to_le_bytes());
                out.extend(method.to_le_bytes());
                out.extend([0; 8]);
                out.extend(sizes.iter().flat_map(|n| n.to_le_bytes()));
                out.extend(names.iter().flat_map(|n| n.to_le_bytes()));
            };
            archive.extend(b"PK\x03\x04");
            shared(&mut archive);
            archive.extend(name.as_bytes());
            archive.extend(&data);
            directory.extend(b"PK\x01\x02\x14\0");
            shared(&mut directory);
            directory.extend([0; 10]);
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (start, size) = (archive.len() as u32, directory.len() as u32);
        let count = u16::try_from(entries.len()).unwrap();
        archive.extend(directory);
        archive.extend(b"PK\x05\x06\0\0\0\0");
        archive.extend(count.to_le_bytes().repeat(2));
        archive.extend(size.to_le_bytes());
        archive.extend(start.to_le_bytes());
        archive.extend([0, 0]);
        archive
    }
}

#[cfg(test)]
mod tests {
    use super::testing::zip;
    use super::*;

    #[test]
    fn entries_are_listed() {
        for packed in [false, true] {
            let archive = zip(&[("a.txt", 0, b"hello hello hello"), ("b/c.exe", 1, b"x")], packed);
            let listed = entries(&archive, 10).unwrap();
            let names: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.encrypted)).collect();
            assert_eq!(names, [("a.txt", false), ("b/c.exe", true)]);
            assert_eq!(unpacked(&archive, &listed[0]).unwrap(), b"hello hello hello");
            assert_eq!(unpacked(&archive, &listed[1]), None);
        }
    }

    #[test]
    fn something_may_stand_before_and_after() {
        let archive = zip(&[("a.txt", 0, b"hello")], false);
        let mut with = b"MZ program".to_vec();
        with.extend(&archive);
        let length = with.len();
        with[length - 2] = 3;
        with.extend(b"bye");
        let listed = entries(&with, 10).unwrap();
        assert_eq!(unpacked(&with, &listed[0]).unwrap(), b"hello");
    }

    #[test]
    fn what_is_odd_has_no_list() {
        let archive = zip(&[("a.txt", 0, b"hello"), ("b.txt", 0, b"hello")], false);
        assert_eq!(entries(&archive, 1), Err(Problem::TooMany));
        let mut fewer = archive.clone();
        let end = fewer.len() - END;
        fewer[end + 10] = 1;
        assert_eq!(entries(&fewer, 10), Err(Problem::Broken), "an entry the count does not tell of");
        for length in 0..archive.len() {
            assert_eq!(entries(&archive[..length], 10), Err(Problem::Broken), "cut at {length}");
        }
        for (at, octet) in [(10, 0xff), (12, 0xff), (0, 0)] {
            let mut bad = archive.clone();
            let place = bad.len() - END + at;
            bad[place] = octet;
            assert!(entries(&bad, 10).is_err(), "{at}");
        }
        assert_eq!(entries(b"PK\x05\x06", 10), Err(Problem::Broken));
    }

    #[test]
    fn no_octet_breaks_the_list() {
        let archive = zip(&[("a.txt", 0, b"hello"), ("b.zip", 1, b"hello")], true);
        for at in 0..archive.len() {
            for octet in 0..=255 {
                let mut bad = archive.clone();
                bad[at] = octet;
                for entry in entries(&bad, 10).into_iter().flatten() {
                    unpacked(&bad, &entry);
                }
            }
        }
    }

    #[test]
    fn bombs_are_left_alone() {
        let archive = zip(&[("a.zip", 0, &vec![0; INNER_MAX + 1])], true);
        let listed = entries(&archive, 10).unwrap();
        assert_eq!(unpacked(&archive, &listed[0]), None);
    }
}
