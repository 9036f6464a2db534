//! A plugin project: a folder with a `waypost-plugin.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Language, WorkbenchError};

/// The manifest's file.
pub(super) const MANIFEST: &str = "waypost-plugin.toml";

/// Folders that hold nothing a component is made of.
const MADE: [&str; 8] = ["dist", "build", "bindings", "target", "node_modules", ".git", ".venv", "__pycache__"];

/// A project as its files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Of the plugin.
    pub name: String,
    /// Of the plugin, where the manifest names one.
    pub version: Option<String>,
    /// What it is written in.
    pub language: Language,
    /// The manifest without `[build]`.
    pub(super) manifest: Map<String, Value>,
}

impl Project {
    /// Reads the project in a folder.
    ///
    /// # Errors
    /// There is none, or its manifest can't be read.
    pub fn open(folder: &Path) -> Result<Self, WorkbenchError> {
        let folder = folder.canonicalize().map_err(|error| WorkbenchError::file(folder, &error))?;
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            WorkbenchError::Failed(format!(
                "{}: {error}\nA plugin project has this file; `waypost plugin new NAME` makes a project.",
                path.display()
            ))
        })?;
        let wrong = |why: String| WorkbenchError::Failed(format!("{}: {why}", path.display()));
        let mut manifest: Map<String, Value> = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let build = manifest.remove("build");
        let language = match build.as_ref().and_then(|build| build.get("language")) {
            Some(Value::String(word)) => Language::parse(word).ok_or_else(|| {
                let known: Vec<&str> = Language::ALL.iter().map(|language| language.word()).collect();
                wrong(format!("build.language: {word:?} is none of {}", known.join(", ")))
            })?,
            Some(_) => return Err(wrong("build.language is a word: language = \"rust\"".to_owned())),
            None => Language::of_files(&folder).ok_or_else(|| {
                wrong("it does not say what the plugin is written in: add [build] language = \"rust\"".to_owned())
            })?,
        };
        let text_of = |key: &str| manifest.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(name) = text_of("name").filter(|name| !is_plain(name)) {
            return Err(wrong(format!(
                "name: {name:?}: take letters, digits, `-`, `_` and `.`, without a leading dot"
            )));
        }
        let usual = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = text_of("name").or_else(usual).unwrap_or_default();
        Ok(Self { name, version: text_of("version"), language, manifest, folder })
    }

    /// Where the component goes.
    pub fn component(&self) -> PathBuf {
        self.folder.join("dist").join(format!("{}.wasm", self.name))
    }

    /// The scenario files, by name.
    ///
    /// # Errors
    /// Their folder can't be read; that there is none is no error.
    pub fn scenarios(&self) -> Result<Vec<PathBuf>, WorkbenchError> {
        let folder = self.folder.join("scenarios");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let failed = |error: std::io::Error| WorkbenchError::file(&folder, &error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The manifest as it goes into a component that exports these interfaces.
    ///
    /// # Errors
    /// A source can't be read.
    pub(super) fn manifest_for(&self, exports: &[String], version: &str) -> Result<String, WorkbenchError> {
        let hooks: Vec<&String> = exports.iter().filter(|name| name.starts_with("on-")).collect();
        let mut manifest = self.manifest.clone();
        manifest.insert("name".to_owned(), json!(self.name));
        manifest.insert("version".to_owned(), json!(version));
        manifest.insert("contract".to_owned(), json!(super::contract::VERSION));
        manifest.insert("hooks".to_owned(), json!(hooks));
        manifest.insert("sources".to_owned(), json!(self.digest()?));
        manifest.sort_keys();
        Ok(Value::Object(manifest).to_string())
    }

    /// SHA-256 of every file that is not made by a build, with its path.
    fn digest(&self) -> Result<String, WorkbenchError> {
        let mut files = BTreeSet::new();
        collect(&self.folder, &mut files).map_err(|error| WorkbenchError::file(&self.folder, &error))?;
        let mut digest = Sha256::new();
        for file in files {
            let content = std::fs::read(&file).map_err(|error| WorkbenchError::file(&file, &error))?;
            let path = file.strip_prefix(&self.folder).unwrap_or(&file).to_string_lossy();
            digest.update(format!("{path}\0{}\0", content.len()));
            digest.update(&content);
        }
        Ok(digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect())
    }
}

/// It becomes a file's name and a key of the configuration, and a project may be a stranger's.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && !MADE.iter().any(|made| entry.file_name() == *made) {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.insert(entry.path());
        }
    }
    Ok(())
}

