//! What an operator would write for a plugin, so that a relay can say what it thinks of it. Pure, but for the scenarios.
//!
//! Settings and grants are those of the project's scenarios, which its author wrote anyway.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::WorkbenchError;

/// A configuration for a relay that has this plugin alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The tables of the plugin.
    pub tables: String,
    /// Where settings and grants come from; none: there is nothing to set.
    pub scenario: Option<PathBuf>,
}

impl Proposal {
    /// A whole configuration, with its files in a folder; nothing of it but the plugin is ever put to use. The operator's
    /// secrets are not here: all of them are read from `secret`.
    pub fn relay(&self, folder: &Path, secret: &Path) -> String {
        let mut tables: Table = toml::from_str(&self.tables).unwrap_or_default();
        let plugins = tables.get_mut("plugins").and_then(Value::as_table_mut).into_iter();
        for (_, plugin) in plugins.flat_map(|plugins| plugins.iter_mut()) {
            let secrets = plugin.get_mut("grants").and_then(|grants| grants.get_mut("secrets"));
            let secrets = secrets.and_then(Value::as_table_mut).into_iter();
            secrets.flat_map(|all| all.iter_mut()).for_each(|(_, file)| *file = secret.display().to_string().into());
        }
        let folder = Value::from(folder.display().to_string());
        format!(
            "hostname = \"relay.example\"\n[listeners.smtp]\naddress = \"127.0.0.1:0\"\n[queue]\npath = {folder}\n\
             [routing]\ndefault = \"mx\"\n{tables}"
        )
    }
}

/// What to write for a component; `lines` grant what it asks for, where no scenario says anything.
///
/// # Errors
/// A scenario can't be read.
pub fn propose(
    name: &str,
    component: &Path,
    project: Option<&Path>,
    lines: &[String],
) -> Result<Proposal, WorkbenchError> {
    let (mut plugin, scenario) = match project.map(first_scenario).transpose()?.flatten() {
        Some((plugin, path)) => (plugin, Some(path)),
        None => (Table::new(), None),
    };
    plugin.insert("path".to_owned(), component.display().to_string().into());
    let mut tables = String::new();
    let inner: Vec<(String, Value)> =
        ["config", "grants"].into_iter().filter_map(|key| Some((key.to_owned(), plugin.remove(key)?))).collect();
    // Infallible for a String, here and below.
    let _ = writeln!(tables, "[plugins.{name}]\n{}", plugin.to_string().trim_end());
    for (key, value) in inner.iter().filter_map(|(key, value)| Some((key, value.as_table()?))) {
        if !value.is_empty() {
            let one = Table::from_iter([(key.clone(), Value::Table(value.clone()))]);
            let below = Table::from_iter([(name.to_owned(), Value::Table(one))]);
            let text = Table::from_iter([("plugins".to_owned(), Value::Table(below))]).to_string();
            let _ = writeln!(tables, "{}", text.trim_end());
        }
    }
    let shared =
        |(key, grants): &(String, Value)| (key == "grants").then(|| grants.get("kv-shared")?.as_table().cloned())?;
    for bucket in inner.iter().find_map(shared).iter().flat_map(|buckets| buckets.keys()) {
        let _ = writeln!(tables, "[plugin-host.kv.{bucket}]");
    }
    if !lines.is_empty() && !inner.iter().any(|(key, _)| key == "grants") {
        let _ = writeln!(tables, "[plugins.{name}.grants]\n{}", lines.join("\n"));
    }
    Ok(Proposal { tables, scenario })
}

/// `[plugin]` of the first file in `scenarios`.
fn first_scenario(project: &Path) -> Result<Option<(Table, PathBuf)>, WorkbenchError> {
    let entries = std::fs::read_dir(project.join("scenarios")).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "toml"));
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| WorkbenchError::file(&path, &error))?;
        let scenario: Table =
            toml::from_str(&text).map_err(|error| WorkbenchError::Failed(format!("{}: {error}", path.display())))?;
        if let Some(Value::Table(plugin)) = scenario.get("plugin") {
            let mut plugin = plugin.clone();
            spell_out(&mut plugin);
            return Ok(Some((plugin, path)));
        }
    }
    Ok(None)
}

/// Scenarios may say `grants.kv = true`, the configuration wants a table.
fn spell_out(plugin: &mut Table) {
    let Some(Value::Table(grants)) = plugin.get_mut("grants") else { return };
    for key in ["kv", "dns"] {
        match grants.get(key) {
            Some(Value::Boolean(true)) => drop(grants.insert(key.to_owned(), Value::Table(Table::new()))),
            Some(Value::Boolean(false)) => drop(grants.remove(key)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_grants_are_those_of_the_first_scenario() {
        let dir = tempfile::tempdir().unwrap();
        let component = Path::new("/x/a.wasm");
        let bare = propose("a", component, Some(dir.path()), &["kv = {}".into()]).unwrap();
        assert_eq!(bare.tables, "[plugins.a]\npath = \"/x/a.wasm\"\n[plugins.a.grants]\nkv = {}\n");
        assert_eq!(propose("a", component, None, &[]).unwrap().tables, "[plugins.a]\npath = \"/x/a.wasm\"\n");
        std::fs::create_dir(dir.path().join("scenarios")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join("scenarios").join(name), text).unwrap();
        write("a.toml", "[[case]]\nname = \"x\"\n");
        write("b.toml", "[plugin]\nconfig = { unread = [\"x\"] }\ngrants.dns = true\non-failure = \"accept\"\n");
        let told = propose("a", component, Some(dir.path()), &["kv = {}".into()]).unwrap();
        assert!(told.scenario.as_ref().unwrap().ends_with("scenarios/b.toml"));
        assert!(told.tables.contains("[plugins.a.config]\nunread = [\"x\"]\n"), "{}", told.tables);
        assert!(told.tables.contains("[plugins.a.grants.dns]") && !told.tables.contains("kv"));
        assert!(told.tables.contains("on-failure = \"accept\""));
        let relay = told.relay(Path::new("/q"), Path::new("/s"));
        assert!(relay.contains("path = \"/q\"") && relay.contains("unread = [\"x\"]"), "{relay}");
        let secrets = propose("a", component, None, &["secrets = { k = \"FILE\" }".into()]).unwrap();
        assert!(secrets.relay(Path::new("/q"), Path::new("/s")).contains("k = \"/s\""));
        write("b.toml", "[plugin\n");
        assert!(propose("a", component, Some(dir.path()), &[]).unwrap_err().to_string().contains("b.toml"));
    }
}
