//! The contract as it is built into this program, and a project's own world against it.

use std::path::Path;

use include_dir::{Dir, include_dir};
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

use super::WorkbenchError;
use crate::hooks::Hook;
use crate::suggest::nearest;

/// `wit/` of this version.
pub(super) static CONTRACT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/wit");

/// The version in it.
pub(super) const VERSION: &str = "0.1.0";

/// A project's world.
pub(super) struct World {
    pub resolve: Resolve,
    pub id: WorldId,
    /// Its name.
    pub name: String,
}

/// One exported interface of the contract.
pub(super) struct Export {
    /// `on-rcpt`.
    pub interface: String,
    /// Each function with the number of its parameters.
    pub functions: Vec<(String, usize)>,
}

impl World {
    /// Reads `wit/` of a project.
    ///
    /// # Errors
    /// What is wrong with it; a hook that is not there, with the hooks there are.
    pub(super) fn of(folder: &Path) -> Result<Self, WorkbenchError> {
        let wit = folder.join("wit");
        if !wit.is_dir() {
            return Err(WorkbenchError::Failed(format!(
                "{} is missing: it holds the plugin's world; `waypost plugin new` writes one to start from",
                wit.display()
            )));
        }
        check_hooks(&wit)?;
        let wrong =
            |error: &dyn std::fmt::Display| WorkbenchError::Failed(format!("{} can't be used: {error}", wit.display()));
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&wit).map_err(|error| wrong(&format_args!("{error:#}")))?;
        let id = resolve.select_world(&[package], None).map_err(|error| wrong(&format_args!("{error:#}")))?;
        let name = resolve.worlds.get(id).map(|world| world.name.clone()).unwrap_or_default();
        Ok(Self { resolve, id, name })
    }

    /// The interfaces of the contract that it exports.
    pub(super) fn exports(&self) -> Vec<Export> {
        let Some(world) = self.resolve.worlds.get(self.id) else { return Vec::new() };
        let export = |(key, item): (&WorldKey, &WorldItem)| {
            let WorldItem::Interface { id, .. } = item else { return None };
            let name = self.resolve.name_world_key(key);
            let (interface, _) = name.strip_prefix("waypost:plugin/")?.split_once('@')?;
            let functions = &self.resolve.interfaces.get(*id)?.functions;
            let functions = functions.iter().map(|(name, function)| (name.clone(), function.params.len())).collect();
            Some(Export { interface: interface.to_owned(), functions })
        };
        world.exports.iter().filter_map(export).collect()
    }
}

/// The hook of that name, with or without `on-`.
///
/// # Errors
/// Which hooks there are, and the nearest.
pub(super) fn hook(word: &str) -> Result<Hook, String> {
    let bare = word.strip_prefix("on-").or_else(|| word.strip_prefix("on_")).unwrap_or(word).replace('_', "-");
    if let Some(hook) = Hook::ALL.into_iter().find(|hook| short(*hook) == bare) {
        return Ok(hook);
    }
    let names = Hook::ALL.map(short);
    let meant = nearest(&bare, names).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    Err(format!("there is no hook `{word}`; {meant}There are {}", names.join(", ")))
}

/// Without `on-`.
pub(super) fn short(hook: Hook) -> &'static str {
    hook.interface().trim_start_matches("on-")
}

/// The parser says only that an interface is missing: a mistyped hook is worth more words.
fn check_hooks(wit: &Path) -> Result<(), WorkbenchError> {
    let files = std::fs::read_dir(wit).map_err(|error| WorkbenchError::file(wit, &error))?;
    for path in files.filter_map(Result::ok).map(|entry| entry.path()) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for word in exported(&text) {
            hook(word).map_err(|why| WorkbenchError::Failed(format!("{}: {why}", path.display())))?;
        }
    }
    Ok(())
}

/// The hooks that a world's text exports by name.
fn exported(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.trim_start().strip_prefix("export "));
    let names = lines.filter_map(|rest| rest?.trim_start().strip_prefix("waypost:plugin/"));
    names.filter_map(|name| name.split(['@', ';']).next()).map(str::trim).filter(|name| *name != "lifecycle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_hook_is_told_with_what_was_meant() {
        assert_eq!(hook("rcpt"), Ok(Hook::Rcpt));
        assert_eq!(hook("on-delivery-result"), Ok(Hook::DeliveryResult));
        assert_eq!(hook("delivery_attempt"), Ok(Hook::DeliveryAttempt));
        let wrong = hook("on-rctp").unwrap_err();
        assert!(wrong.starts_with("there is no hook `on-rctp`; did you mean `rcpt`? There are connect, "), "{wrong}");
        assert!(hook("quarantine").unwrap_err().starts_with("there is no hook `quarantine`; There are"));
    }

    #[test]
    fn the_contract_in_the_program_has_the_version_that_manifests_name() {
        let package = CONTRACT.get_file("package.wit").unwrap().contents_utf8().unwrap();
        assert!(package.contains(&format!("package waypost:plugin@{VERSION};")));
    }

    #[test]
    fn a_world_is_read_and_what_is_wrong_with_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let contract = dir.path().join("wit/deps/waypost-plugin");
        std::fs::create_dir_all(&contract).unwrap();
        CONTRACT.extract(&contract).unwrap();
        let world = |text: &str| {
            std::fs::write(dir.path().join("wit/world.wit"), format!("package a:b;\nworld plugin {{\n{text}\n}}\n"))
                .unwrap();
            World::of(dir.path())
                .map(|world| world.exports().into_iter().map(|e| (e.interface, e.functions)).collect::<Vec<_>>())
        };
        let rcpt = world("export waypost:plugin/on-rcpt@0.1.0;").unwrap();
        assert_eq!(rcpt, [("on-rcpt".to_owned(), vec![("handle".to_owned(), 1)])]);
        for (text, words) in [
            ("  export waypost:plugin/on-rctp@0.1.0;", "did you mean `rcpt`?"),
            ("import waypost:plugin/kvs@0.1.0;", "kvs"),
            ("export", "can't be used"),
        ] {
            let why = world(text).unwrap_err().to_string();
            assert!(why.contains(words) && why.contains("wit"), "{why}");
        }
        assert!(World::of(&contract).err().unwrap().to_string().contains("is missing"));
    }
}
