//! Why the workbench did not do what it was asked for. Each says what, where, and what to do.

/// By who can mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkbenchError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A tool is not installed.
    #[error("{what}, which is not here\n  looked for: {}\n  to install: {}", looked_for.join("\n              "), install.join("\n          or: "))]
    Missing {
        /// What needs what, as the beginning of a sentence.
        what: String,
        /// Where it was looked for.
        looked_for: Vec<String>,
        /// Commands that install it, the best one first.
        install: Vec<String>,
    },
    /// It was tried.
    #[error("{0}")]
    Failed(String),
}

impl WorkbenchError {
    /// A file that can't be read or written.
    pub(super) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Failed(format!("{}: {error}", path.display()))
    }
}
