//! Folders of the host's own: files that nobody but the relay's user writes, each replaced in one step.
//!
//! What is read is looked at first: a plain file of this user's own that nobody else can open. Blocking: never on the
//! async workers. Must never follow a link that somebody put in place of a file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::load::{digest_of, hex};

/// Octets of a sealed document: settings of a thousand plugins.
const DOCUMENT_MAX: u64 = 16 << 20;

/// A folder with mode 0700.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes it where it is not there. What a crash left half-written is removed.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let found = fs::metadata(path)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
        let folder = Self(path.to_owned());
        let ours = new_name();
        for entry in fs::read_dir(path)?.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(NEW) && !name.starts_with(&ours)) {
                // In the way of nobody, so that it may stay.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(folder)
    }

    /// Where a file of that name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of its files, in no order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// The file's octets; none where there is no such file.
    pub(crate) fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        // Not blocking: a pipe in its place must not hold anybody up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(self.path(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        let ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw();
        if !ours || found.mode() & 0o077 != 0 {
            return Err(invalid("it is not a file that only the relay's user can open"));
        }
        let mut octets = Vec::with_capacity(usize::try_from(found.len().min(most)).unwrap_or(0));
        file.take(most + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > most {
            return Err(invalid("it is too large"));
        }
        Ok(Some(octets))
    }

    /// Writes it whole and flushed, or not at all.
    pub(crate) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let new = self.path(&format!("{}{:016x}", new_name(), fastrand::u64(..)));
        let written = self.write_new(&new, parts).and_then(|()| fs::rename(&new, self.path(name)));
        if written.is_err() {
            // What is left is removed when the folder is next opened.
            let _ = fs::remove_file(&new);
        }
        written?;
        File::open(&self.0)?.sync_all()
    }

    fn write_new(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    }

    /// Removes it, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A document and, on a line below it, its digest: half a file, or one that somebody mended by hand, is noticed.
    pub(crate) fn write_sealed(&self, name: &str, document: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(document)?;
        let seal = hex(&digest_of(&json));
        self.write(name, &[&json, b"\n", seal.as_bytes(), b"\n"])
    }

    /// What [`Self::write_sealed`] wrote; none where there is no such file.
    pub(crate) fn read_sealed<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let Some(octets) = self.read(name, DOCUMENT_MAX)? else { return Ok(None) };
        let mut lines = octets.split(|octet| *octet == b'\n');
        let (json, seal) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if seal != hex(&digest_of(json)).as_bytes() {
            return Err(invalid("it is cut off, or was changed by hand"));
        }
        Ok(Some(serde_json::from_slice(json)?))
    }
}

/// What is being written begins so, whoever writes it.
const NEW: &str = ".new-";

/// Files that this process is writing begin so.
fn new_name() -> String {
    format!("{NEW}{}-", std::process::id())
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_and_ours_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(dir.path().join("a/b")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder.read_sealed::<Vec<u8>>("x").unwrap(), None);
        folder.write_sealed("x", &vec![1, 2, 3]).unwrap();
        assert_eq!(folder.read_sealed::<Vec<u8>>("x").unwrap(), Some(vec![1, 2, 3]));
        let path = folder.path("x");
        let whole = fs::read_to_string(&path).unwrap();
        for bad in [&whole[..whole.len() - 9], &whole.replace('2', "5"), ""] {
            fs::write(&path, bad).unwrap();
            assert!(folder.read_sealed::<Vec<u8>>("x").is_err(), "{bad}");
        }
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(folder.read("x", 1000).is_err(), "others can read it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(folder.read("x", 3).is_err(), "too large");
        std::os::unix::fs::symlink(&path, folder.path("link")).unwrap();
        assert!(folder.read("link", 1000).is_err(), "a link");
        assert!(folder.read("x", 1000).is_ok());
    }

    #[test]
    fn what_a_crash_left_is_removed_and_the_mode_mended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join(".new-0-0123"), "half").unwrap();
        fs::write(path.join("kept"), "whole").unwrap();
        let folder = Folder::make(&path).unwrap();
        assert_eq!(folder.names(), ["kept"]);
        assert!(!path.join(".new-0-0123").exists());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(Folder::make(&path.join("kept")).is_err(), "a file is in its place");
    }
}
