//! How a line of text looks, without colours: time, level, spans, target, message and fields, as tracing's own layer writes it.
//!
//! Done here since a relay logs a line for each recipient: a field is put into the line as it is, without the styles that
//! a terminal would get. What others wrote - a next hop's reply, a plugin's text - can't end the line nor command a terminal:
//! control characters are escaped. Pure, but for the time.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::time::{Clock as _, System, Timestamp};

/// Octets of most lines: one allocation is enough for them.
const USUAL: usize = 512;

/// A line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plain;

/// `name=value`, with a space in between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields;

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, Fields> for Plain {
    fn format_event(&self, ctx: &FmtContext<'_, S, Fields>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let of_log = event.normalized_metadata();
        let meta = of_log.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = String::with_capacity(USUAL);
        put_time(&mut line);
        line.push_str(level(*meta.level()));
        let mut spans = "";
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            line.push_str(span.name());
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<Fields>>().filter(|fields| !fields.is_empty()) {
                line.extend(["{", &fields.fields, "}"]);
            }
            line.push(':');
            spans = " ";
        }
        line.extend([spans, meta.target(), ": "]);
        event.record(&mut Put { line: &mut line, first: true });
        line.push('\n');
        to.write_str(&line)
    }
}

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = String::new();
        fields.record(&mut Put { line: &mut line, first: true });
        to.write_str(&line)
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR ",
        Level::WARN => " WARN ",
        Level::INFO => " INFO ",
        Level::DEBUG => "DEBUG ",
        Level::TRACE => "TRACE ",
    }
}

thread_local! {
    /// The second of the last line, and how it is written.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// RFC 3339 with microseconds, and a space.
fn put_time(line: &mut String) {
    let now = System.now();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.secs() {
            let whole = Timestamp::from_secs(now.secs()).rfc3339_seconds();
            (*second, *text) = (now.secs(), whole.trim_end_matches('Z').to_owned());
        }
        line.push_str(text);
    });
    // Infallible for a String.
    let _ = write!(line, ".{:06}Z ", now.subsec_nanos() / 1000);
}

/// Puts fields into a line.
struct Put<'a> {
    line: &'a mut String,
    first: bool,
}

impl Put<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        // What a library said of a line through `log` is in the metadata by now.
        if name.starts_with("log.") {
            return;
        }
        if !std::mem::take(&mut self.first) {
            self.line.push(' ');
        }
        if name != "message" {
            self.line.extend([name.trim_start_matches("r#"), "="]);
        }
        let begin = self.line.len();
        // Infallible for a String; who can't be displayed ends early.
        let _ = self.line.write_fmt(value);
        self.escape(begin);
    }

    /// Shows control characters from there on as Rust and JSON would.
    fn escape(&mut self, begin: usize) {
        let put = self.line.get(begin..).unwrap_or_default();
        // Without an end in between, this is done many octets at a time. 0xC2 begins the controls of U+0080 to U+009F, 0xE2 what turns
        // the direction of writing.
        if !put.bytes().fold(false, |found, octet| found | (octet < b' ' || matches!(octet, 0x7f | 0xc2 | 0xe2))) {
            return;
        }
        let put = self.line.split_off(begin);
        for c in put.chars() {
            if c.is_control() || turns_direction(c) {
                self.line.extend(c.escape_default());
            } else {
                self.line.push(c);
            }
        }
    }
}

/// Unicode's bidirectional formatting: it would show an address as another.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Visit for Put<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put(field, format_args!("{value}"));
        } else if value.contains(['"', '\\']) {
            self.put(field, format_args!("{value:?}"));
        } else {
            self.put(field, format_args!("\"{value}\""));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{value}"));
        let sources = std::iter::successors(value.source(), |error| error.source());
        let list = sources.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if !list.is_empty() {
            self.line.extend([" ", field.name(), ".sources=["]);
            let begin = self.line.len();
            self.line.push_str(&list);
            self.escape(begin);
            self.line.push(']');
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::{Layer, MakeWriter};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn ours(log: impl Fn()) -> String {
        let lines = Lines::default();
        let plain = Layer::default().with_ansi(false).fmt_fields(Fields).event_format(Plain).with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(plain), log);
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    fn of_tracing(log: impl Fn()) -> String {
        let lines = Lines::default();
        let usual = Layer::default().with_ansi(false).with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(usual), log);
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    fn untimed(text: &str) -> Vec<&str> {
        let untimed = |line| {
            let (time, rest) = str::split_at(line, 28);
            assert!(
                time.starts_with("20") && time.ends_with("Z ") && Timestamp::parse(time.trim()).is_some(),
                "{time}"
            );
            rest
        };
        text.lines().map(untimed).collect()
    }

    #[test]
    fn a_line_is_what_tracing_makes_of_it() {
        let log = || {
            tracing::info!("no fields");
            let outer = tracing::info_span!("attempt", queue_id = %"1j184s13g5400", next_hop = "a:25");
            let _outer = outer.enter();
            let inner = tracing::info_span!("bare");
            let _inner = inner.enter();
            let error = io::Error::other("it broke");
            let cause = "x".parse::<i64>().unwrap_err();
            let wrapped = crate::store::StoreError::Damaged(cause.to_string().into());
            tracing::warn!(
                number = 7_u64,
                negative = -7,
                ratio = 0.5,
                yes = true,
                quoted = "a \"b\" \\c",
                r#type = "t",
                "said"
            );
            tracing::error!(error = &error as &dyn std::error::Error, %wrapped, some = ?Some("x"), none = None::<u64>, "{}", "ä");
            tracing::debug!(only = "fields");
            tracing::trace!(target: "decision", "elsewhere");
        };
        let (ours, theirs) = (ours(log), of_tracing(log));
        assert_eq!(untimed(&ours), untimed(&theirs));
        assert_eq!(ours.lines().count(), 5);
    }

    #[test]
    fn nothing_that_others_wrote_ends_a_line_or_commands_a_terminal() {
        let text = ours(|| {
            let span = tracing::info_span!("session", helo = %"a\nb");
            let _in = span.enter();
            tracing::info!(reply = %"250 \u{1b}[2J\r\nforged", text = "a\tb\u{9b}c\u{7f}ä\u{202e}€", "one\ntwo");
        });
        let expected = " INFO session{helo=a\\nb}: waypost::telemetry::text::tests: one\\ntwo \
                        reply=250 \\u{1b}[2J\\r\\nforged text=\"a\\tb\\u{9b}c\\u{7f}ä\\u{202e}€\"";
        assert_eq!(untimed(&text), [expected]);
    }
}
