//! `waypost plugin bench`: what a plugin's calls take, and whether that became more.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Failure;
use super::args::Common;
use super::render::{clean, count, table};
use super::workbench::workpiece;
use crate::kit::{Bench, BenchOptions, Options, bench as measure};

/// Measures, and compares with a baseline: its file, and how much more may be.
pub(super) async fn bench(
    common: &Common,
    plugin: &Path,
    scenarios: Vec<PathBuf>,
    only: Option<String>,
    rounds: u32,
    baseline: Option<(PathBuf, u64)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let before = baseline.map(|(path, percent)| read(&path).map(|bench| (bench, percent))).transpose()?;
    let project = workpiece(plugin)?;
    let scenarios = if scenarios.is_empty() { project.scenarios } else { scenarios };
    if scenarios.is_empty() {
        let why = format!("{}: nothing says what is to be measured: write scenarios/NAME.toml", plugin.display());
        return Err(Failure::Unusable(why));
    }
    let options = Options { name: project.name.into(), component: project.component, scenarios, only, seed: 0 };
    let measured = measure(&BenchOptions { options, rounds }, super::compiler()).await;
    let measured = measured.map_err(|why| Failure::Unusable(clean(&why)))?;
    let text = if common.json { format!("{}\n", json!(measured)) } else { show(&measured) };
    out.write_all(text.as_bytes())?;
    match before.map(|(before, percent)| measured.dearer_than(&before, percent)) {
        Some(dearer) if !dearer.is_empty() => Err(Failure::Refused(
            dearer.into_iter().map(|line| format!("waypost: dearer than the baseline: {line}")).collect(),
        )),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Bench, Failure> {
    let said = |error: &dyn std::fmt::Display| Failure::Unusable(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| said(&error))?;
    serde_json::from_str(&text).map_err(|error| said(&error))
}

/// For people.
pub(super) fn show(measured: &Bench) -> String {
    let heads = ["HOOK", "CALLS", "WARM p50", "p99", "FRESH p50", "p99", "INSTANCE", "FUEL", "HOST CALLS", "MEMORY"];
    let time = |us: f64| if us < 1000.0 { format!("{us:.1} us") } else { format!("{:.2} ms", us / 1000.0) };
    let rows: Vec<Vec<String>> = measured
        .hooks
        .iter()
        .map(|hook| {
            vec![
                hook.hook.clone(),
                hook.calls.to_string(),
                time(hook.warm_p50_us),
                time(hook.warm_p99_us),
                time(hook.fresh_p50_us),
                time(hook.fresh_p99_us),
                time(hook.instance_us),
                hook.fuel.to_string(),
                hook.host_calls.to_string(),
                format!("{} KiB", hook.memory / 1024),
            ]
        })
        .collect();
    let size = count(measured.size, "octet");
    format!("{}: {size}, loaded in {:.0} ms\n{}", clean(&measured.plugin), measured.load_ms, table(&heads, &rows))
}
