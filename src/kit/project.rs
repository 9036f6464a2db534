//! A plugin's folder as the tools find it: its name, its component, its scenarios.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plugin's folder, or a component alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// As in `[plugins.NAME]`.
    pub name: Arc<str>,
    /// What `waypost plugin build` made.
    pub component: PathBuf,
    /// All of `scenarios`, by name.
    pub scenarios: Vec<PathBuf>,
}

/// The manifest that makes a folder a project.
const MANIFEST: &str = "waypost-plugin.toml";

impl Project {
    /// Of a folder with a manifest, or of a component beside which scenarios may lie.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn find(path: &Path) -> Result<Self, String> {
        if path.is_file() {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = path.parent().unwrap_or(Path::new("."));
            // `dist/NAME.wasm` of a project has its scenarios one folder up.
            let above = folder.parent().filter(|above| above.join(MANIFEST).is_file()).unwrap_or(folder);
            return Ok(Self { name: stem.into(), component: path.to_owned(), scenarios: scenarios(above)? });
        }
        if !path.is_dir() {
            return Err(format!("{}: there is no such folder or component", path.display()));
        }
        if !path.join(MANIFEST).is_file() {
            return Err(format!(
                "{}: no {MANIFEST} in it, so it is no plugin's folder; make one with `waypost plugin new NAME`, or name a \
                 component, a .wasm file",
                path.display()
            ));
        }
        let name = name_of(path)?;
        let built = path.join("dist").join(format!("{name}.wasm"));
        // The shipped policies are built into a folder that they share.
        let shared = path.join("../components").join(format!("{name}.wasm"));
        let component = if built.is_file() || !shared.is_file() { built } else { shared };
        if !component.is_file() {
            return Err(format!(
                "{}: it is not built yet: run `waypost plugin build {}`",
                component.display(),
                path.display()
            ));
        }
        Ok(Self { name: name.into(), component, scenarios: scenarios(path)? })
    }
}

/// As its manifest says, else as its folder is called.
fn name_of(folder: &Path) -> Result<String, String> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest: toml::Table =
        text.parse().map_err(|error: toml::de::Error| format!("{}: {error}", path.display()))?;
    if let Some(name) = manifest.get("name").and_then(toml::Value::as_str) {
        return Ok(name.to_owned());
    }
    let folder = std::fs::canonicalize(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

fn scenarios(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = folder.join("scenarios");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(said)? {
        let path = entry.map_err(said)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_project_once_it_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("policy");
        std::fs::create_dir_all(folder.join("scenarios")).unwrap();
        assert!(Project::find(&folder).unwrap_err().contains("waypost plugin new"));
        std::fs::write(folder.join(MANIFEST), "").unwrap();
        assert!(Project::find(&folder).unwrap_err().contains("waypost plugin build"));
        std::fs::create_dir(folder.join("dist")).unwrap();
        std::fs::write(folder.join("dist/policy.wasm"), "").unwrap();
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(folder.join("scenarios").join(name), "").unwrap();
        }
        let project = Project::find(&folder).unwrap();
        assert_eq!((&*project.name, project.scenarios.len()), ("policy", 2));
        assert_eq!(Project::find(&folder.join("dist/policy.wasm")).unwrap(), project);
        std::fs::write(folder.join(MANIFEST), "name = \"other\"").unwrap();
        assert!(Project::find(&folder).unwrap_err().contains("dist/other.wasm"));
        assert!(Project::find(&dir.path().join("nothing")).unwrap_err().contains("no such"));
    }
}
