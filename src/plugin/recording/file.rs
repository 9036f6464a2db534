//! A recording as a file: JSON, a line for each thing, with a checksum at its end.
//!
//! It holds mail, so it is made for the relay's user alone. What is read back was made by another relay, or by anybody:
//! it is checked, and every mistake is said.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::load::hex;
use super::capture::{Call, PluginFacts};
use crate::time::Timestamp;

/// Counts up when the form of a line changes.
const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// The first.
    Recording(Head),
    /// Whose calls follow.
    Plugin(Arc<PluginFacts>),
    /// One of them.
    Call(Box<Call>),
    /// The last.
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    relay: String,
    plugin: String,
    began: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    calls: u32,
    skipped: u32,
    /// Of everything before this line, in hex.
    sha256: String,
}

/// A recording that is being made.
#[derive(Debug)]
pub(super) struct Sink {
    file: BufWriter<File>,
    hasher: Sha256,
    pub(super) octets: u64,
}

impl Sink {
    /// Makes the file, which must not be there yet.
    pub(super) fn create(path: &Path, plugin: &str, now: Timestamp) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut sink = Self { file: BufWriter::new(file), hasher: Sha256::new(), octets: 0 };
        let relay = env!("CARGO_PKG_VERSION").to_owned();
        sink.write(&Line::Recording(Head { format: FORMAT, relay, plugin: plugin.to_owned(), began: now }))?;
        Ok(sink)
    }

    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut octets = serde_json::to_vec(line)?;
        octets.push(b'\n');
        self.hasher.update(&octets);
        self.octets += octets.len() as u64;
        self.file.write_all(&octets)?;
        self.file.flush()
    }

    pub(super) fn finish(mut self, calls: u32, skipped: u32) -> io::Result<()> {
        let sha256 = hex(&self.hasher.clone().finalize());
        self.write(&Line::End(End { calls, skipped, sha256 }))
    }
}

/// Why a recording can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("it can't be read: {0}")]
    File(#[from] io::Error),
    /// Something else.
    #[error("it is no recording: its first line is not what `waypost plugin record` writes")]
    NotARecording,
    /// Of another program.
    #[error(
        "it is a recording of format {found}, and this program reads format {FORMAT}: use the relay's own `waypost`"
    )]
    Format {
        /// What it says.
        found: u32,
    },
    /// It has no end.
    #[error(
        "it is cut off after {calls} whole calls: a recording ends with its last call, with `waypost plugin record \
         NAME --stop`, or with the relay; copy it after that"
    )]
    CutOff {
        /// As many can be read.
        calls: usize,
    },
    /// Its checksum does not fit.
    #[error("it was changed after it was made: its checksum does not fit")]
    Changed,
    /// A line makes no sense.
    #[error("line {line}: {why}")]
    Line {
        /// From one.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// A recording, read and checked: calls, and the plugin that they are of.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) calls: Vec<(Arc<PluginFacts>, Box<Call>)>,
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<Recording, RecordingError> {
    parse(&std::fs::read(path)?)
}

fn parse(octets: &[u8]) -> Result<Recording, RecordingError> {
    let lines: Vec<&[u8]> = octets.split_inclusive(|octet| *octet == b'\n').collect();
    check_head(lines.first().copied().unwrap_or_default())?;
    let end = lines.last().and_then(|line| match serde_json::from_slice(line) {
        Ok(Line::End(end)) if line.ends_with(b"\n") => Some((end, octets.len() - line.len())),
        _ => None,
    });
    let Some((end, before)) = end else {
        let calls = lines.iter().filter(|line| line.starts_with(b"{\"call\":") && line.ends_with(b"\n")).count();
        return Err(RecordingError::CutOff { calls });
    };
    if hex(&Sha256::digest(octets.get(..before).unwrap_or_default())) != end.sha256 {
        return Err(RecordingError::Changed);
    }
    let mut recording = Recording { calls: Vec::new() };
    let mut plugin = None;
    for (at, line) in lines.iter().enumerate() {
        let wrong = |why: String| RecordingError::Line { line: at + 1, why };
        match serde_json::from_slice(line).map_err(|e| wrong(e.to_string()))? {
            Line::Recording(_) | Line::End(_) => {}
            Line::Plugin(facts) => plugin = Some(facts),
            Line::Call(call) => {
                let plugin = plugin.clone().ok_or_else(|| wrong("a call of no plugin".to_owned()))?;
                recording.calls.push((plugin, call));
            }
        }
    }
    if recording.calls.len() != end.calls as usize {
        return Err(RecordingError::Changed);
    }
    Ok(recording)
}

fn check_head(line: &[u8]) -> Result<(), RecordingError> {
    // Another format may have other keys: its number is looked for first.
    let head: serde_json::Value = serde_json::from_slice(line).map_err(|_| RecordingError::NotARecording)?;
    let format = head.get("recording").and_then(|head| head.get("format")).and_then(serde_json::Value::as_u64);
    match format.and_then(|format| u32::try_from(format).ok()) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(RecordingError::Format { found }),
        None => Err(RecordingError::NotARecording),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/r.jsonl");
        Sink::create(&path, "p", Timestamp::from_secs(1)).unwrap().finish(0, 2).unwrap();
        assert!(Sink::create(&path, "p", Timestamp::from_secs(1)).is_err(), "nothing is written over");
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn what_is_no_whole_recording_is_told_apart() {
        let good = String::from_utf8(recorded()).unwrap();
        assert!(parse(good.as_bytes()).unwrap().calls.is_empty());
        let head = good.lines().next().unwrap().to_owned() + "\n";
        for (octets, expected) in [
            (String::new(), "it is no recording"),
            ("\u{7f}ELF".to_owned(), "it is no recording"),
            ("{}\n".to_owned(), "it is no recording"),
            (good.replace("\"format\":1", "\"format\":2"), "a recording of format 2, and this program reads format 1"),
            (head.clone(), "cut off after 0 whole calls"),
            (format!("{head}{{\"call\":{{}}}}\n{{\"call\":"), "cut off after 1 whole calls"),
            (good.trim_end().to_owned(), "cut off"),
            (good.replace("\"plugin\":\"p\"", "\"plugin\":\"q\""), "it was changed"),
            (good.replace("\"calls\":0", "\"calls\":1"), "it was changed"),
        ] {
            let error = parse(octets.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{octets}: {error}");
        }
    }
}
