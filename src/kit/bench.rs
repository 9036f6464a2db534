//! Measurements: the scenarios' calls made many times, warm and fresh, their times by hook; once more in an engine that
//! counts instructions, whose number is the same on every machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::run::{Play, Stages, files};
use super::scenario::{Case, File};
use super::world::World;
use super::{Options, Scratch};
use crate::hooks::Hook;
use crate::plugin::{Compiler, Engine, Instances};

/// Cases are repeated for this long at most, whatever was asked for.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// As for a test.
    pub options: Options,
    /// How often each case is repeated.
    pub rounds: u32,
}

/// What one hook takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookCost {
    /// `on-rcpt` and so on.
    pub hook: String,
    /// Calls that were measured warm.
    pub calls: usize,
    /// Median of a call of an instance that is used again, in microseconds.
    pub warm_p50_us: f64,
    /// What one call of a hundred takes longer than.
    pub warm_p99_us: f64,
    /// Median of a call with an instance made for it.
    pub fresh_p50_us: f64,
    /// What one call of a hundred takes longer than.
    pub fresh_p99_us: f64,
    /// Median of the difference: making an instance.
    pub instance_us: f64,
    /// Instructions of an average call in WebAssembly's own count.
    pub fuel: u64,
    /// Services of the relay called, at most.
    pub host_calls: u32,
    /// Octets of linear memory of the instance, at most.
    pub memory: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bench {
    /// As in `[plugins.NAME]`.
    pub plugin: String,
    /// Octets of the component.
    pub size: u64,
    /// Milliseconds to load it: compiling included.
    pub load_ms: f64,
    /// By hook, in the order mail passes them.
    pub hooks: Vec<HookCost>,
}

#[derive(Default)]
struct Samples {
    wall: Vec<f64>,
    fuel: u64,
    host_calls: u32,
    memory: u64,
}

type ByHook = BTreeMap<Hook, Samples>;

/// Measures.
///
/// # Errors
/// As for a test; a case that does not pass is not measured but named.
pub async fn bench(of: &BenchOptions, compiler: Option<Compiler>) -> Result<Bench, String> {
    let BenchOptions { options, rounds } = of;
    let files = files(options)?;
    let size = std::fs::metadata(&options.component).map_err(|e| format!("{}: {e}", options.component.display()))?;
    let plain = || Engine::new().map_err(|error| error.to_string());
    // The first one compiles, and is timed at it; the second has its code.
    let engine = plain()?.equipped(compiler, None);
    let (warm, loaded) = measure(&files, options, *rounds, Instances::Warm, engine.clone()).await?;
    let load_ms = (loaded.as_secs_f64() * 1e4).round() / 10.0;
    let (fresh, _) = measure(&files, options, rounds.div_ceil(10), Instances::Fresh, engine).await?;
    let counting = Engine::counting().map_err(|error| error.to_string())?;
    // The first call of an instance also sets itself up: the second is the one that counts.
    let (counted, _) = measure(&files, options, 2, Instances::Warm, counting).await?;
    let hooks = warm.iter().map(|(hook, warm)| cost(*hook, warm, fresh.get(hook), counted.get(hook))).collect();
    Ok(Bench { plugin: options.name.to_string(), size: size.len(), load_ms, hooks })
}

