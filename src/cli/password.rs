//! `waypost password`: a line for the file of credentials.

use std::io::{BufRead as _, IsTerminal as _, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failure;
use super::args::Common;
use crate::listen::{Credentials, Forms};

/// Longer than any password, shorter than a file given by mistake.
const MAX: usize = 1024;

/// Reads a password, prints the line. The password is one line without its end.
pub(super) fn password(common: &Common, name: &str, forms: Forms, out: &mut dyn Write) -> Result<(), Failure> {
    let secret = read()?;
    let line =
        Credentials::line(name, &secret, forms).map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::json!({ "line": line }))?);
    }
    Ok(writeln!(out, "{line}")?)
}

fn read() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let _hidden = stdin.is_terminal().then(Hidden::start);
    let mut line = Vec::new();
    // A line of at most MAX octets, its end and one more to notice.
    std::io::Read::take(stdin.lock(), MAX as u64 + 2).read_until(b'\n', &mut line)?;
    accept(line).map_err(Failure::refused)
}

fn accept(mut line: Vec<u8>) -> Result<String, String> {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match String::from_utf8(line) {
        Ok(secret) if secret.is_empty() => Err("waypost: no password on standard input".to_owned()),
        Ok(secret) if secret.len() > MAX => Err(format!("waypost: a password of more than {MAX} octets")),
        Ok(secret) => Ok(secret),
        Err(_) => Err("waypost: the password is not UTF-8".to_owned()),
    }
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Option<Termios>);

impl Hidden {
    fn start() -> Self {
        // The prompt goes to standard error: standard output may be the file of credentials.
        let _ = write!(std::io::stderr(), "Password: ");
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut hidden) = before.clone() {
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &hidden);
        }
        Self(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        let _ = writeln!(std::io::stderr());
    }
}

#[cfg(test)]
mod tests {
    use super::accept;

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(accept(b"correct horse\r\n".to_vec()).as_deref(), Ok("correct horse"));
        assert_eq!(accept(b" spaces stay ".to_vec()).as_deref(), Ok(" spaces stay "));
        for bad in [b"\n".to_vec(), Vec::new(), vec![0xff, b'\n'], vec![b'x'; 1025]] {
            assert!(accept(bad).is_err());
        }
    }
}
