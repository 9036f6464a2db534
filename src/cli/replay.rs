//! `waypost plugin replay`: what a component does otherwise than the recording.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::Failure;
use super::args::Common;
use super::render::{clean, count};
use crate::app;
use crate::plugin::{Difference, Part, Replay};

/// Characters of a value that are shown.
const SHOWN: usize = 2000;

/// Replays, and shows what is different.
pub(super) async fn replay(
    common: &Common,
    recording: &Path,
    component: &Path,
    settings: Option<Value>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let replay = app::replay(recording, component, settings).await;
    let replay = replay.map_err(|error| Failure::Unusable(clean(&format!("{error:#}"))))?;
    let text = if common.json { format!("{}\n", json!(replay)) } else { show(&replay) };
    out.write_all(text.as_bytes())?;
    if replay.differences.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("waypost: {}", count(replay.differences.len() as u64, "difference"))))
}

/// For people.
pub(super) fn show(replay: &Replay) -> String {
    let mut text = String::new();
    for Difference { call, hook, parts, log } in &replay.differences {
        for Part { what, expected, got } in parts.iter().chain(log) {
            // Infallible for a String, here and below.
            let _ = writeln!(text, "call {call}, {hook}: other {what}");
            let _ = writeln!(text, "  expected  {}\n  got       {}", value(expected), value(got));
        }
    }
    let different = replay.differences.len();
    let same = replay.calls.saturating_sub(different);
    let _ = writeln!(text, "{}: {same} as recorded, {different} different", count(replay.calls as u64, "call"));
    text
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    clean(&super::render::cut(&text, SHOWN))
}
