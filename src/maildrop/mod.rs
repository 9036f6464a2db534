//! Mail that a program on this machine gave to `sendmail`: what is written down of it while the relay can't take it, and how it
//! is handed over, by SMTP, to a listener of the relay.
//!
//! The folder is open to everybody who may send mail, so nothing in it is trusted: a file is bounded, is what it says or nothing,
//! and whose it is says the system, not the file. No program needs a privilege for any of this.

mod dialogue;
mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use dialogue::{Answer, HandOverError, RecipientAnswer, hand_over};
pub use file::{DropError, Found, Refused, is_fit, look, open, write};

/// `[sendmail]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where mail waits.
    pub folder: PathBuf,
    /// Name of the listener whose settings count for it.
    pub listener: Arc<str>,
    /// Where a client finds that listener.
    pub server: Server,
    /// Octets of a message.
    pub max_message_size: u64,
}

/// Where a listener is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A socket file.
    Unix(PathBuf),
    /// An address of this machine.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Default for Config {
    /// As the packages have it: for whoever may not read the configuration.
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/var/lib/waypost/maildrop"),
            listener: "sendmail".into(),
            server: Server::Unix(PathBuf::from("/run/waypost/sendmail.sock")),
            max_message_size: 50 << 20,
        }
    }
}

/// Who sent a message to whom, and what was asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Reverse-path without brackets; empty for the null one.
    pub sender: String,
    /// Forward-paths without brackets.
    pub recipients: Vec<String>,
    /// `NOTIFY`, for all recipients (RFC 3461 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// `RET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// `ENVID`, as xtext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
}

impl Envelope {
    /// True if it can be written into commands as it is: no control character, and nothing that would end a path.
    pub fn is_plain(&self) -> bool {
        let path = |text: &String| text.len() <= 512 && !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>'));
        let word = |text: &Option<String>| {
            text.as_ref().is_none_or(|text| text.len() <= 200 && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        path(&self.sender)
            && self.recipients.iter().all(|recipient| !recipient.is_empty() && path(recipient))
            && [&self.notify, &self.ret, &self.envid].into_iter().all(word)
    }
}

#[cfg(test)]
mod tests;
