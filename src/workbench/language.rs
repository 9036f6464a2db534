//! The languages that the workbench knows. Pure, but for a look at which files there are.

use std::path::Path;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// With the SDK.
    Rust,
    /// Checked by `tsc`, run by QuickJS.
    TypeScript,
    /// Run by QuickJS.
    JavaScript,
    /// CPython inside the component.
    Python,
    /// The stock compiler.
    Go,
    /// clang and wasi-libc.
    C,
}

impl Language {
    /// All six.
    pub const ALL: [Self; 6] = [Self::Rust, Self::TypeScript, Self::JavaScript, Self::Python, Self::Go, Self::C];

    /// As on the command line, in a manifest, and of the folder of its templates.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::TypeScript => "TypeScript",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::C => "C",
        }
    }

    /// The language of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.word() == word)
    }

    /// What a folder without a manifest, or with one that names no language, is written in.
    pub(super) fn of_files(folder: &Path) -> Option<Self> {
        // In this order: a TypeScript project has a package.json too.
        let marks = [
            ("Cargo.toml", Self::Rust),
            ("go.mod", Self::Go),
            ("tsconfig.json", Self::TypeScript),
            ("src/plugin.ts", Self::TypeScript),
            ("package.json", Self::JavaScript),
            ("plugin.py", Self::Python),
            ("plugin.c", Self::C),
        ];
        marks.into_iter().find(|(file, _)| folder.join(file).exists()).map(|(_, language)| language)
    }
}
