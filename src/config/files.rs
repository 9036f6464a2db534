//! The files of a configuration: the main one, and the drop-ins beside it in the order of their names.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::raw::Written;

/// Larger than any configuration written by hand; a mistyped path must not fill the memory.
const MAX_FILE: u64 = 4 << 20;

/// Drop-ins read at most: who has more has them made by a program that went wrong.
const MAX_FILES: usize = 1000;

/// The folder of a configuration's drop-ins: `waypost.d` for `waypost.toml`.
pub fn drop_in_folder(main: &Path) -> PathBuf {
    main.with_extension("d")
}

/// Reads all of them, the main one first.
pub(super) fn read_all(main: &Path) -> Result<Vec<Written>, Vec<ConfigError>> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    let drop_ins = drop_ins(&drop_in_folder(main)).unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    for path in std::iter::once(main.to_owned()).chain(drop_ins) {
        match read(&path, path == main) {
            Ok(file) => files.push(file),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

/// Names that end in `.toml` and do not begin with a dot, sorted octet by octet.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    const HELP: &str = "drop-ins are files that the relay's user can read; remove the folder if there are none";
    let failed = |error: std::io::Error| ConfigError::of_file(folder, format!("can't be read: {error}"), HELP);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(ConfigError::of_file(folder, format!("holds more than {MAX_FILES} drop-ins"), HELP));
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path, main: bool) -> Result<Written, ConfigError> {
    let help = if main { "name the configuration with --config FILE" } else { "mend it, or take it away" };
    let failed = |error: std::io::Error| ConfigError::of_file(path, format!("can't be read: {error}"), help);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::of_file(path, "is larger than 4 MiB".to_owned(), "is it the right file?"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(Written { name: path.display().to_string().into(), text })
}