/// Samples by hook, and how long it took to load the first set.
async fn measure(
    files: &[(std::path::PathBuf, File)],
    options: &Options,
    rounds: u32,
    instances: Instances,
    engine: Engine,
) -> Result<(ByHook, Duration), String> {
    let folder = Scratch::new().map_err(|error| format!("no folder for the measurement: {error}"))?;
    let world = World::open_with(folder.path(), engine).await.map_err(|error| format!("{error:#}"))?;
    let mut stages = Stages { world: &world, options, made: Vec::new() };
    let (mut samples, mut loaded) = (ByHook::new(), None);
    let began = Instant::now();
    for (path, file) in files {
        let wanted = |case: &&Case| options.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
        for case in file.cases.iter().filter(wanted) {
            let here = |why: String| format!("{}: case {:?}: {why}", path.display(), case.name);
            let stage = stages.of(file, case, instances).await.map_err(here)?;
            loaded.get_or_insert_with(|| began.elapsed());
            let steps = case.steps().map_err(here)?;
            for _ in 0..rounds {
                let mut play = Play::begin(&world, &stage, file, case).map_err(here)?;
                for step in &steps {
                    let (wrong, _, decisions) = play.step(step).await;
                    if let Some(wrong) = wrong.first() {
                        return Err(here(format!("it does not pass, so it is not measured: {wrong}")));
                    }
                    decisions.iter().for_each(|decided| add(&mut samples, decided));
                }
                if began.elapsed() > LONGEST {
                    break;
                }
            }
        }
    }
    Ok((samples, loaded.unwrap_or_default()))
}

fn add(samples: &mut ByHook, decided: &super::said::Decided) {
    let of = samples.entry(decided.hook).or_default();
    of.wall.push(decided.cost.wall.as_secs_f64() * 1e6);
    of.fuel = of.fuel.saturating_add(decided.cost.fuel);
    of.host_calls = of.host_calls.max(decided.cost.host_calls);
    of.memory = of.memory.max(decided.cost.memory);
}

fn cost(hook: Hook, warm: &Samples, fresh: Option<&Samples>, counted: Option<&Samples>) -> HookCost {
    let fresh_wall = fresh.map(|fresh| &*fresh.wall).unwrap_or_default();
    let (warm_p50, fresh_p50) = (percentile(&warm.wall, 50), percentile(fresh_wall, 50));
    let fuel = counted.map_or(0, |counted| counted.fuel / (counted.wall.len() as u64).max(1));
    HookCost {
        hook: hook.interface().to_owned(),
        calls: warm.wall.len(),
        warm_p50_us: warm_p50,
        warm_p99_us: percentile(&warm.wall, 99),
        fresh_p50_us: fresh_p50,
        fresh_p99_us: percentile(fresh_wall, 99),
        instance_us: (fresh_p50 - warm_p50).max(0.0),
        fuel,
        host_calls: warm.host_calls,
        memory: warm.memory,
    }
}

/// The sample that so many of a hundred do not pass; zero without samples.
fn percentile(samples: &[f64], of_hundred: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1)) * of_hundred / 100;
    sorted.get(at).map_or(0.0, |sample| (sample * 100.0).round() / 100.0)
}

impl Bench {
    /// What has become dearer than in an earlier measurement by more than so many of a hundred: instructions, which do not
    /// depend on the machine, and memory.
    pub fn dearer_than(&self, before: &Self, percent: u64) -> Vec<String> {
        let mut dearer = Vec::new();
        for now in &self.hooks {
            let Some(then) = before.hooks.iter().find(|then| then.hook == now.hook) else { continue };
            for (what, now_is, then_was) in [("fuel", now.fuel, then.fuel), ("memory", now.memory, then.memory)] {
                if then_was > 0 && now_is > then_was.saturating_add(then_was.saturating_mul(percent) / 100) {
                    dearer.push(format!("{}: {what} {now_is}, was {then_was}", now.hook));
                }
            }
        }
        dearer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((percentile(&samples, 50), percentile(&samples, 99), percentile(&[], 50)), (50.0, 99.0, 0.0));
    }

    #[test]
    fn what_became_dearer_is_named() {
        let of = |fuel| Bench {
            hooks: vec![HookCost { hook: "on-rcpt".into(), fuel, ..HookCost::default() }],
            ..Bench::default()
        };
        assert_eq!(of(109).dearer_than(&of(100), 10), Vec::<String>::new());
        assert_eq!(of(111).dearer_than(&of(100), 10), ["on-rcpt: fuel 111, was 100"]);
        assert!(of(111).dearer_than(&of(0), 10).is_empty());
    }
}
