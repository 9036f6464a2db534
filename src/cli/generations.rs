//! `waypost plugin status`, `generations`, `rollback`, `promote`, `drop-candidate`, `try`, `audit`: what serves, what
//! served, and changes of it.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::Common;
use super::plugin::{show, show_one};
use super::render::{Elements, clean, table};
use super::{Failure, connect, reload};
use crate::admin::{PluginChange, SetStatus};

/// All plugins, or one of them in full.
pub(super) async fn status(common: &Common, name: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut plugins, set) = connect(common).await?.plugin_status().await?;
    if let Some(name) = name {
        plugins.retain(|plugin| text(plugin, "name") == name);
        if plugins.is_empty() {
            return Err(Failure::refused(format!("there is no plugin {name}")));
        }
    }
    if common.json {
        let SetStatus { generation, since, reason, by, kept } = set;
        let document = json!({
            "generation": generation, "since": since, "reason": reason, "by": by, "kept": kept, "plugins": plugins,
        });
        return Ok(writeln!(out, "{document}")?);
    }
    write!(out, "{}", head(&set))?;
    match (name, plugins.first()) {
        (Some(_), Some(plugin)) => Ok(write!(out, "{}", show_one(plugin))?),
        (_, None) => Ok(writeln!(out, "no plugins")?),
        _ => Ok(write!(out, "\n{}{}", show(&plugins), overrides(&plugins))?),
    }
}

fn head(set: &SetStatus) -> String {
    let kept: Vec<String> = set.kept.iter().map(ToString::to_string).collect();
    let (since, reason, by) = (clean(&set.since), clean(&set.reason), clean(&set.by));
    let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
    format!("generation {} serves since {since}: {reason}, by {by}\nkept: {kept}\n", set.generation)
}

fn overrides(plugins: &[Value]) -> String {
    let held = plugins.iter().filter_map(|plugin| Some((text(plugin, "name"), plugin.get("override")?.as_str()?)));
    held.map(|(name, why)| format!("{}: not as configured: {}\n", clean(name), clean(why))).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Those kept for a roll-back.
pub(super) async fn generations(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let generations = connect(common).await?.plugin_generations().await?;
    if common.json {
        return array(&generations, out);
    }
    let row = |generation: &Value| {
        let number = generation.get("generation").map(ToString::to_string).unwrap_or_default();
        let plugins = generation.get("plugins").and_then(Value::as_object);
        let names: Vec<&str> = plugins.into_iter().flatten().map(|(name, _)| &**name).collect();
        let serves = generation.get("serving") == Some(&Value::Bool(true));
        let state = match text(generation, "taken_back") {
            _ if serves => "serving",
            "" => "kept",
            _ => "taken back",
        };
        vec![
            number,
            text(generation, "since").to_owned(),
            state.to_owned(),
            format!("{}, by {}", text(generation, "reason"), text(generation, "by")),
            names.join(", "),
        ]
    };
    let rows: Vec<_> = generations.iter().map(row).collect();
    Ok(write!(out, "{}", table(&["GENERATION", "SINCE", "STATE", "MADE BY", "PLUGINS"], &rows))?)
}

/// The last changes.
pub(super) async fn audit(common: &Common, limit: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let entries = connect(common).await?.plugin_audit(limit).await?;
    if common.json {
        return array(&entries, out);
    }
    for entry in &entries {
        let generation = entry.get("generation").map(ToString::to_string).unwrap_or_default();
        let (at, what, by) = (text(entry, "at"), text(entry, "what"), text(entry, "by"));
        writeln!(out, "{}  {} by {}, generation {generation}", clean(at), clean(what), clean(by))?;
        for weakening in entry.get("weakenings").and_then(Value::as_array).into_iter().flatten() {
            writeln!(out, "  weaker: {}", clean(weakening.as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn array(elements: &[Value], out: &mut dyn Write) -> Result<(), Failure> {
    let mut list = Elements::start(out)?;
    elements.iter().try_for_each(|element| list.add(element, out))?;
    Ok(list.end(out)?)
}

/// Changes what serves.
pub(super) async fn change(
    common: &Common,
    change: PluginChange,
    allow_weaken: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let report = connect(common).await?.plugin_change(change, allow_weaken).await?;
    reload::print(common, &report, out)
}

/// The relay may stand in another folder.
pub(super) fn from_the_root(file: PathBuf) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(&file).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))
}
