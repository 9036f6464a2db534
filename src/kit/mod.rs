//! The test kit: scenarios run against a plugin in the relay's own code, without a mail server or a network.
//!
//! A scenario file says how the plugin is bound, what stands for the world, what happens and what is expected
//! (`scenario`). A relay is set up around the plugin (`world`): its real session, hooks, queue and host, with a clock that
//! stands still, a DNS from a table (`names`) and servers that are made up (`web`). Then each step is a dialogue
//! (`dialogue`) or a hook asked directly (`event`), and what came of it is held against what was expected (`expect`).
//! Must never deliver, listen to others than itself, or read the machine's own resolver.

mod bench;
mod dialogue;
mod diff;
mod event;
mod expect;
mod names;
mod run;
mod said;
mod scenario;
mod taken;
mod terminal;
mod web;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use bench::{Bench, BenchOptions, HookCost, bench};
pub use diff::{Change, Decision, Diff, DiffOptions, diff};
pub use run::{Pass, Report, Verdict, run};
pub use terminal::{Shown, Talk, talk};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the plugin is called, as in `[plugins.NAME]`.
    pub name: Arc<str>,
    /// Its component.
    pub component: PathBuf,
    /// Scenario files.
    pub scenarios: Vec<PathBuf>,
    /// Only cases whose name contains this.
    pub only: Option<String>,
    /// Decides the order of the shuffled pass.
    pub seed: u64,
}

/// Octets of a scenario file.
const FILE_MAX: u64 = 4 << 20;

/// Reads a scenario file.
fn read(path: &Path) -> Result<scenario::File, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(said)?.len() > FILE_MAX {
        return Err(format!("{}: is larger than 4 MiB", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(said)?;
    scenario::read(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Compiled components kept: of the last few builds.
const KEPT: usize = 8;

/// Where code compiled from a project's component is kept: compiling one with an interpreter in it takes seconds. With the
/// user, never with the project: whoever can write there decides what is run, and a project may be a stranger's.
pub fn kept(component: &Path) -> Option<PathBuf> {
    let of_project = component.parent().and_then(Path::file_name).is_some_and(|folder| folder == "dist");
    of_project.then(std::env::home_dir)?.map(|home| home.join(".cache/waypost"))
}

/// Removes what was kept of older builds. Blocking; what can't be removed is in nobody's way.
pub(crate) fn tidy(kept: &Path) {
    let entries = std::fs::read_dir(kept.join("cache")).into_iter().flatten().flatten();
    let dated = |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut files: Vec<_> = entries.filter_map(dated).collect();
    files.sort();
    let older = files.len().saturating_sub(KEPT);
    files.into_iter().take(older).for_each(|(_, path)| drop(std::fs::remove_file(path)));
}

fn lines<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A folder of this user's own that vanishes with its value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Made anew: what lies there under that name already was put there by somebody else.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("waypost-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in a folder for temporary things is somebody else's to sweep.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
