//! `waypost plugin`: list those of the running relay, show what they counted, look into a component, and on to what the
//! other files do.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::args::{Common, Plugin};
use super::render::{Elements, clean, count, table};
use super::trial::{is, left_alone, on_trial, show_trial};
use super::{Failure, bench, connect, diff, generations, replay, signing, talk, test, workbench};
use crate::admin::{PluginChange, RecordingStatus};
use crate::plugin::{Engine, inspect};

/// Shown first, where a plugin has them; everything is in the JSON.
const COLUMNS: [&str; 6] = ["name", "version", "state", "order", "calls", "hooks"];

/// One of the subcommands.
pub(super) async fn plugin(common: &Common, command: Plugin, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Plugin::List => list(common, out).await,
        Plugin::Metrics { name } => metrics(common, name, out).await,
        Plugin::Trial { name } => trial(common, name, out).await,
        Plugin::Record { name, calls, address, stop } => {
            record(common, name, (!stop).then_some(calls), address, out).await
        }
        Plugin::Test { plugin, scenario, only, seed } => test::test(common, &plugin, scenario, only, seed, out).await,
        Plugin::Bench { plugin, scenario, only, rounds, baseline, tolerance } => {
            let baseline = baseline.map(|path| (path, tolerance));
            bench::bench(common, &plugin, scenario, only, rounds, baseline, out).await
        }
        run @ Plugin::Run { .. } => talk::talk(run).await,
        Plugin::Diff { old, new, scenario } => diff::diff(common, &old, &new, scenario, out).await,
        Plugin::Replay { recording, component, settings } => {
            replay::replay(common, &recording, &component, settings, out).await
        }
        Plugin::Inspect { file } => {
            let inspection = look_into(&file)?;
            if common.json {
                return Ok(writeln!(out, "{inspection}")?);
            }
            Ok(write!(out, "{}", show_one(&inspection))?)
        }
        Plugin::New(order) => workbench::new(common, order, out),
        Plugin::Build { project } => workbench::build(common, &project, out),
        Plugin::Check { target } => workbench::check(common, &target, out).await,
        Plugin::Status { name } => generations::status(common, name.as_deref(), out).await,
        Plugin::Generations => generations::generations(common, out).await,
        Plugin::Audit { limit } => generations::audit(common, limit, out).await,
        Plugin::Keygen { file } => signing::keygen(common, &file, out),
        Plugin::Sign { key, component } => signing::sign(common, &key, &component, out),
        Plugin::Verify { key, component } => signing::verify(common, &key, &component, out),
        change => {
            let (change, weaken) = wanted(change)?;
            generations::change(common, change, weaken, out).await
        }
    }
}

async fn list(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let plugins = connect(common).await?.plugins().await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        plugins.iter().try_for_each(|plugin| elements.add(plugin, out))?;
        elements.end(out)?;
    } else if plugins.is_empty() {
        writeln!(out, "no plugins")?;
    } else {
        write!(out, "{}", show(&plugins))?;
    }
    Ok(())
}

async fn metrics(common: &Common, name: Option<String>, out: &mut dyn Write) -> Result<(), Failure> {
    let counted = connect(common).await?.plugin_metrics(name).await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        counted.iter().try_for_each(|plugin| elements.add(plugin, out))?;
        return Ok(elements.end(out)?);
    }
    let rows = counted_rows(&counted);
    if rows.is_empty() {
        return Ok(writeln!(out, "nothing counted")?);
    }
    Ok(write!(out, "{}", table(&["PLUGIN", "METRIC", "LABELS", "VALUE"], &rows))?)
}

async fn trial(common: &Common, name: String, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut trial, differences) = connect(common).await?.plugin_trial(name).await?;
    if !common.json {
        return Ok(write!(out, "{}", show_trial(&trial, &differences))?);
    }
    if let Some(fields) = trial.as_object_mut() {
        fields.insert("differences".to_owned(), differences.into());
    }
    Ok(writeln!(out, "{trial}")?)
}

/// Begins a recording of so many calls; without a number, ends it.
async fn record(
    common: &Common,
    name: String,
    calls: Option<u32>,
    address: Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = connect(common).await?;
    let recording = match calls {
        None => client.stop_recording(name).await?,
        Some(calls) => client.record(name, calls, address).await?,
    };
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::json!(recording))?);
    }
    let RecordingStatus { path, wanted, recorded, skipped } = &recording;
    let done = format!("{recorded} of {} recorded, {skipped} left out", count((*wanted).into(), "call"));
    Ok(writeln!(out, "{}\n{done}", clean(path))?)
}

