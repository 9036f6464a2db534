//! `waypost plugin new`: a project that builds, passes its own test, and refuses its first recipient.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::template::{Filling, fill};
use super::{Language, WorkbenchError, contract, generate, templates};
use crate::hooks::Hook;

/// Characters of a name: it becomes part of names in six languages, and of file names.
const NAME_MAX: usize = 40;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Of the plugin.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// Hooks, with or without `on-`; none: rcpt.
    pub hooks: Vec<String>,
    /// The folder in which the project's folder is made.
    pub into: PathBuf,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The project's folder.
    pub folder: PathBuf,
    /// Its files, as paths below it.
    pub files: Vec<String>,
    /// Commands that come next, run in that folder.
    pub next: Vec<String>,
}

/// Writes a new project.
///
/// # Errors
/// The name or a hook makes no sense, something is there already, or a file can't be written.
pub fn create(order: &Order) -> Result<Created, WorkbenchError> {
    check_name(&order.name)?;
    let hooks = hooks(&order.hooks)?;
    // `./name` would only look odd.
    let above = order.into.strip_prefix(".").unwrap_or(&order.into);
    let folder = above.join(&order.name);
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(WorkbenchError::Usage(format!(
            "{}: something is there already; take another name, or another folder with --into DIR",
            folder.display()
        )));
    }
    let files = project(&order.name, order.language, &hooks)?;
    for (path, text) in &files {
        generate::write(&folder.join(path), text.as_bytes())?;
    }
    let mut next = vec!["waypost plugin build".to_owned(), "waypost plugin test".to_owned()];
    next.splice(0..0, installing(order.language).map(str::to_owned));
    Ok(Created { folder, files: files.into_iter().map(|(path, _)| path).collect(), next })
}

/// What has to be in the project's folder first.
fn installing(language: Language) -> Option<&'static str> {
    matches!(language, Language::TypeScript | Language::JavaScript).then_some("npm install")
}

/// Every file of a project.
fn project(name: &str, language: Language, hooks: &BTreeSet<Hook>) -> Result<Vec<(String, String)>, WorkbenchError> {
    let filling = filling(name, language, hooks);
    let own = match language {
        Language::Rust => "rust/project",
        Language::TypeScript => "typescript/project",
        Language::JavaScript => "javascript/project",
        Language::Python => "python/project",
        Language::Go => "go/project",
        Language::C => "c/project",
    };
    let mut files = Vec::new();
    for (path, template) in templates::below("common/project").into_iter().chain(templates::below(own)) {
        // With the SDK, the hooks are named in the code.
        if language == Language::Rust && path.starts_with("wit/") {
            continue;
        }
        let text = fill(template, &filling)
            .map_err(|why| WorkbenchError::Failed(format!("the template of {path} is broken: {why}")))?;
        files.push((path, text));
    }
    if language == Language::TypeScript {
        files.extend(templates::types().into_iter().map(|(path, text)| (format!("types/{path}"), text.to_owned())));
    }
    if language == Language::Rust {
        files.extend(templates::sdk().into_iter().map(|(path, text)| (format!("vendor/waypost-plugin/{path}"), text)));
    } else {
        let contract = templates::files(&contract::CONTRACT).into_iter();
        files.extend(contract.map(|(path, text)| (format!("wit/deps/waypost-plugin/{path}"), text.to_owned())));
    }
    Ok(files)
}

fn filling(name: &str, language: Language, hooks: &BTreeSet<Hook>) -> Filling<'static> {
    let exports: Vec<String> = hooks.iter().map(|hook| hook.interface().replace('-', "_")).collect();
    let mut flags: BTreeSet<&str> = hooks.iter().map(|hook| contract::short(*hook)).collect();
    flags.insert(language.word());
    let values = vec![
        ("name", name.to_owned()),
        ("snake", name.replace('-', "_")),
        ("language", language.word().to_owned()),
        ("Language", language.name().to_owned()),
        ("exports", exports.join(", ")),
        ("hooks", hooks.iter().map(|hook| contract::short(*hook)).collect::<Vec<_>>().join(", ")),
    ];
    Filling { values, flags }
}

fn hooks(words: &[String]) -> Result<BTreeSet<Hook>, WorkbenchError> {
    if words.is_empty() {
        return Ok([Hook::Rcpt].into());
    }
    words.iter().map(|word| contract::hook(word).map_err(WorkbenchError::Usage)).collect()
}

