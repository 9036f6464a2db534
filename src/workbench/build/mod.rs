//! `waypost plugin build`: a project's compiler, then the manifest into what it made.

mod c;
mod go;
mod python;
mod rust;
mod script;

use std::path::PathBuf;
use std::time::Instant;

use super::tools::step;
use super::{Language, Project, Toolbox, WorkbenchError, component, generate};

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// Where the component is.
    pub component: PathBuf,
    /// Octets.
    pub size: u64,
    /// Interfaces of the contract that it exports: hooks, and `lifecycle`.
    pub exports: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// What it was built from.
    pub language: Language,
}

/// Builds a project. Blocking; compilers write to standard error.
///
/// # Errors
/// A tool is missing, or a compiler refuses the sources.
pub fn build(project: &Project, tools: &Toolbox) -> Result<Built, WorkbenchError> {
    let begun = Instant::now();
    let (octets, usual_version) = match project.language {
        Language::Rust => rust::build(project, tools)?,
        Language::TypeScript => (script::typescript(project, tools)?, None),
        Language::JavaScript => (script::javascript(project, tools)?, None),
        Language::Python => (python::build(project, tools)?, None),
        Language::Go => (go::build(project, tools)?, None),
        Language::C => (c::build(project, tools)?, None),
    };
    step("putting the manifest into the component");
    let exports = component::exports(&octets)?;
    if !exports.iter().any(|name| name.starts_with("on-")) {
        return Err(WorkbenchError::Failed(format!(
            "the component exports no hook, so no relay would ask it: {}",
            match project.language {
                Language::Rust => "name at least one in `waypost_plugin::export!`",
                _ => "export at least one in wit/world.wit, such as `export waypost:plugin/on-rcpt@0.1.0;`",
            }
        )));
    }
    let version = project.version.clone().or(usual_version).unwrap_or_else(|| "0.0.0".to_owned());
    let stamped = component::stamped(&octets, &project.manifest_for(&exports, &version)?)?;
    let path = project.component();
    generate::write(&path, &stamped)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Built { component: path, size: stamped.len() as u64, exports, seconds, language: project.language })
}

/// What a compiler wrote.
fn read(path: &std::path::Path) -> Result<Vec<u8>, WorkbenchError> {
    std::fs::read(path).map_err(|error| WorkbenchError::file(path, &error))
}

/// A folder of the project that holds what a build makes, with nothing from the last one.
fn emptied(folder: PathBuf) -> Result<PathBuf, WorkbenchError> {
    let wrong = |error: std::io::Error| WorkbenchError::file(&folder, &error);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    std::fs::create_dir_all(&folder).map_err(wrong)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nothing_installed_each_language_says_what_is_missing_and_how_to_get_it() {
        for (language, tool, command) in [
            (Language::Rust, "cargo", "rustup"),
            (Language::TypeScript, "node_modules/.bin/tsc", "npm install"),
            (Language::JavaScript, "node_modules/.bin/componentize-qjs", "npm install"),
            (Language::Python, ".venv/bin/componentize-py", "pip install componentize-py==0.25.1"),
            (Language::Go, "go in an empty PATH", "https://go.dev/dl"),
            (Language::C, "clang", "apt-get install clang lld wasi-libc"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let manifest = format!("name = \"a\"\n[build]\nlanguage = \"{}\"\n", language.word());
            std::fs::write(dir.path().join("waypost-plugin.toml"), manifest).unwrap();
            let project = Project::open(dir.path()).unwrap();
            let missing = build(&project, &Toolbox::over(Vec::new())).unwrap_err();
            let said = missing.to_string();
            assert!(matches!(missing, WorkbenchError::Missing { .. }), "{said}");
            assert!(said.contains(tool) && said.contains(command) && said.contains("looked for"), "{said}");
        }
    }
}
