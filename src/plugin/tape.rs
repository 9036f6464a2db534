//! The tape of one call: what the plugin asked of the relay and what it was answered, written down; or read back, so
//! that a replayed call is answered what the recorded one was and the relay's services are never touched.
//!
//! Only what may be different next time is on it. The facts of the call are not: they are recorded as they were.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::State;

/// Octets of all questions and answers of a call, as JSON: more is no call that anybody would look at.
const OCTETS_MAX: usize = 8 << 20;

/// Lines of log of a call.
const LINES_MAX: usize = 1000;

/// What stands for a secret on a tape: the plugin that replays it is given this.
pub(crate) const SECRET: &str = "<secret>";

/// One question to the relay, and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// `kv.get` and so on, as in the contract.
    pub call: String,
    pub args: Value,
    pub answer: Value,
}

/// What is the same for all of a call, whatever the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Levels of log, the most verbose first, that are written.
    pub levels: [bool; 5],
    /// What pseudo-random numbers start from, where a plugin has them from WASI.
    pub seed: u64,
    /// When the call began, in microseconds: the time of WASI's clocks.
    pub at: i64,
}

#[derive(Debug)]
enum Side {
    Recording { notes: Vec<Note>, octets: usize },
    Replaying { notes: VecDeque<Note>, strayed: Option<String> },
}

#[derive(Debug)]
struct Reel {
    side: Side,
    lines: Vec<String>,
}

/// Shared by the store, which may be dropped at any moment, and whoever wants the tape after that.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    pub setting: Setting,
    reel: Arc<Mutex<Reel>>,
}

/// What a recorded call left.
pub(crate) struct Recorded {
    pub notes: Vec<Note>,
    pub lines: Vec<String>,
}

/// What a replayed call left.
pub(crate) struct Replayed {
    /// The first thing it did otherwise than the recording.
    pub strayed: Option<String>,
    pub lines: Vec<String>,
}

impl Tape {
    /// An empty one, to write on.
    pub(crate) fn recording(setting: Setting) -> Self {
        Self::of(setting, Side::Recording { notes: Vec::new(), octets: 0 })
    }

    /// One to read from.
    pub(crate) fn replaying(setting: Setting, notes: Vec<Note>) -> Self {
        Self::of(setting, Side::Replaying { notes: notes.into(), strayed: None })
    }

    fn of(setting: Setting, side: Side) -> Self {
        Self { setting, reel: Arc::new(Mutex::new(Reel { side, lines: Vec::new() })) }
    }

    /// True if the relay is not to be touched.
    pub(crate) fn is_replaying(&self) -> bool {
        matches!(self.reel.lock().side, Side::Replaying { .. })
    }

    /// A line of log: shown beside a difference, never one itself.
    pub(crate) fn line(&self, line: String) {
        let mut reel = self.reel.lock();
        if reel.lines.len() < LINES_MAX {
            reel.lines.push(line);
        }
    }

    /// The recording; none if more was asked than is worth keeping.
    pub(crate) fn recorded(self) -> Option<Recorded> {
        let mut reel = self.reel.lock();
        let lines = std::mem::take(&mut reel.lines);
        match &mut reel.side {
            Side::Recording { octets, .. } if *octets > OCTETS_MAX => None,
            Side::Recording { notes, .. } => Some(Recorded { notes: std::mem::take(notes), lines }),
            Side::Replaying { .. } => None,
        }
    }

    /// How the replay went; `ended` if the call came to its end and should have asked everything.
    pub(crate) fn replayed(self, ended: bool) -> Replayed {
        let mut reel = self.reel.lock();
        let lines = std::mem::take(&mut reel.lines);
        let Side::Replaying { notes, strayed } = &mut reel.side else { return Replayed { strayed: None, lines } };
        let missing = notes.front().filter(|_| ended).map(|next| {
            format!("the recording goes on with {} {}, which the plugin did not ask", next.call, short(&next.args))
        });
        Replayed { strayed: strayed.take().or(missing), lines }
    }

    fn note(&self, call: &str, args: Value, answer: Value) {
        let mut reel = self.reel.lock();
        if let Side::Recording { notes, octets } = &mut reel.side {
            *octets += call.len() + size(&args) + size(&answer);
            if *octets > OCTETS_MAX {
                notes.clear();
            } else {
                notes.push(Note { call: call.to_owned(), args, answer });
            }
        }
    }

    /// The next answer of the recording.
    fn next(&self, call: &str, args: &Value) -> Result<Value, String> {
        let mut reel = self.reel.lock();
        let Side::Replaying { notes, strayed } = &mut reel.side else { return Err("not replaying".to_owned()) };
        let asked = || format!("the plugin asked {call} {}", short(args));
        let wrong = match notes.pop_front() {
            Some(note) if note.call == call && note.args == *args => return Ok(note.answer),
            Some(note) => format!("{} where the recording has {} {}", asked(), note.call, short(&note.args)),
            None => format!("{} where the recording has nothing more", asked()),
        };
        // What is asked after the first stray question proves nothing.
        notes.clear();
        Err(strayed.get_or_insert(wrong).clone())
    }
}

