//! `log`: lines of a plugin in the relay's log, bounded in length and rate, with nothing in them that a terminal obeys.

use std::fmt::Write;

use wasmtime::Result;

use super::super::Line;
use super::super::calls::Shared;
use super::super::state::State;
use super::wit::log::Host;
use crate::time::Timestamp;

pub(crate) use super::wit::log::Level;

/// Octets of one line.
const LINE_MAX: usize = 1024;

/// Lines at once, and lines given back per second: enough for one per hook of a busy session, not for a flood.
const BURST: u32 = 200;
const PER_SECOND: u32 = 50;

/// The lines a plugin may still write.
#[derive(Debug)]
pub(crate) struct Budget {
    lines: u32,
    /// When lines were last given back.
    at: Timestamp,
    dropped: u64,
}

impl Budget {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { lines: BURST, at: now, dropped: 0 }
    }

    /// Takes a line: how many were dropped since the last one that was written, or none if this one must be.
    fn take(&mut self, now: Timestamp) -> Option<u64> {
        let back = now.since(self.at).as_millis().saturating_mul(u128::from(PER_SECOND)) / 1000;
        if back > 0 {
            self.lines = self.lines.saturating_add(u32::try_from(back).unwrap_or(BURST)).min(BURST);
            self.at = now;
        }
        match self.lines.checked_sub(1) {
            Some(left) => {
                self.lines = left;
                Some(std::mem::take(&mut self.dropped))
            }
            None => {
                self.dropped = self.dropped.saturating_add(1);
                None
            }
        }
    }
}

/// As it may stand in a log or a recording.
fn clean_line(shared: &Shared, message: &str, fields: &[(String, String)]) -> String {
    let secrets = &shared.secrets;
    if secrets.is_empty() {
        return line_of(message, fields);
    }
    // Before the line is cut: half a secret would pass.
    let clean = |(key, value): &(String, String)| (secrets.redact(key).into(), secrets.redact(value).into());
    line_of(&secrets.redact(message), &fields.iter().map(clean).collect::<Vec<_>>())
}

impl Host for State {
    fn enabled(&mut self, level: Level) -> Result<bool> {
        if let Some(tape) = &self.tape {
            return Ok(tape.setting.levels.get(level as usize).copied().unwrap_or(false));
        }
        Ok(enabled(level) || self.shared.services.lines.is_some())
    }

    fn write(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        if self.tape.is_some() && !Host::enabled(self, level)? {
            return Ok(());
        }
        if let Some(tape) = &self.tape {
            tape.line(clean_line(&self.shared, &message, &fields));
            if tape.is_replaying() {
                return Ok(());
            }
        }
        let hook = self.hook.map_or("load", crate::hooks::Hook::interface);
        let session = self.subject.session.as_ref().map_or("-", |s| &*s.id);
        write_line(&self.shared, hook, session, level, &message, &fields);
        Ok(())
    }
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

/// A line of a plugin, if its budget has one left.
pub(crate) fn write_line(
    shared: &Shared,
    hook: &str,
    session: &str,
    level: Level,
    message: &str,
    fields: &[(String, String)],
) {
    if let Some(lines) = &shared.services.lines {
        lines(Line { level: word(level), hook: hook.to_owned(), text: clean_line(shared, message, fields) });
    }
    if !enabled(level) {
        return;
    }
    let now = shared.services.clock.now();
    let Some(dropped) = shared.log.lock().take(now) else { return };
    let line = clean_line(shared, message, fields);
    let plugin = &*shared.name;
    // Told apart from the version that serves, which has the same name.
    let candidate = shared.place.candidate.then_some(true);
    if dropped > 0 {
        tracing::warn!(target: "plugin", plugin, candidate, dropped, "the plugin logs too much");
    }
    match level {
        Level::Trace => tracing::trace!(target: "plugin", plugin, candidate, hook, session, "{line}"),
        Level::Debug => tracing::debug!(target: "plugin", plugin, candidate, hook, session, "{line}"),
        Level::Info => tracing::info!(target: "plugin", plugin, candidate, hook, session, "{line}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, candidate, hook, session, "{line}"),
        Level::Error => tracing::error!(target: "plugin", plugin, candidate, hook, session, "{line}"),
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// Which levels are written, the most verbose first.
pub(crate) fn levels() -> [bool; 5] {
    [
        tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        tracing::enabled!(target: "plugin", tracing::Level::INFO),
        tracing::enabled!(target: "plugin", tracing::Level::WARN),
        tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    ]
}

/// `message key="value" …`, control characters escaped, cut at [`LINE_MAX`].
fn line_of(message: &str, fields: &[(String, String)]) -> String {
    let mut line = String::with_capacity(message.len().min(LINE_MAX));
    push(&mut line, message);
    for (key, value) in fields {
        if line.len() >= LINE_MAX {
            break;
        }
        line.push(' ');
        push(&mut line, key);
        line.push('=');
        push(&mut line, value);
    }
    line
}

fn push(line: &mut String, text: &str) {
    for c in text.chars() {
        if line.len() >= LINE_MAX {
            return;
        }
        match c {
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') => {
                // Writing to a String can't fail.
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_in_a_line_reaches_the_terminal() {
        let fields = [("k\n".to_owned(), "\u{1b}[31m\u{202e}v".to_owned())];
        assert_eq!(line_of("a\r\nb", &fields), r"a\r\nb k\n=\u{1b}[31m\u{202e}v");
        assert!(line_of(&"é".repeat(4000), &fields).len() <= LINE_MAX + 1);
    }

    #[test]
    fn a_flood_is_counted_and_passes() {
        let now = Timestamp::from_secs(1000);
        let mut budget = Budget::new(now);
        assert_eq!((0..1000).filter(|_| budget.take(now).is_some()).count(), BURST as usize);
        let later = now.plus(Duration::from_secs(1));
        assert_eq!(budget.take(later), Some(800));
        assert_eq!((0..1000).filter(|_| budget.take(later).is_some()).count(), PER_SECOND as usize - 1);
    }
}