/// The component that a folder or a file stands for, and the project if it is one.
///
/// # Errors
/// There is none, and what makes it.
pub fn component_of(target: &Path) -> Result<(PathBuf, Option<Project>), WorkbenchError> {
    if !target.is_dir() {
        let found = target.canonicalize().map_err(|error| WorkbenchError::file(target, &error))?;
        // One that lies in its project's `dist` has scenarios and settings beside it.
        let project = found.parent().and_then(Path::parent).and_then(|folder| Project::open(folder).ok());
        return Ok((found.clone(), project.filter(|project| project.component() == found)));
    }
    let project = Project::open(target)?;
    let built = project.component();
    // The shipped policies are built into a folder that they share.
    let shared = project.folder.join("../components").join(format!("{}.wasm", project.name));
    let shared = shared.canonicalize().ok().filter(|_| !built.is_file());
    let component = shared.unwrap_or(built);
    if !component.is_file() {
        let why =
            format!("{} is not there yet: `waypost plugin build {}` makes it", component.display(), target.display());
        return Err(WorkbenchError::Failed(why));
    }
    Ok((component, Some(project)))
}

/// What a plugin's tools work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workpiece {
    /// As in `[plugins.NAME]`.
    pub name: String,
    /// Its component.
    pub component: PathBuf,
    /// Its scenario files.
    pub scenarios: Vec<PathBuf>,
}

/// What a folder or a component stands for.
///
/// # Errors
/// As [`component_of`].
pub fn workpiece(target: &Path) -> Result<Workpiece, WorkbenchError> {
    let (component, project) = component_of(target)?;
    let stem = || component.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = project.as_ref().map_or_else(stem, |project| project.name.clone());
    let scenarios = project.as_ref().map_or_else(|| Ok(Vec::new()), Project::scenarios)?;
    Ok(Workpiece { name, component, scenarios })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(manifest: &str) -> Result<Project, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        Project::open(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_what_a_project_is_and_build_stays_out_of_the_component() {
        let open =
            project("name = \"a\"\nversion = \"1.0.0\"\n[build]\nlanguage = \"go\"\n[asks]\nrequired = [\"kv\"]\n")
                .unwrap();
        assert_eq!((open.name.as_str(), open.version.as_deref(), open.language), ("a", Some("1.0.0"), Language::Go));
        assert!(open.component().ends_with("dist/a.wasm"));
        assert!(!open.manifest.contains_key("build") && open.manifest.contains_key("asks"));
        for (manifest, words) in [
            ("name = \"a\"\n", "add [build] language"),
            ("[build]\nlanguage = \"cobol\"\n", "none of rust, typescript"),
            ("[build]\nlanguage = 1\n", "is a word"),
            ("name", "waypost-plugin.toml"),
            ("name = \"../../x\"\n[build]\nlanguage = \"c\"\n", "without a leading dot"),
            ("name = \"x]\\n[admin\"\n[build]\nlanguage = \"c\"\n", "take letters"),
        ] {
            let why = project(manifest).unwrap_err();
            assert!(why.contains(words) && why.contains(MANIFEST), "{why}");
        }
    }

    #[test]
    fn what_is_made_does_not_count_among_the_sources() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "name = \"a\"\n[build]\nlanguage = \"c\"\n").unwrap();
        let open = Project::open(dir.path()).unwrap();
        let manifest = |open: &Project| open.manifest_for(&["lifecycle".into(), "on-rcpt".into()], "1").unwrap();
        let before = manifest(&open);
        assert!(before.contains(r#""contract":"0.1.0","hooks":["on-rcpt"],"name":"a""#), "{before}");
        std::fs::create_dir(dir.path().join("dist")).unwrap();
        std::fs::write(dir.path().join("dist/a.wasm"), "x").unwrap();
        assert_eq!(manifest(&open), before);
        std::fs::write(dir.path().join("plugin.c"), "x").unwrap();
        assert_ne!(manifest(&open), before);
        assert!(
            component_of(dir.path()).is_ok_and(|(path, project)| path.ends_with("dist/a.wasm") && project.is_some())
        );
        assert!(component_of(&dir.path().join("dist/a.wasm")).unwrap().1.is_some());
        std::fs::create_dir(dir.path().join("scenarios")).unwrap();
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(dir.path().join("scenarios").join(name), "").unwrap();
        }
        let piece = workpiece(dir.path()).unwrap();
        assert_eq!((&*piece.name, piece.scenarios.len()), ("a", 2));
        assert_eq!(workpiece(&dir.path().join("dist/a.wasm")).unwrap(), piece);
        std::fs::remove_file(dir.path().join("dist/a.wasm")).unwrap();
        assert!(component_of(dir.path()).unwrap_err().to_string().contains("waypost plugin build"));
    }
}