/// A row for each series: counters, then histograms by count and mean.
fn counted_rows(plugins: &[Value]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for plugin in plugins {
        let text = |of: &Value, key: &str| of.get(key).map(word).unwrap_or_default();
        let labels = |series: &Value| {
            let labels = series.get("labels").and_then(Value::as_object).into_iter().flatten();
            labels.map(|(key, value)| format!("{key}={}", word(value))).collect::<Vec<_>>().join(" ")
        };
        let of = |kind: &str| plugin.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
        for series in of("counters") {
            rows.push(vec![text(plugin, "plugin"), text(&series, "name"), labels(&series), text(&series, "value")]);
        }
        for series in of("histograms") {
            let number = |key: &str| series.get(key).and_then(Value::as_f64).unwrap_or_default();
            let mean = number("sum") / number("count").max(1.0);
            let value = format!("{} of mean {mean:.3}", text(&series, "count"));
            rows.push(vec![text(plugin, "plugin"), text(&series, "name"), labels(&series), value]);
        }
    }
    rows
}

/// What the relay is asked to change.
fn wanted(command: Plugin) -> Result<(PluginChange, bool), Failure> {
    Ok(match command {
        Plugin::Rollback { generation, weaken } => (PluginChange::Rollback { generation }, weaken.allow_weaken),
        Plugin::Promote { name, weaken } => (PluginChange::Promote { plugin: name }, weaken.allow_weaken),
        Plugin::DropCandidate { name, weaken } => (PluginChange::DropCandidate { plugin: name }, weaken.allow_weaken),
        Plugin::Try { name, file, canary, settings, weaken, .. } => {
            let file = generations::from_the_root(file)?;
            (PluginChange::Try { plugin: name, file, share: canary, config: settings }, weaken.allow_weaken)
        }
        other => return Err(Failure::refused(format!("{other:?} changes nothing"))),
    })
}

fn look_into(file: &Path) -> Result<Value, Failure> {
    let failed = |why: String| Failure::refused(format!("{}: {why}", file.display()));
    let component = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let engine = Engine::new().map_err(|error| failed(error.to_string()))?;
    // A stranger's component may be anything: it is compiled under limits here too.
    let engine = engine.equipped(super::compiler(), None);
    let inspection = inspect(&engine, &component).map_err(|error| failed(error.to_string()))?;
    serde_json::to_value(inspection).map_err(|error| failed(error.to_string()))
}

/// A table of what all of them have, then what there is to say of single ones.
pub(super) fn show(plugins: &[Value]) -> String {
    let columns: Vec<&str> = COLUMNS.into_iter().filter(|key| plugins.iter().any(|p| p.get(key).is_some())).collect();
    let heads: Vec<String> = columns.iter().map(|key| key.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(|head| if *head == "NAME" { "PLUGIN" } else { head }).collect();
    let row = |plugin: &Value| columns.iter().map(|key| plugin.get(key).map(word).unwrap_or_default()).collect();
    let mut text = table(&heads, &plugins.iter().map(row).collect::<Vec<_>>());
    for plugin in plugins {
        let remarks = plugin
            .get("reason")
            .into_iter()
            .chain(plugin.get("warnings").and_then(Value::as_array).into_iter().flatten());
        for remark in remarks.filter_map(Value::as_str) {
            let name = plugin.get("name").map(word).unwrap_or_default();
            text.push_str(&format!("{}: {}\n", clean(&name), clean(remark)));
        }
        let name = plugin.get("name").map(word).unwrap_or_default();
        if let Some(breaker) = plugin.get("breaker").filter(|breaker| is(breaker, "state", &["open", "half-open"])) {
            text.push_str(&format!("{}: {}\n", clean(&name), clean(&left_alone(breaker))));
        }
        if let Some(candidate) = plugin.get("candidate").filter(|candidate| candidate.is_object()) {
            text.push_str(&format!("{}: candidate {}\n", clean(&name), clean(&on_trial(candidate))));
        }
    }
    text
}

/// Every key on a line of its own.
pub(super) fn show_one(value: &Value) -> String {
    let Value::Object(entries) = value else { return format!("{value}\n") };
    let width = entries.keys().map(String::len).max().unwrap_or(0);
    let line = |(key, value): (&String, &Value)| {
        let key = key.replace('_', " ");
        format!("{:width$}  {}\n", clean(&key), clean(&word(value)))
    };
    entries.iter().map(line).collect()
}

/// A value in few words.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) if elements.is_empty() => "-".to_owned(),
        Value::Array(elements) => elements.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
