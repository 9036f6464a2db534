//! What is wrong with a configuration: where, which key, what, and what to write instead.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Line, counted from one; zero where the file as a whole is meant.
    pub line: usize,
    /// Path of the key, such as `listeners.smtp.address`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl ConfigError {
    /// About a file as a whole.
    pub(super) fn of_file(file: &Path, problem: String, help: &str) -> Self {
        let file = file.display().to_string().into();
        Self { file, line: 0, key: String::new(), problem, help: help.to_owned() }
    }
}

impl fmt::Display for ConfigError {
    /// `waypost.toml:3: smtp.max-erors: no such key; did you mean max-errors?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.problem)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
