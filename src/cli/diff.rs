//! `waypost plugin diff`: what a newer version asks for, and what it decides otherwise.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Failure;
use super::args::Common;
use super::render::{clean, count};
use super::workbench::workpiece;
use crate::kit::{Diff, DiffOptions, diff as compare};

/// Compares, and shows what is different.
pub(super) async fn diff(
    common: &Common,
    old: &Path,
    new: &Path,
    scenarios: Vec<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (old, new) = (workpiece(old)?, workpiece(new)?);
    let scenarios = match (scenarios.is_empty(), new.scenarios.is_empty()) {
        (false, _) => scenarios,
        (true, false) => new.scenarios,
        (true, true) => old.scenarios,
    };
    if scenarios.is_empty() {
        let why = "no scenarios lie beside either of them: name a file with --scenario";
        return Err(Failure::Unusable(why.to_owned()));
    }
    let options = DiffOptions { name: new.name.into(), old: old.component, new: new.component, scenarios };
    let found = compare(&options, super::compiler()).await.map_err(|why| Failure::Unusable(clean(&why)))?;
    let text = if common.json { format!("{}\n", json!(found)) } else { show(&found) };
    out.write_all(text.as_bytes())?;
    match found.component.len() + found.decisions.len() {
        0 => Ok(()),
        differences => Err(Failure::refused(format!("waypost: {}", count(differences as u64, "difference")))),
    }
}

/// For people.
pub(super) fn show(found: &Diff) -> String {
    let mut text = String::new();
    for change in &found.component {
        let signed =
            |sign: &str, words: &[String]| words.iter().map(|word| format!("{sign}{word}")).collect::<Vec<_>>();
        let all = [signed("-", &change.without), signed("+", &change.with)].concat().join("  ");
        // Infallible for a String, here and below.
        let _ = writeln!(text, "{}: {}", clean(&change.what.replace('_', " ")), clean(&all));
    }
    for decision in &found.decisions {
        let _ = writeln!(text, "{}: {}, step {}", decision.file.display(), clean(&decision.case), decision.step);
        for (sign, lines) in [("-", &decision.old), ("+", &decision.new)] {
            let other = if sign == "-" { &decision.new } else { &decision.old };
            for line in lines.iter().filter(|line| !other.contains(line)) {
                let _ = writeln!(text, "  {sign} {}", clean(line));
            }
        }
    }
    let (cases, other) = (count(found.cases as u64, "case"), found.decisions.len());
    let _ = writeln!(text, "{cases}: {} decided the same, {other} otherwise", found.cases.saturating_sub(other));
    text
}
