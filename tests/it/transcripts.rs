//! The transcripts below `tests/dialogues`, played to the real program over its sockets, and what its next hop gets of it.

mod grounds;
mod hooks;
mod play;
mod script;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use grounds::{Ground, World};
use play::Kept;
use script::Script;

use crate::harness::Taken;

/// Of the transcripts: those that only the pure session can be played to, because they need a fault from within.
const PURE_MAX_PERCENT: usize = 15;

#[test]
fn transcripts_hold_on_the_wire() {
    let all = Script::all();
    let (pure, scripts): (Vec<_>, Vec<_>) = all.into_iter().partition(|script| script.is_set("pure"));
    assert!(pure.len() * 100 <= scripts.len() * PURE_MAX_PERCENT, "{} of {} are pure", pure.len(), scripts.len());
    let world = World::new();
    let grounds = grounds::all(&world, &scripts);
    let (kept, wrong) = play_all(&world, &grounds, &scripts);
    assert!(wrong.is_empty(), "{} of {} transcripts:\n{}", wrong.len(), scripts.len(), wrong.join("\n"));
    // What was taken and is to arrive was looked at; what is left at the sink is what nobody sent.
    let may_come = |taken: &Taken| kept.iter().any(|kept| kept.later && play::of(taken, &kept.id));
    // Nor is it a report to somebody who asked for speed of a next hop that knows no speed (RFC 2852 section 4.1.4).
    let is_report =
        |taken: &Taken| taken.sender.is_empty() && taken.content.contains("Subject: Your message was passed on");
    let unexpected = world.sink.find_now(|taken| !may_come(taken) && !is_report(taken));
    assert!(unexpected.is_none(), "sent on, and nobody sent it or it was discarded: {unexpected:?}");
}

/// Several at a time: most of what they do is waiting.
fn play_all(world: &World, grounds: &BTreeMap<Vec<String>, Ground>, scripts: &[Script]) -> (Vec<Kept>, Vec<String>) {
    let plays = scripts.iter().flat_map(|script| pieces(script).iter().map(move |piece| (script, *piece)));
    let plays = Mutex::new(plays);
    let done = Mutex::new((Vec::new(), Vec::new()));
    let next = || plays.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some((script, piece)) = next() {
                    let played = play::play(world, &grounds[&grounds::key(script)], script, piece);
                    let mut done = done.lock().unwrap();
                    match played {
                        Ok(kept) => done.0.extend(kept),
                        Err(error) => done.1.push(format!("{}.smtp in pieces of {piece}: {error}", script.name)),
                    }
                }
            });
        }
    });
    let (kept, mut wrong) = done.into_inner().unwrap();
    wrong.sort();
    (kept, wrong)
}

/// A relay ends once.
fn pieces(script: &Script) -> &'static [usize] {
    let ends = script.steps.iter().any(|step| step.word == "in" && step.rest == "draining");
    if ends { &[usize::MAX] } else { script.pieces() }
}

#[test]
fn each_transcript_stands_in_the_table_and_each_row_has_one() {
    let page = std::fs::read_to_string(format!("{}/docs/smtp.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let named = |line: &str| -> Vec<String> {
        let links = line.split("](../tests/dialogues/").skip(1);
        links.filter_map(|link| Some(link.split_once(".smtp)")?.0.to_owned())).collect()
    };
    let in_table: BTreeSet<String> = page.lines().flat_map(named).collect();
    let there: BTreeSet<String> = Script::all().into_iter().map(|script| script.name).collect();
    let unnamed: Vec<_> = there.difference(&in_table).collect();
    let missing: Vec<_> = in_table.difference(&there).collect();
    assert!(unnamed.is_empty() && missing.is_empty(), "docs/smtp.md lacks {unnamed:?}, and names {missing:?}");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
    let bare: Vec<&str> = rows.filter(|row| named(row).is_empty()).collect();
    assert!(bare.is_empty(), "rows without a transcript: {bare:?}");
}
