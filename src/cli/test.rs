//! `waypost plugin test`: scenarios run, and what was other than expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Failure;
use super::args::Common;
use super::render::{clean, count};
use super::workbench::workpiece;
use crate::kit::{Options, Report, Verdict, run};

/// Runs them, and shows what is wrong.
pub(super) async fn test(
    common: &Common,
    plugin: &Path,
    scenarios: Vec<PathBuf>,
    only: Option<String>,
    seed: Option<u64>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let project = workpiece(plugin)?;
    let scenarios = if scenarios.is_empty() { project.scenarios } else { scenarios };
    if scenarios.is_empty() {
        return Err(Failure::Unusable(format!(
            "{}: there are no scenarios: write scenarios/NAME.toml",
            plugin.display()
        )));
    }
    let (name, component) = (project.name.into(), project.component);
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let options = Options { name, component, scenarios, only, seed };
    let mut progress = Progress::new(common.json);
    let report = run(&options, super::compiler(), |verdict| progress.tell(verdict)).await;
    progress.end();
    let report = report.map_err(|why| Failure::Unusable(clean_lines(&why)))?;
    if report.cases == 0 {
        return Err(Failure::Unusable("no case has such a name".to_owned()));
    }
    let text =
        if common.json { format!("{}\n", json!(report)) } else { show(&report, std::io::stdout().is_terminal()) };
    out.write_all(text.as_bytes())?;
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::refused(format!("waypost: {} failed", count(failed as u64, "case")))),
    }
}

/// A line of dots on a terminal: one for each case and pass.
struct Progress {
    on: bool,
    any: bool,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self { on: !json && std::io::stderr().is_terminal(), any: false }
    }

    fn tell(&mut self, verdict: &Verdict) {
        if self.on {
            self.any = true;
            // A terminal that is gone needs none.
            let _ = write!(std::io::stderr(), "{}", if verdict.wrong.is_empty() { "." } else { "F" });
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.any {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// For people.
pub(super) fn show(report: &Report, colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut text = String::new();
    // The same thing wrong in several passes is told once.
    let mut told: BTreeMap<(&Path, &str), (&Verdict, Vec<String>)> = BTreeMap::new();
    for verdict in &report.verdicts {
        let entry = told.entry((&verdict.file, &verdict.case)).or_insert((verdict, Vec::new()));
        entry.1.push(format!("{:?}", verdict.pass).to_lowercase());
    }
    for ((file, case), (verdict, passes)) in told {
        // Infallible for a String, here and below.
        let passes = if passes.len() == 3 { String::new() } else { format!(" ({})", passes.join(", ")) };
        let _ = writeln!(text, "{} {}: {}{passes}", paint("31", "FAILED"), file.display(), clean(case));
        for line in verdict.wrong.iter().flat_map(|wrong| wrong.lines()) {
            let _ = writeln!(text, "  {}", clean(line));
        }
        for line in &verdict.story {
            let _ = writeln!(text, "    {}", clean(&super::render::cut(line, 2000)));
        }
    }
    let cases = count(report.cases as u64, "case");
    let _ = match report.failed {
        0 => writeln!(text, "{}: {cases}, each fresh, warm and shuffled (seed {})", paint("32", "passed"), report.seed),
        failed => writeln!(text, "{}: {failed} of {cases} (seed {})", paint("31", "failed"), report.seed),
    };
    text
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
