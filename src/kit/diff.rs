//! Two versions of a plugin side by side: what the newer one asks for, and what it decides otherwise about the same
//! scenarios. Its own expectations do not count here, only what comes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::run::{Play, Stages, files};
use super::world::World;
use super::{Options, Scratch};
use crate::plugin::{Compiler, Instances, outline};

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// As in `[plugins.NAME]`.
    pub name: Arc<str>,
    /// The version that is known.
    pub old: PathBuf,
    /// The other one.
    pub new: PathBuf,
    /// What both are asked.
    pub scenarios: Vec<PathBuf>,
}

/// What is different.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Of the components: hooks, asks, imports, metrics …
    pub component: Vec<Change>,
    /// Of decisions.
    pub decisions: Vec<Decision>,
    /// Cases that both were asked.
    pub cases: usize,
}

/// One thing that a component has otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which.
    pub what: String,
    /// Gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// New.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
}

/// One step that goes otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its file.
    pub file: PathBuf,
    /// Its case.
    pub case: String,
    /// Its step, from one.
    pub step: usize,
    /// What the old one did, a line each.
    pub old: Vec<String>,
    /// What the new one does.
    pub new: Vec<String>,
}

/// Compares.
///
/// # Errors
/// What keeps one of them from being loaded or asked.
pub async fn diff(of: &DiffOptions, compiler: Option<Compiler>) -> Result<Diff, String> {
    let (old, new) = (look(&of.old)?, look(&of.new)?);
    let mut diff = Diff { component: changes(&old, &new), ..Diff::default() };
    let folder = Scratch::new().map_err(|error| format!("no folder for the comparison: {error}"))?;
    let world = World::open(folder.path(), compiler).await.map_err(|error| format!("{error:#}"))?;
    let options = |component: &Path| Options {
        name: of.name.clone(),
        component: component.to_owned(),
        scenarios: of.scenarios.clone(),
        only: None,
        seed: 0,
    };
    let (of_old, of_new) = (options(&of.old), options(&of.new));
    let mut stages = [&of_old, &of_new].map(|options| Stages { world: &world, options, made: Vec::new() });
    for (path, file) in files(&of_new)? {
        for case in &file.cases {
            let here = |why: String| format!("{}: case {:?}: {why}", path.display(), case.name);
            let mut told = [Vec::new(), Vec::new()];
            for (stages, told) in stages.iter_mut().zip(&mut told) {
                let stage = stages.of(&file, case, Instances::Warm).await.map_err(here)?;
                let mut play = Play::begin(&world, &stage, &file, case).map_err(here)?;
                for step in case.steps().map_err(here)? {
                    told.push(play.outcome(&step).await);
                }
            }
            diff.cases += 1;
            let [old, new] = told;
            let other = (1..).zip(old.into_iter().zip(new)).find(|(_, (old, new))| old != new);
            if let Some((step, (old, new))) = other {
                // What comes after in the same case follows from it.
                diff.decisions.push(Decision { file: path.clone(), case: case.name.clone(), step, old, new });
            }
        }
    }
    Ok(diff)
}

/// What a component says of itself, as JSON.
fn look(path: &Path) -> Result<Value, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let component = std::fs::read(path).map_err(|error| said(&error))?;
    serde_json::to_value(outline(&component).map_err(|error| said(&error))?).map_err(|error| said(&error))
}

/// Key by key.
fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return Vec::new() };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let change = |key: &String| {
        let (was, is) = (words(old.get(key)), words(new.get(key)));
        let without: Vec<String> = was.iter().filter(|word| !is.contains(word)).cloned().collect();
        let with: Vec<String> = is.iter().filter(|word| !was.contains(word)).cloned().collect();
        (!without.is_empty() || !with.is_empty()).then(|| Change { what: key.clone(), without, with })
    };
    keys.into_iter().filter_map(change).collect()
}

fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(elements)) => elements.iter().flat_map(|element| words(Some(element))).collect(),
        Some(Value::Object(entries)) => {
            let entry = |(key, value): (&String, &Value)| {
                let values = words(Some(value));
                if values.is_empty() {
                    vec![key.clone()]
                } else {
                    values.iter().map(|v| format!("{key} {v}")).collect()
                }
            };
            entries.iter().flat_map(entry).collect()
        }
        Some(other) => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_component_gains_and_loses_is_named() {
        let old = json!({"exports": ["on-rcpt"], "required": ["kv"], "optional": []});
        let new = json!({"exports": ["on-rcpt", "on-message"], "required": ["kv", "http"], "optional": []});
        let changes = changes(&old, &new);
        let shown: Vec<_> = changes.iter().map(|change| (&*change.what, change.with.join(","))).collect();
        assert_eq!(shown, [("exports", "on-message".to_owned()), ("required", "http".to_owned())]);
    }
}
