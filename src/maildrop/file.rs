//! The files of the folder. Each has one message: a line that says what it is, a line of JSON with the envelope, the content.
//!
//! The folder has mode 3733: anybody may put a file there, nobody but the relay sees which there are; the sticky bit keeps users
//! from each other's files. The set-group-id bit gives each file the relay's group, by which the relay may read it, and which proves
//! that it was made there: a hard link to somebody else's file, or a file that was moved there, has another group. While it is
//! being written a file is its owner's alone.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Envelope;

/// The first line.
const MAGIC: &[u8] = b"waypost-maildrop 1\n";

/// Octets of the envelope's line: ten thousand recipients.
const ENVELOPE_MAX: u64 = 1 << 20;

/// Octets of the disk that are left alone: below twice that the relay takes no mail by itself (`queue.min-free`), and what it would
/// have taken must not use up the rest.
const FLOOR: u64 = 128 << 20;

/// Messages of a user in one turn, and files seen in it at most: whoever makes more holds up nobody but himself.
const TURN: usize = 1000;
const SEEN: usize = 100_000;

/// While it is written, a file is its owner's alone; then the relay's group may read it.
const WRITING: u32 = 0o600;
const WRITTEN: u32 = 0o640;

/// Nobody writes for so long: what is not complete by then never will be.
const ABANDONED: Duration = Duration::from_secs(86_400);

const ENDING: &str = "mail";

