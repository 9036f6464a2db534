//! Sockets that the service manager opened before it started the relay (systemd's socket activation).
//!
//! They are told by the environment and belong to the process, so they are taken once, by whoever starts it, before there
//! are threads. Never binds anything.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use listenfd::ListenFd;

/// The name that systemd gives to sockets without one.
const UNNAMED: &str = "unknown";

/// Names of sockets that the relay bound before it became another user begin so; what follows names the listener. A
/// configuration can't name one of these: systemd has no such names.
pub const HANDED_OVER: &str = "\u{1}";

/// What was handed over and not taken yet.
#[derive(Debug, Default)]
pub struct Activation {
    sockets: Vec<(Arc<str>, Result<Activated, String>)>,
}

/// A socket that listens already.
#[derive(Debug)]
pub(crate) enum Activated {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Activation {
    /// What the environment tells: `LISTEN_FDS`, `LISTEN_FDNAMES`, and `LISTEN_PID`, which must be this process. Call it once,
    /// before there are threads: it changes the environment.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let count = handed.len();
        let take = |at| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
            (name.into(), take(&mut handed, at))
        };
        Self { sockets: (0..count).map(take).collect() }
    }

    /// The sockets of this name, in the order they came.
    ///
    /// # Errors
    /// Says what to do when there is none, or when one is of no use.
    pub(crate) fn take(&mut self, name: &str) -> Result<Vec<Activated>, String> {
        let (named, others): (Vec<_>, Vec<_>) = self.sockets.drain(..).partition(|(of, _)| **of == *name);
        self.sockets = others;
        if !named.is_empty() {
            return named.into_iter().map(|(_, socket)| socket).collect();
        }
        let help = format!("set FileDescriptorName={name} in the socket unit, and start the relay by it");
        Err(match self.left().as_slice() {
            [] => format!("the service manager handed over no socket named {name:?}: {help}"),
            others => format!("there is no socket named {name:?} but only {}: {help}", others.join(", ")),
        })
    }

    /// The socket that was bound for a listener before the relay became another user, if there was any need for it.
    ///
    /// # Errors
    /// When it is of no use.
    pub(crate) fn take_ahead(&mut self, listener: &str) -> Result<Option<Activated>, String> {
        let of = |name: &str| name.strip_prefix(HANDED_OVER) == Some(listener);
        let Some(at) = self.sockets.iter().position(|(name, _)| of(name)) else { return Ok(None) };
        self.sockets.remove(at).1.map(Some)
    }

    /// Names of sockets that nobody took.
    pub fn left(&self) -> Vec<String> {
        let names = self.sockets.iter().map(|(name, _)| name.to_string());
        names.filter(|name| !name.starts_with(HANDED_OVER)).collect()
    }
}

fn take(handed: &mut ListenFd, at: usize) -> Result<Activated, String> {
    let unfit = |error: &dyn std::fmt::Display| format!("what the service manager handed over is no use: {error}");
    let socket = match handed.take_tcp_listener(at) {
        Ok(Some(socket)) => Activated::Tcp(socket),
        _ => match handed.take_unix_listener(at) {
            Ok(Some(socket)) => Activated::Unix(socket),
            Ok(None) => return Err(unfit(&"it is gone")),
            Err(_) => return Err(unfit(&"it is no stream socket of TCP or Unix (ListenStream=)")),
        },
    };
    let listens = match &socket {
        Activated::Tcp(socket) => socket2::SockRef::from(socket).is_listener(),
        Activated::Unix(socket) => socket2::SockRef::from(socket).is_listener(),
    };
    match listens {
        Ok(true) => Ok(socket),
        Ok(false) => Err(unfit(&"it does not listen; set Accept=no")),
        Err(error) => Err(unfit(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_by_their_names_and_what_is_missing_is_said() {
        let socket = || Ok(Activated::Tcp(TcpListener::bind("127.0.0.1:0").unwrap()));
        let unfit: Result<Activated, String> = Err("unfit".to_owned());
        let sockets = vec![("smtp".into(), socket()), ("lmtp".into(), unfit), ("smtp".into(), socket())];
        let mut activation = Activation { sockets };
        assert_eq!(activation.take("smtp").unwrap().len(), 2);
        let missing = activation.take("smtp").unwrap_err();
        assert!(missing.contains("no socket named \"smtp\" but only lmtp"), "{missing}");
        assert_eq!(activation.take("lmtp").unwrap_err(), "unfit");
        assert!(activation.take("lmtp").unwrap_err().contains("FileDescriptorName=lmtp"));
        assert!(activation.left().is_empty());
    }
}
