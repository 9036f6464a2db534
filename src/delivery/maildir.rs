//! A named destination that is a folder: delivery into a Maildir.
//!
//! A message is written below `tmp`, flushed, renamed into `new`, and the folder flushed: a reader sees it whole or not
//! at all, and it survives a crash once delivery returned. Maildirs hold text as Unix does, so line ends become LF; a CR
//! that is part of no line end stays. All of it runs off the workers.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;

use crate::mail::{Recipient, ReversePath};
use crate::store::Content;
use crate::time::{Clock, System};

/// Read from a body at a time.
const READ: usize = 256 * 1024;
/// Octets of a file name, on every file system in use.
const NAME_MAX: usize = 255;

/// Delivers one message to one recipient. `{local}` and `{domain}` in the template stand for the recipient's parts. The
/// fields Return-Path (RFC 5321 section 4.4) and Delivered-To are put on top.
///
/// # Errors
/// When the folder can't be made or written; nothing is left behind then.
pub async fn deliver_to_maildir(
    path_template: &Path,
    recipient: &Recipient,
    sender: &ReversePath,
    head: &Bytes,
    body: &Content,
    hostname: &str,
) -> Result<(), io::Error> {
    let message = Message {
        folder: folder(path_template, recipient)?,
        name: unique_name(hostname),
        top: top(recipient, sender),
        head: head.clone(),
        body: body.clone(),
    };
    tokio::task::spawn_blocking(move || message.deliver()).await.map_err(io::Error::other)?
}

struct Message {
    folder: PathBuf,
    name: String,
    top: String,
    head: Bytes,
    body: Content,
}

impl Message {
    fn deliver(&self) -> io::Result<()> {
        let temporary = self.folder.join("tmp").join(&self.name);
        let file = self.create(&temporary)?;
        let written = self.write(file).and_then(|()| self.publish(&temporary));
        if written.is_err() {
            // Best effort: readers sweep old files out of `tmp`.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for part in ["tmp", "new", "cur"] {
                    DirBuilder::new().recursive(true).mode(0o700).create(self.folder.join(part))?;
                }
                // The names of new folders must survive a crash as the message must.
                for folder in self.folder.ancestors().take(3).filter(|f| !f.as_os_str().is_empty()) {
                    sync_folder(folder)?;
                }
                options.open(path)
            }
            opened => opened,
        }
    }

    fn write(&self, file: File) -> io::Result<()> {
        let mut lines = Lines { out: BufWriter::with_capacity(64 * 1024, file), cr: false };
        lines.write(self.top.as_bytes())?;
        lines.write(&self.head)?;
        match &self.body {
            Content::Memory(body) => lines.write(body)?,
            Content::Spooled(spooled) => {
                let mut offset = 0;
                while offset < spooled.len {
                    let piece = spooled.read_at(offset, READ)?;
                    lines.write(&piece)?;
                    offset += piece.len() as u64;
                }
            }
        }
        lines.last()?;
        lines.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn publish(&self, temporary: &Path) -> io::Result<()> {
        let new = self.folder.join("new");
        fs::rename(temporary, new.join(&self.name))?;
        sync_folder(&new)
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes CRLF as LF.
struct Lines<W: io::Write> {
    out: W,
    /// A CR is held back: the next piece says whether it belongs to a line end.
    cr: bool,
}

impl<W: io::Write> Lines<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut left = piece;
        if left.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.cr) && !left.starts_with(b"\n") {
            self.out.write_all(b"\r")?;
        }
        while let Some(at) = memmem::find(left, b"\r\n") {
            let (line, rest) = left.split_at_checked(at).unwrap_or((left, &[]));
            self.out.write_all(line)?;
            self.out.write_all(b"\n")?;
            left = rest.get(2..).unwrap_or_default();
        }
        if let Some(before) = left.strip_suffix(b"\r") {
            self.cr = true;
            left = before;
        }
        self.out.write_all(left)
    }

    fn last(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.cr) { self.out.write_all(b"\r") } else { Ok(()) }
    }
}

fn top(recipient: &Recipient, sender: &ReversePath) -> String {
    let path = match &sender.0 {
        None => "<>".to_owned(),
        Some(mailbox) => format!("<{mailbox}>"),
    };
    let mut top = String::new();
    for (name, value) in [("Return-Path", path), ("Delivered-To", recipient.mailbox.to_string())] {
        top.push_str(name);
        top.push_str(": ");
        top.extend(value.chars().filter(|c| !c.is_control()));
        top.push_str("\r\n");
    }
    top
}

/// Unlike any other, on this host and between hosts that share the folder: time, process, randomness, host. Should there
/// be one like it after all, `create_new` fails and the message is tried again.
fn unique_name(hostname: &str) -> String {
    let host: String =
        hostname.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).take(64).collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    let (now, process) = (System.now(), std::process::id());
    let (seconds, micros) = (now.secs(), now.subsec_nanos() / 1000);
    format!("{seconds}.M{micros}P{process}R{:016x}.{host}", fastrand::u64(..))
}

/// The template with the recipient's parts put in. A part stays within one name of the path, and is no special one.
fn folder(template: &Path, recipient: &Recipient) -> io::Result<PathBuf> {
    let local = part(&recipient.mailbox.local_part);
    let domain = part(recipient.mailbox.domain.as_str());
    let mut folder = PathBuf::new();
    for component in template.components() {
        let Component::Normal(name) = component else {
            folder.push(component);
            continue;
        };
        let Some(name) = name.to_str() else {
            folder.push(name);
            continue;
        };
        // One pass, so that a recipient named `{domain}` is not put in twice.
        let mut filled = String::new();
        let mut left = name;
        while let Some((before, rest)) = left.split_once('{') {
            filled.push_str(before);
            left = rest;
            if let Some(after) = rest.strip_prefix("local}") {
                filled.push_str(&local);
                left = after;
            } else if let Some(after) = rest.strip_prefix("domain}") {
                filled.push_str(&domain);
                left = after;
            } else {
                filled.push('{');
            }
        }
        filled.push_str(left);
        if filled.bytes().all(|b| b == b'.') || filled.len() > NAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the recipient makes no folder name"));
        }
        folder.push(filled);
    }
    Ok(folder)
}

/// Lower case, for `Ann` and `ann` are one person to every mail system in use; everything that could mean something to a
/// path or to a shell is written as `%` and two hexadecimal digits, so that different recipients stay different.
fn part(text: &str) -> String {
    let mut safe = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '=' | '@') || (c == '.' && !safe.is_empty()) {
            safe.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(safe, "%{byte:02x}");
        }
    }
    safe
}

#[cfg(test)]
mod tests;