/// Why a message could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// There is no such folder: nobody set the relay up for it.
    #[error("there is no folder {0} to keep mail in while the relay can't take it")]
    NoFolder(PathBuf),
    /// Files in it would not get its group, and the relay would not take them for mail.
    #[error("the folder {0} can't keep mail: its mode has to be 3733")]
    Unfit(PathBuf),
    /// What is left of the disk is for the relay, which needs it to get rid of mail.
    #[error("{0}: too little space is left to keep mail there")]
    Full(PathBuf),
    /// The system said no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The user who put it there.
    pub owner: u32,
    /// When.
    pub since: SystemTime,
    /// Who sent it to whom.
    pub envelope: Envelope,
    /// Header section and body.
    pub content: Vec<u8>,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is being written, or gone.
    NotYet,
    /// It is nothing that `sendmail` writes, and may be removed.
    Foreign(&'static str),
    /// It is, but something is wrong with it: to be kept for people to look at.
    Damaged(&'static str),
}

/// Keeps a message, durable when this returns. `folder` is not made here: its mode matters.
///
/// # Errors
/// When it is not kept.
pub fn write(folder: &Path, envelope: &Envelope, content: &[u8]) -> Result<PathBuf, DropError> {
    match std::fs::metadata(folder) {
        Ok(facts) if !facts.is_dir() => return Err(DropError::NoFolder(folder.to_owned())),
        Ok(facts) if !is_fit(&facts) => return Err(DropError::Unfit(folder.to_owned())),
        Ok(_) => {}
        Err(_gone) => return Err(DropError::NoFolder(folder.to_owned())),
    }
    let failed = |error: io::Error| DropError::Io(folder.to_owned(), error);
    let space = rustix::fs::statvfs(folder).map_err(|error| failed(error.into()))?;
    if space.f_bavail.saturating_mul(space.f_frsize) < FLOOR.saturating_add(content.len() as u64) {
        return Err(DropError::Full(folder.to_owned()));
    }
    let mut name = [0; 16];
    getrandom::getrandom(&mut name).map_err(|error| failed(io::Error::other(error.to_string())))?;
    let name: String = name.iter().map(|octet| format!("{octet:02x}")).collect();
    let path = folder.join(format!("{name}.{ENDING}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(WRITING).open(&path).map_err(failed)?;
    let written = fill(&mut file, envelope, content);
    if let Err(error) = written {
        // Nobody has been told that it is kept.
        let _ = std::fs::remove_file(&path);
        return Err(failed(error));
    }
    Ok(path)
}

/// Whether a folder is one for mail: the set-group-id bit tells what was made there, the sticky bit keeps users apart.
pub fn is_fit(folder: &Metadata) -> bool {
    folder.permissions().mode() & 0o3000 == 0o3000
}

fn fill(file: &mut File, envelope: &Envelope, content: &[u8]) -> io::Result<()> {
    file.write_all(MAGIC)?;
    let mut line = serde_json::to_vec(&(envelope, content.len()))?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.write_all(content)?;
    file.sync_all()?;
    // Complete from here on.
    file.set_permissions(Permissions::from_mode(WRITTEN))?;
    file.sync_all()?;
    // The folder can't be opened by those who write to it, so its entry is flushed with all of the file system.
    Ok(rustix::fs::syncfs(&*file)?)
}

/// Those that may be messages, as many as fit into a turn: one of each user after the other, so that nobody's mail waits for all
/// of somebody else's. Blocks.
///
/// # Errors
/// When the folder can't be read.
pub fn look(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut users: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)?.take(SEEN) {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        // Of a link itself, not of what it leads to.
        let Ok(facts) = entry.metadata() else { continue };
        let theirs = users.entry(facts.uid()).or_default();
        if theirs.len() < TURN {
            theirs.push(path);
        }
    }
    Ok(by_turns(users.into_values().map(Vec::into_iter).collect()))
}

fn by_turns(mut users: Vec<std::vec::IntoIter<PathBuf>>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    while !users.is_empty() {
        users.retain_mut(|theirs| theirs.next().map(|path| paths.push(path)).is_some());
    }
    paths
}

/// Reads a message of at most so many octets, that belongs to this group. Blocks.
///
/// # Errors
/// Why it is not taken.
pub fn open(path: &Path, group: u32, most: u64) -> Result<Found, Refused> {
    let facts = std::fs::symlink_metadata(path).map_err(|_gone| Refused::NotYet)?;
    if !facts.is_file() {
        return Err(Refused::Foreign("it is no file"));
    }
    if facts.gid() != group || facts.nlink() != 1 {
        return Err(Refused::Foreign("it was not made here"));
    }
    let since = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    if facts.permissions().mode() & 0o040 == 0 {
        let old = since.elapsed().is_ok_and(|age| age > ABANDONED);
        return Err(if old { Refused::Foreign("it was never completed") } else { Refused::NotYet });
    }
    // Neither what a link points to, nor something that would keep us waiting.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|_gone_or_closed| Refused::NotYet)?;
    let same = file.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (facts.dev(), facts.ino()));
    if !same {
        return Err(Refused::NotYet);
    }
    let (envelope, content) = read(file, most)?;
    Ok(Found { path: path.to_owned(), owner: facts.uid(), since, envelope, content })
}

fn read(mut file: File, most: u64) -> Result<(Envelope, Vec<u8>), Refused> {
    let damaged = |_error: io::Error| Refused::Damaged("it can't be read");
    // A message may be larger than the relay takes by now, which the relay then says; but not without end.
    let bound = MAGIC.len() as u64 + ENVELOPE_MAX + most.saturating_mul(2);
    let too_large = Refused::Damaged("it is larger than any message may be");
    // Asked first, so that nothing is read of it; it may still grow.
    let size = file.metadata().map_err(damaged)?.len();
    if size > bound {
        return Err(too_large);
    }
    let mut octets = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    (&mut file).take(bound + 1).read_to_end(&mut octets).map_err(damaged)?;
    if octets.len() as u64 > bound {
        return Err(too_large);
    }
    let rest = octets.strip_prefix(MAGIC).ok_or(Refused::Damaged("it does not begin as a message does"))?;
    let end = memchr::memchr(b'\n', rest).ok_or(Refused::Damaged("it has no envelope"))?;
    let (line, content) = rest.split_at_checked(end).ok_or(Refused::Damaged("it has no envelope"))?;
    let content = content.get(1..).unwrap_or_default();
    let (envelope, size): (Envelope, usize) =
        serde_json::from_slice(line).map_err(|_| Refused::Damaged("its envelope can't be read"))?;
    if !envelope.is_plain() || envelope.recipients.is_empty() {
        return Err(Refused::Damaged("its envelope is none"));
    }
    if content.len() != size {
        return Err(Refused::Damaged("its content is not whole"));
    }
    let head = octets.len() - content.len();
    octets.drain(..head);
    Ok((envelope, octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_by_turns() {
        let theirs = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>().into_iter();
        let order = by_turns(vec![theirs(&["a1", "a2", "a3"]), theirs(&[]), theirs(&["c1", "c2"])]);
        assert_eq!(order, ["a1", "c1", "a2", "c2", "a3"].map(PathBuf::from));
    }
}
