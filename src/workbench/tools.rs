//! Compilers: where they are, and a run of one. Their output goes to standard error as it comes; nothing is kept of it.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::WorkbenchError;

/// Folders in which programs are looked for.
#[derive(Clone, Debug)]
pub struct Toolbox {
    path: Vec<PathBuf>,
}

impl Toolbox {
    /// Those of `PATH`.
    pub fn of_the_environment() -> Self {
        Self::over(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect())
    }

    /// These.
    pub fn over(path: Vec<PathBuf>) -> Self {
        Self { path }
    }

    /// The first of these programs that is in one of the folders.
    pub(super) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let places = names.iter().flat_map(|name| self.path.iter().map(move |folder| folder.join(name)));
        places.into_iter().find(|place| is_program(place))
    }

    /// The program below a folder or those above it, else as `find`.
    pub(super) fn find_near(&self, folder: &Path, below: &str, name: &str) -> Option<PathBuf> {
        let near = folder.ancestors().map(|above| above.join(below).join(name)).find(|place| is_program(place));
        near.or_else(|| self.find(&[name]))
    }

    /// For a message: these names in the folders.
    pub(super) fn looked_for(&self, names: &[&str]) -> String {
        let folders: Vec<String> = self.path.iter().map(|folder| folder.display().to_string()).collect();
        let where_to = if folders.is_empty() { "an empty PATH".to_owned() } else { folders.join(":") };
        format!("{} in {where_to}", names.join(", "))
    }
}

fn is_program(place: &Path) -> bool {
    // Of a folder, or of what may not be run, nobody is helped; the system says so when it is tried.
    place.is_file()
}

/// A line of progress. Nobody hears of a standard error that is closed.
pub(super) fn step(text: &str) {
    let _ = writeln!(io::stderr(), "  {text}");
}

/// Runs a compiler with its output on standard error, all of it.
pub(super) fn run(command: &mut Command, folder: &Path, to: &str) -> Result<(), WorkbenchError> {
    step(&format!("{to}: {}", shown(command)));
    let program = Path::new(command.get_program()).display().to_string();
    let out = io::stderr().as_fd().try_clone_to_owned();
    let out = out.map(Stdio::from).unwrap_or_else(|_| Stdio::null());
    let status = command.current_dir(folder).stdin(Stdio::null()).stdout(out).status();
    let status = status.map_err(|error| WorkbenchError::Failed(format!("{program} can't be run: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(WorkbenchError::Failed(format!(
        "{to} failed in {}: {program} ended with {status}\nIts messages are above: mend what they name, and build again.",
        folder.display()
    )))
}

/// What a program prints.
pub(super) fn output(command: &mut Command, folder: &Path) -> Result<String, WorkbenchError> {
    let program = Path::new(command.get_program()).display().to_string();
    let done = command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| WorkbenchError::Failed(format!("{program} can't be run: {error}")))?;
    if !done.status.success() {
        let text = shown(command);
        return Err(WorkbenchError::Failed(format!("{text} ended with {} in {}", done.status, folder.display())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_near_first_and_failures_say_where() {
        let dir = tempfile::tempdir().unwrap();
        let near = dir.path().join("node_modules/.bin");
        std::fs::create_dir_all(&near).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(near.join("tool"), "").unwrap();
        let empty = Toolbox::over(Vec::new());
        assert_eq!(empty.find(&["tool"]), None);
        assert_eq!(empty.find_near(&dir.path().join("a/b"), "node_modules/.bin", "tool"), Some(near.join("tool")));
        assert_eq!(Toolbox::over(vec![near.clone()]).find(&["other", "tool"]), Some(near.join("tool")));
        assert_eq!(empty.looked_for(&["go"]), "go in an empty PATH");
        let failed = run(&mut Command::new("/bin/false"), dir.path(), "compiling").unwrap_err().to_string();
        assert!(failed.starts_with("compiling failed in /") && failed.contains("exit status: 1"), "{failed}");
        assert!(output(&mut Command::new("/nowhere/x"), dir.path()).unwrap_err().to_string().contains("/nowhere/x"));
    }
}
