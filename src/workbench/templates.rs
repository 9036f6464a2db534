//! What is written into projects, as it is built into this program.
//!
//! `common/project` goes into every project but one in Rust, which has the SDK in place of `wit/`; `LANGUAGE/project`
//! comes on top. A name's `.in` falls away: it keeps tools from taking a template for a project. `go/bindings` is for
//! Go's builds.

use include_dir::{Dir, File, include_dir};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plugins/templates");

/// The SDK for Rust, which a project carries along.
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plugins/sdk");

/// The contract as TypeScript, by the language's own generator.
static TYPES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plugins/sdk-ts/types");

const LICENCE: &str = include_str!("../../LICENSE");
const WORKSPACE: &str = include_str!("../../Cargo.toml");

/// Templates below a folder, as the path in a project and the text.
pub(super) fn below(folder: &'static str) -> Vec<(String, &'static str)> {
    let files = TEMPLATES.get_dir(folder).map(files).unwrap_or_default();
    let name = |path: String| {
        let path = path.strip_prefix(folder).map(|path| path.trim_start_matches('/').to_owned()).unwrap_or(path);
        path.strip_suffix(".in").map(|path| path.replace("gitignore", ".gitignore")).unwrap_or(path)
    };
    files.into_iter().map(|(path, text)| (name(path), text)).collect()
}

/// The contract's types for TypeScript. Modules are declared by name, so the folder is all a compiler needs to know.
pub(super) fn types() -> Vec<(String, &'static str)> {
    files(&TYPES).into_iter().filter(|(path, _)| path.starts_with("interfaces/")).collect()
}

/// The SDK as a crate that stands by itself, with the contract in it.
pub(super) fn sdk() -> Vec<(String, String)> {
    let own = |(path, text): (String, &str)| match path.as_str() {
        "Cargo.toml" => (path, alone(text)),
        // In the repository the contract is two folders up.
        _ => (path, text.replace("\"../../wit\"", "\"contract\"")),
    };
    let contract =
        files(&super::contract::CONTRACT).into_iter().map(|(path, text)| (format!("contract/{path}"), text.to_owned()));
    let mut all: Vec<(String, String)> = files(&SDK).into_iter().map(own).chain(contract).collect();
    all.push(("LICENSE".to_owned(), LICENCE.to_owned()));
    all
}

/// A manifest of cargo with the workspace's values in place of the word `workspace`.
fn alone(manifest: &str) -> String {
    let value = |key: &str| {
        let package = WORKSPACE.split("[workspace.package]").nth(1)?;
        let line = package.lines().find(|line| line.starts_with(&format!("{key} = ")))?;
        Some(line.to_owned())
    };
    let line = |line: &str| line.strip_suffix(".workspace = true").and_then(value).unwrap_or_else(|| line.to_owned());
    manifest.lines().map(|text| line(text) + "\n").collect()
}

/// All files below, text only.
pub(super) fn files<'a>(folder: &'a Dir<'a>) -> Vec<(String, &'a str)> {
    let text = |file: &'a File<'a>| Some((file.path().to_str()?.to_owned(), file.contents_utf8()?));
    let own = folder.files().filter_map(text);
    own.chain(folder.dirs().flat_map(files)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_stands_by_itself() {
        let sdk = sdk();
        let text = |path: &str| &sdk.iter().find(|(name, _)| name == path).unwrap().1;
        let manifest = text("Cargo.toml");
        assert!(!manifest.contains(".workspace"), "{manifest}");
        assert!(
            manifest.contains("\nedition = \"2024\"\n") && manifest.contains("\nversion = \"0.1.0\"\n"),
            "{manifest}"
        );
        assert!(text("src/bindings.rs").contains("path: \"contract\"") && !text("src/bindings.rs").contains("../"));
        assert!(text("contract/package.wit").contains("package waypost:plugin@0.1.0;"));
        assert!(text("LICENSE").contains("Apache License"));
    }
}