impl State {
    /// Lets `ask` ask the relay, unless the call is replayed: then the recording answers. A call that is neither pays
    /// one look.
    pub(crate) fn taped<A, T>(
        &mut self,
        call: &'static str,
        args: &A,
        ask: impl FnOnce(&mut Self) -> T,
    ) -> wasmtime::Result<T>
    where
        A: Serialize + ?Sized,
        T: Serialize + DeserializeOwned,
    {
        if self.tape.is_none() {
            return Ok(ask(self));
        }
        if let Some(answer) = self.played(call, args)? {
            return Ok(answer);
        }
        let answer = ask(self);
        self.note(call, args, &answer);
        Ok(answer)
    }

    /// What the recording answers, if the call is replayed. With [`Self::note`] for what has to be awaited.
    pub(crate) fn played<A, T>(&self, call: &'static str, args: &A) -> wasmtime::Result<Option<T>>
    where
        A: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let Some(tape) = self.tape.as_ref().filter(|tape| tape.is_replaying()) else { return Ok(None) };
        let answer = tape.next(call, &serde_json::to_value(args)?).map_err(wasmtime::Error::msg)?;
        let answer = serde_json::from_value(answer);
        answer.map(Some).map_err(|e| wasmtime::Error::msg(format!("the recorded answer to {call} does not fit: {e}")))
    }

    /// Writes an answer down, if the call is recorded.
    pub(crate) fn note<A, T>(&self, call: &'static str, args: &A, answer: &T)
    where
        A: Serialize + ?Sized,
        T: Serialize,
    {
        if let Some(tape) = &self.tape {
            // Texts, numbers and lists of them: JSON has room for all.
            let value = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
            tape.note(call, value(serde_json::to_value(args)), value(serde_json::to_value(answer)));
        }
    }
}

/// About as many octets as it has in memory.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 8,
        Value::Array(elements) => elements.iter().map(size).sum::<usize>() + 8,
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() + 8,
        _ => 8,
    }
}

/// For a sentence.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let cut = text.floor_char_boundary(200);
    if cut < text.len() { format!("{}…", text.get(..cut).unwrap_or_default()) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn setting() -> Setting {
        Setting { levels: [false, false, true, true, true], seed: 1, at: 2 }
    }

    fn note(call: &str, args: Value) -> Note {
        Note { call: call.to_owned(), args, answer: json!(1) }
    }

    #[test]
    fn answers_come_in_order_and_only_for_the_same_question() {
        let tape = Tape::replaying(setting(), vec![note("a.b", json!(["x"])), note("a.c", json!([]))]);
        assert_eq!(tape.next("a.b", &json!(["x"])), Ok(json!(1)));
        assert_eq!(tape.next("a.c", &json!([])), Ok(json!(1)));
        let over = "the plugin asked a.d [] where the recording has nothing more";
        assert_eq!(tape.next("a.d", &json!([])), Err(over.to_owned()));
        assert_eq!(tape.replayed(true).strayed.as_deref(), Some(over));
    }

    #[test]
    fn the_first_stray_question_is_the_difference() {
        for (call, args, expected) in [
            ("a.c", json!(["x"]), "the plugin asked a.c [\"x\"] where the recording has a.b [\"x\"]"),
            ("a.b", json!(["y"]), "the plugin asked a.b [\"y\"] where the recording has a.b [\"x\"]"),
        ] {
            let tape = Tape::replaying(setting(), vec![note("a.b", json!(["x"])), note("a.c", json!([]))]);
            assert_eq!(tape.next(call, &args), Err(expected.to_owned()));
            assert_eq!(tape.next("a.c", &json!([])), Err(expected.to_owned()), "nothing is answered after it");
            assert_eq!(tape.replayed(false).strayed.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_was_not_asked_shows_only_at_the_end() {
        let tape = || Tape::replaying(setting(), vec![note("a.b", json!(["x"]))]);
        assert_eq!(tape().replayed(false).strayed, None);
        let missing = tape().replayed(true).strayed.unwrap();
        assert_eq!(missing, "the recording goes on with a.b [\"x\"], which the plugin did not ask");
    }

    #[test]
    fn what_is_written_down_is_what_is_read_back() {
        let tape = Tape::recording(setting());
        tape.note("a.b", json!(["x"]), json!({"Ok": 5}));
        tape.line("said".to_owned());
        let Recorded { notes, lines } = tape.recorded().unwrap();
        assert_eq!((notes.len(), lines), (1, vec!["said".to_owned()]));
        assert_eq!(Tape::replaying(setting(), notes).next("a.b", &json!(["x"])), Ok(json!({"Ok": 5})));
    }

    #[test]
    fn a_call_that_asks_without_end_is_not_kept() {
        let tape = Tape::recording(setting());
        (0..3000).for_each(|_| tape.note("a.b", json!("x".repeat(4096)), Value::Null));
        assert!(tape.recorded().is_none());
    }
}
