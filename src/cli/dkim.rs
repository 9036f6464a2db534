//! `waypost dkim keygen`, `record`, `check`, `sign`: keys that sign mail, without a relay.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::Failure;
use super::args::Common;
use crate::mail::Header;
use crate::signing::{self, Author, Keys, Letter, Published, Signing};
use crate::store::Content;
use crate::time::{Clock as _, System};
use crate::{app, config};

/// The largest message that is signed from standard input.
const MESSAGE_MAX: u64 = 256 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Dkim {
    /// Make a key in a new file; prints the record to publish.
    Keygen {
        /// ed25519 is made here; for rsa, the command that makes one is printed.
        #[arg(long, value_enum, default_value_t = Algorithm::Ed25519)]
        algorithm: Algorithm,
        /// Where the private key goes; the file must not be there yet.
        file: PathBuf,
    },
    /// Print the record to publish for a key, in strings of at most 255 octets.
    Record {
        /// The private key.
        file: PathBuf,
        /// The key's selector.
        #[arg(long, default_value = "SELECTOR")]
        selector: String,
        /// The domain that signs.
        #[arg(long, default_value = "DOMAIN")]
        domain: String,
    },
    /// Ask the DNS whether it has the key of `[dkim.NAME]`; `arc` is that of `[arc]`.
    ///
    /// Exit status: 0 it has; 1 it has not, or nobody answers.
    Check {
        /// NAME of [dkim.NAME].
        name: String,
    },
    /// Sign a message from standard input with the keys of the configuration, and print it.
    Sign,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Algorithm {
    /// RFC 8463: small and quick, but not every verifier knows it yet.
    Ed25519,
    /// RFC 6376: what every verifier knows.
    Rsa,
}

pub(super) async fn dkim(common: &Common, command: Dkim, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Dkim::Keygen { algorithm: Algorithm::Ed25519, file } => {
            signing::generate_ed25519(&file).map_err(|error| Failure::refused(format!("waypost: {error}")))?;
            record(common, &file, "SELECTOR", "DOMAIN", out)
        }
        Dkim::Keygen { algorithm: Algorithm::Rsa, file } => Err(Failure::refused(format!(
            "waypost: no key was made: this program makes no RSA keys, and uses those that OpenSSL makes:\n  \
             (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {0})\n  \
             waypost dkim record {0}",
            file.display()
        ))),
        Dkim::Record { file, selector, domain } => record(common, &file, &selector, &domain, out),
        Dkim::Check { name } => check(common, &name, out).await,
        Dkim::Sign => sign(common, out).await,
    }
}

fn record(common: &Common, file: &Path, selector: &str, domain: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let record = signing::record_of_file(file).map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    let name = signing::published_name(selector, domain);
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "name": name, "record": record }))?);
    }
    Ok(writeln!(out, "{}", signing::zone_lines(&format!("{name}."), &record))?)
}

async fn check(common: &Common, name: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let settings = config::load(&common.config)?;
    let (place, published) =
        app::check_published(&settings, name).await.map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    match published {
        Published::Good { notes } if common.json => {
            writeln!(out, "{}", json!({ "name": place, "good": true, "notes": notes }))?;
        }
        Published::Good { notes } => {
            for note in &notes {
                writeln!(out, "warning: {note}")?;
            }
            writeln!(out, "{place}: good")?;
        }
        Published::Wrong(why) => return Err(Failure::refused(format!("{place}: {why}"))),
        Published::NotAnswered(why) => {
            return Err(Failure::refused(format!("{place}: no answer, so nothing is known: {why}")));
        }
    }
    Ok(())
}

async fn sign(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let mut settings = config::load(&common.config)?.signing;
    // Whoever asks here is no stranger.
    settings.policy.relay_mail = true;
    let keys = Keys::load(&settings)
        .map_err(|errors| Failure::Refused(errors.iter().map(|error| format!("waypost: {error}")).collect()))?;
    let mut text = Vec::new();
    std::io::stdin().lock().take(MESSAGE_MAX).read_to_end(&mut text)?;
    let (head, body) = split(&with_crlf(&text));
    let letter = Letter {
        header: Header::parse(head.clone().into()),
        body: Content::Memory(body.clone().into()),
        by: Author::Relay,
        now: System.now(),
    };
    let fields = Signing::with(keys).sign(letter).await;
    let fields = fields.map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    if fields.is_empty() {
        return Err(Failure::refused("waypost: no key of the configuration is for this message's From field"));
    }
    for part in [&fields[..], &head, b"\r\n", &body] {
        out.write_all(part)?;
    }
    Ok(())
}

/// Line feeds alone, as files have them, become line ends as mail has them.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    let mut last = 0;
    for octet in text {
        if *octet == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*octet);
        last = *octet;
    }
    out
}

/// Header section and body, without the empty line between them.
fn split(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match memchr::memmem::find(message, b"\r\n\r\n") {
        Some(at) => {
            let (head, body) = message.split_at_checked(at + 2).unwrap_or((message, b""));
            (head.to_vec(), body.get(2..).unwrap_or_default().to_vec())
        }
        None => (message.to_vec(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_mail() {
        let (head, body) = split(&with_crlf(b"From: a\nTo: b\r\n\nHello\n\n"));
        assert_eq!((&head[..], &body[..]), (&b"From: a\r\nTo: b\r\n"[..], &b"Hello\r\n\r\n"[..]));
        assert_eq!(split(b"From: a\r\n"), (b"From: a\r\n".to_vec(), Vec::new()));
    }
}
