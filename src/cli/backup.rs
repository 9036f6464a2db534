//! `waypost backup` and `waypost restore`: the queue of a running relay as a folder of files, and back.
//!
//! A file for each message, in a form that stays: a line that says what it is and has a checksum, a line of JSON with envelope and
//! state, the content as it would be sent. Goes through the admin socket; must never touch the queue's files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Common;
use super::render::count;
use super::{Failure, connect};
use crate::admin::{Exported, Imported, Saved};
use crate::mail::QueueId;
use crate::time::{Clock as _, System};

/// The first line, before eight digits of the checksum over all that follows that line.
const MAGIC: &str = "waypost-message 1 ";

/// Octets of the first line.
const FIRST_LINE: u64 = MAGIC.len() as u64 + 9;

/// Ends the name of a message's file; before it stands the queue id.
const ENDING: &str = "waypost";

/// Written last: without it a backup was broken off.
const SUMMARY: &str = "backup.json";

/// Octets of the line with the record; the relay takes no more.
const RECORD_MAX: u64 = 16 << 20;

/// Writes every message of the queue into a new folder.
pub(super) async fn backup(common: &Common, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let client = &mut connect(common).await?;
    let version = client.status().await?.version;
    make(folder)?;
    let mut backup = Backup { folder, file: None, saved: 0, void: Vec::new() };
    client.queue_export(|part| backup.take(part)).await?;
    let Backup { saved, void, .. } = backup;
    let path = folder.join(SUMMARY);
    // One flush for all of them, and then the file that says that they are there.
    let flushed = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    flushed.map_err(|error| failed(folder, &error))?;
    let summary = json!({"format": 1, "version": version, "at": System.now().rfc3339(), "messages": saved});
    let mut file = create(&path)?;
    let written = writeln!(file, "{summary}").and_then(|()| file.sync_all());
    written.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| failed(&path, &error))?;
    if common.json {
        writeln!(out, "{}", json!({"messages": saved, "unreadable": void.len()}))?;
    } else {
        writeln!(out, "{} saved in {}", count(saved, "message"), folder.display())?;
    }
    if void.is_empty() { Ok(()) } else { Err(Failure::Refused(void)) }
}

/// A folder that is being filled.
struct Backup<'a> {
    folder: &'a Path,
    /// That of the message at hand.
    file: Option<(PathBuf, BufWriter<File>)>,
    saved: u64,
    /// Messages that the relay could not read.
    void: Vec<String>,
}

impl Backup<'_> {
    fn take(&mut self, part: Exported<'_>) -> io::Result<()> {
        let at = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match part {
            Exported::Begins(id) => {
                let path = file_of(self.folder, id);
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                let mut file = BufWriter::new(made.map_err(|error| at(&path, error))?);
                // Its place; the checksum is known at the end.
                file.write_all(first_line(0).as_bytes()).map_err(|error| at(&path, error))?;
                self.file = Some((path, file));
            }
            Exported::Octets(octets) => {
                if let Some((path, file)) = &mut self.file {
                    file.write_all(octets).map_err(|error| at(path, error))?;
                }
            }
            Exported::Whole(crc) => {
                if let Some((path, file)) = self.file.take() {
                    let file = file.into_inner().map_err(|error| at(&path, error.into_error()))?;
                    file.write_all_at(first_line(crc).as_bytes(), 0).map_err(|error| at(&path, error))?;
                    self.saved += 1;
                }
            }
            Exported::Void(why) => {
                if let Some((path, file)) = self.file.take() {
                    drop(file.into_parts());
                    std::fs::remove_file(&path).map_err(|error| at(&path, error))?;
                    let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    self.void.push(format!("{id}: the relay can't read it: {why}"));
                }
            }
        }
        Ok(())
    }
}

fn first_line(crc: u32) -> String {
    format!("{MAGIC}{crc:08x}\n")
}

/// A folder that has nothing in it: people's mail is for its owner alone.
fn make(folder: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(folder, &error)),
        Err(_) if !std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) => {
            Err(Failure::Unusable(format!("{} is not an empty folder", folder.display())))
        }
        _ => Ok(()),
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("{}: {error}", path.display()))
}

/// Brings the messages of a backup back into the queue of the running relay, with their ids. Those that are there are left alone.
pub(super) async fn restore(common: &Common, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    if !folder.join(SUMMARY).is_file() {
        let why = format!("{} is no backup, or one that was broken off: it has no {SUMMARY}", folder.display());
        return Err(Failure::Unusable(why));
    }
    let mut paths = messages(folder).map_err(|error| failed(folder, &error))?.into_iter();
    let mut client = connect(common).await?;
    let mut damaged = Vec::new();
    let next = || {
        for path in paths.by_ref() {
            match open(&path) {
                Ok(saved) => return Ok(Some(saved)),
                Err(error) => damaged.push(format!("{}: {error}", path.display())),
            }
        }
        Ok(None)
    };
    let Imported { messages, present, refused, reasons } = client.queue_import(next).await?;
    let failed = refused + damaged.len() as u64;
    if common.json {
        writeln!(out, "{}", json!({"messages": messages, "present": present, "refused": failed}))?;
    } else {
        writeln!(out, "{} restored from {}", count(messages, "message"), folder.display())?;
        if present > 0 {
            writeln!(out, "{} in the queue already, and left alone", count(present, "message"))?;
        }
    }
    damaged.extend(reasons.into_iter().map(|(id, why)| format!("{}: {why}", file_of(folder, &id).display())));
    if failed == 0 { Ok(()) } else { Err(Failure::Refused(damaged)) }
}

fn file_of(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.{ENDING}"))
}

/// In the order in which they arrived.
fn messages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// What is damaged is refused before the relay hears of it.
fn open(path: &Path) -> io::Result<Saved> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut file = BufReader::new(File::open(path)?);
    let size = file.get_ref().metadata()?.len();
    let crc = check(&mut file)?;
    file.seek(SeekFrom::Start(FIRST_LINE))?;
    let mut record = Vec::new();
    (&mut file).take(RECORD_MAX).read_until(b'\n', &mut record)?;
    if record.last() != Some(&b'\n') {
        return Err(damaged("it has no record"));
    }
    let size = size.checked_sub(FIRST_LINE + record.len() as u64).ok_or_else(|| damaged("it is too short"))?;
    let named = serde_json::from_slice::<Named>(&record).map_err(|_| damaged("it has no record"))?;
    Ok(Saved { id: named.id.to_string(), record, size, content: Box::new(file), crc })
}

/// What of a record is looked at here.
#[derive(serde::Deserialize)]
struct Named {
    id: QueueId,
}

/// The checksum, which is right.
fn check(file: &mut impl Read) -> io::Result<u32> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut line = [0; FIRST_LINE as usize];
    file.read_exact(&mut line).map_err(|_short| damaged("it is no message of a backup"))?;
    let line = String::from_utf8_lossy(&line);
    let crc = line.strip_prefix(MAGIC).and_then(|rest| u32::from_str_radix(rest.strip_suffix('\n')?, 16).ok());
    let crc = crc.ok_or_else(|| damaged("it is no message of a backup"))?;
    let (mut hasher, mut piece) = (crc32fast::Hasher::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        }
    }
    if hasher.finalize() == crc { Ok(crc) } else { Err(damaged("its checksum is wrong")) }
}