fn check_name(name: &str) -> Result<(), WorkbenchError> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() <= NAME_MAX && name.split('-').all(word) {
        return Ok(());
    }
    Err(WorkbenchError::Usage(format!(
        "{name:?} can't be a plugin's name: take up to {NAME_MAX} of a-z, 0-9 and single hyphens, with a letter at the \
         beginning of each part, as in `no-reply`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(language: Language, hooks: &BTreeSet<Hook>) -> Vec<(String, String)> {
        project("no-reply", language, hooks).unwrap()
    }

    #[test]
    fn every_language_has_what_a_project_needs() {
        for (language, source) in [
            (Language::Rust, "src/lib.rs"),
            (Language::TypeScript, "src/plugin.ts"),
            (Language::JavaScript, "plugin.js"),
            (Language::Python, "plugin.py"),
            (Language::Go, "plugin.go"),
            (Language::C, "plugin.c"),
        ] {
            let files = files(language, &[Hook::Rcpt].into());
            let text = |path: &str| {
                let found = files.iter().find(|(name, _)| name == path);
                found.unwrap_or_else(|| panic!("{language:?}: no {path}")).1.as_str()
            };
            assert!(text("waypost-plugin.toml").contains(&format!("language = \"{}\"", language.word())));
            assert!(text(".gitignore").contains("/dist"));
            assert!(text("README.md").contains("waypost plugin build") && text("README.md").contains(language.name()));
            assert!(text("scenarios/first.toml").contains("S: 550 5.7.1 nobody reads that mailbox"));
            assert!(text(source).contains("unread"), "{language:?}");
            let contract =
                if language == Language::Rust { "vendor/waypost-plugin/contract" } else { "wit/deps/waypost-plugin" };
            assert!(text(&format!("{contract}/package.wit")).contains("package waypost:plugin@"));
            if language != Language::Rust {
                assert!(text("wit/world.wit").contains("export waypost:plugin/on-rcpt@0.1.0;"));
            }
            for (path, text) in &files {
                assert!(!text.contains("{{#") && !text.contains("{{name"), "{language:?}: {path}");
            }
        }
    }

    #[test]
    fn every_hook_has_a_stub_in_every_language() {
        let all: BTreeSet<Hook> = Hook::ALL.into();
        for language in Language::ALL {
            for hook in Hook::ALL {
                let one = files(language, &[hook].into());
                let every = files(language, &all);
                let sources = |files: &[(String, String)]| -> String {
                    let own = |path: &str| {
                        !path.starts_with("vendor") && !path.contains("deps") && !path.starts_with("types")
                    };
                    files.iter().filter(|(path, _)| own(path)).map(|(_, text)| text.as_str()).collect()
                };
                let (one, every) = (sources(&one), sources(&every));
                // on-rcpt, on_rcpt, OnRcpt and onRcpt are all the same word here.
                let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
                let word = plain(hook.interface());
                for text in [&one, &every] {
                    assert!(plain(text).matches(&word).count() >= 2, "{language:?} {hook:?}");
                }
                let other = if hook == Hook::Helo { Hook::Auth } else { Hook::Helo };
                assert!(!plain(&one).contains(&format!("fn {}", plain(other.interface()))), "{language:?} {hook:?}");
                assert_eq!(one.contains("unread"), hook == Hook::Rcpt, "{language:?} {hook:?}");
            }
        }
    }

    #[test]
    fn a_project_is_written_once_and_only_under_a_good_name() {
        let dir = tempfile::tempdir().unwrap();
        let order = |name: &str, hooks: &[&str]| Order {
            name: name.to_owned(),
            language: Language::JavaScript,
            hooks: hooks.iter().map(|hook| (*hook).to_owned()).collect(),
            into: dir.path().to_owned(),
        };
        let made = create(&order("no-reply", &[])).unwrap();
        assert_eq!(made.next, ["npm install", "waypost plugin build", "waypost plugin test"]);
        assert!(made.files.iter().all(|file| made.folder.join(file).is_file()));
        for (name, hooks, words) in [
            ("no-reply", &["rcpt"][..], "already"),
            ("No", &[], "can't be a plugin's name"),
            ("a--b", &[], "can't be"),
            ("", &[], "can't be"),
            ("../x", &[], "can't be"),
            ("1a", &[], "can't be"),
            ("other", &["rctp"], "did you mean `rcpt`"),
        ] {
            let why = create(&order(name, hooks)).unwrap_err();
            assert!(matches!(why, WorkbenchError::Usage(_)) && why.to_string().contains(words), "{why}");
        }
        assert!(!dir.path().join("other").exists());
    }
}
