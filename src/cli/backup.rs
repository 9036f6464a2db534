//! `waypost backup` and `waypost restore`: the queue of a running relay as a folder of files, and back.
//!
//! A file for each message, in a form that stays: a line that says what it is and has a checksum, a line of JSON with envelope and
//! state, the content as it would be sent. Goes through the admin socket; must never touch the queue's files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Common;
use super::render::count;
use super::{Failure, connect};
use crate::admin::{Client, ClientError, FilterForm};
use crate::time::{Clock as _, System};

/// The first line, before eight digits of the checksum over all that follows that line.
const MAGIC: &str = "waypost-message 1 ";

/// Octets of the first line.
const FIRST_LINE: u64 = MAGIC.len() as u64 + 9;

/// Ends the name of a message's file; before it stands the queue id.
const ENDING: &str = "waypost";

/// Written last: without it a backup was broken off.
const SUMMARY: &str = "backup.json";

/// Messages asked for at a time.
const PAGE: usize = 500;

/// Octets of the line with the record; the relay takes no more.
const RECORD_MAX: u64 = 16 << 20;

/// Writes every message of the queue into a new folder.
pub(super) async fn backup(common: &Common, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let client = &mut connect(common).await?;
    let version = client.status().await?.version;
    make(folder)?;
    let (mut after, mut saved, mut gone) = (None, 0_u64, 0_u64);
    loop {
        let page = client.queue_list(FilterForm::default(), after, PAGE).await?;
        for message in &page.messages {
            match save(client, &message.id, folder).await {
                Ok(()) => saved += 1,
                // Delivered since it was listed.
                Err(ClientError::Refused(why)) if why.iter().any(|why| why.contains("no message")) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let summary = json!({"format": 1, "version": version, "at": System.now().rfc3339(), "messages": saved});
    let path = folder.join(SUMMARY);
    let mut file = create(&path)?;
    let written = writeln!(file, "{summary}").and_then(|()| file.sync_all());
    written.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| failed(&path, &error))?;
    if common.json {
        return Ok(writeln!(out, "{}", json!({"messages": saved, "gone": gone}))?);
    }
    writeln!(out, "{} saved in {}", count(saved, "message"), folder.display())?;
    if gone > 0 {
        writeln!(out, "{} left the queue meanwhile", count(gone, "message"))?;
    }
    Ok(())
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

/// One message, flushed.
async fn save(client: &mut Client, id: &str, folder: &Path) -> Result<(), ClientError> {
    let path = folder.join(format!("{id}.{ENDING}"));
    let broken = |error: io::Error| ClientError::Broken(format!("{}: {error}", path.display()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(broken)?;
    let file = std::cell::RefCell::new((io::BufWriter::new(made), crc32fast::Hasher::new()));
    let put = |octets: &[u8]| {
        let (file, crc) = &mut *file.borrow_mut();
        crc.update(octets);
        file.write_all(octets)
    };
    let first = |record: &serde_json::Value| {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // Its place; the checksum is known at the end.
        file.borrow_mut().0.write_all(format!("{MAGIC}{:08x}\n", 0).as_bytes())?;
        put(&line)
    };
    let exported = client.queue_export(id.to_owned(), first, put).await;
    if exported.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    exported?;
    let (file, crc) = file.into_inner();
    let file = file.into_inner().map_err(|error| broken(error.into_error()))?;
    let line = format!("{MAGIC}{:08x}\n", crc.finalize());
    file.write_all_at(line.as_bytes(), 0).and_then(|()| file.sync_all()).map_err(broken)
}

/// Brings the messages of a backup back into the queue of the running relay, with their ids. Those that are there are left alone.
pub(super) async fn restore(common: &Common, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    if !folder.join(SUMMARY).is_file() {
        let why = format!("{} is no backup, or one that was broken off: it has no {SUMMARY}", folder.display());
        return Err(Failure::Unusable(why));
    }
    let paths = messages(folder).map_err(|error| failed(folder, &error))?;
    let mut client = connect(common).await?;
    let (mut restored, mut reasons) = (0_u64, Vec::new());
    for path in paths {
        match bring(&mut client, &path).await {
            Ok(()) => restored += 1,
            Err(ClientError::Refused(why)) => {
                reasons.extend(why.iter().map(|why| format!("{}: {why}", path.display())));
            }
            Err(ClientError::Broken(why)) => {
                reasons.push(format!("{}: {why}", path.display()));
                client = connect(common).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if common.json {
        writeln!(out, "{}", json!({"messages": restored, "refused": reasons.len()}))?;
    } else {
        writeln!(out, "{} restored from {}", count(restored, "message"), folder.display())?;
    }
    if reasons.is_empty() { Ok(()) } else { Err(Failure::Refused(reasons)) }
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
async fn bring(client: &mut Client, path: &Path) -> Result<(), ClientError> {
    let refused = |why: &str| ClientError::Refused(vec![why.to_owned()]);
    let unread = |error: io::Error| ClientError::Refused(vec![error.to_string()]);
    let mut file = BufReader::new(File::open(path).map_err(unread)?);
    let size = file.get_ref().metadata().map_err(unread)?.len();
    check(&mut file).map_err(unread)?;
    file.seek(SeekFrom::Start(FIRST_LINE)).map_err(unread)?;
    let mut record = Vec::new();
    (&mut file).take(RECORD_MAX).read_until(b'\n', &mut record).map_err(unread)?;
    let content = size.checked_sub(FIRST_LINE + record.len() as u64);
    if record.pop() != Some(b'\n') {
        return Err(refused("it has no record"));
    }
    let content = content.ok_or_else(|| refused("it is too short"))?;
    client.queue_import(&record, content, &mut file).await?;
    Ok(())
}

fn check(file: &mut impl Read) -> io::Result<()> {
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
    if hasher.finalize() == crc { Ok(()) } else { Err(damaged("its checksum is wrong")) }
}
