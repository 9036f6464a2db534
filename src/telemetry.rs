//! Logs through tracing: set up once, at start, as text or JSON, to standard output or a file.
//!
//! A line is formatted by the thread that logs it and handed to one writer thread, so that no worker ever waits for a
//! disk or a terminal: see `telemetry/writer.rs` for what happens when the writer can't keep up. Must never log mail
//! content or secrets; that is up to who logs, as is one span for each session and each attempt.

pub mod otlp;
mod text;
mod writer;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use text::{Fields, Plain};
use writer::{Lines, Writer};

/// Settings of `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How lines look.
    pub format: Format,
    /// Which are written: a level, or tracing's filter directives.
    pub level: String,
    /// Where they go.
    pub output: Output,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    #[default]
    Stdout,
    /// Appended to this file; opened anew by [`LogFile::reopen`].
    File(PathBuf),
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file can't be opened.
    #[error("log file {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The filter can't be read.
    #[error("log level: {0}")]
    Level(String),
    /// No thread for the writer.
    #[error("log writer: {0}")]
    Thread(std::io::Error),
    /// A subscriber is there already.
    #[error("logging is set up already")]
    Twice,
}

/// Keeps the writer going; dropped, it writes what is left.
#[derive(Debug)]
pub struct Telemetry {
    writer: Writer,
    spans: Option<otlp::Spans>,
}

/// A library that warns of each bad request of a plugin, which a plugin can make without end; its own lines are bounded.
const QUIET: &str = "wasmtime_wasi_http=off";

/// Sets up logging for the whole process.
///
/// `spans` are made of what is logged, if there are any to be made.
///
/// # Errors
/// When the file can't be opened, the level can't be read, or logging was set up before.
pub fn start(config: &Config, spans: Option<otlp::Spans>) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(format!("{},{QUIET}", config.level))
        .map_err(|error| TelemetryError::Level(error.to_string()))?;
    let writer = Writer::start(&config.output)?;
    let colours = config.output == Output::Stdout && std::io::stdout().is_terminal();
    let lines = writer.lines();
    let set = match (&spans, config.format) {
        // Without traces, what nobody wants to read is told apart before anything is made of it.
        (None, format) => {
            let registry = tracing_subscriber::registry().with(filter);
            match format {
                Format::Text if colours => registry.with(coloured(lines)).try_init(),
                Format::Text => registry.with(text(lines)).try_init(),
                Format::Json => registry.with(json(lines)).try_init(),
            }
        }
        (Some(spans), format) => {
            let traces = otlp::Layer::new(spans.clone()).with_filter(filter_fn(otlp::Layer::wants));
            let registry = tracing_subscriber::registry().with(traces);
            match format {
                Format::Text if colours => registry.with(coloured(lines).with_filter(filter)).try_init(),
                Format::Text => registry.with(text(lines).with_filter(filter)).try_init(),
                Format::Json => registry.with(json(lines).with_filter(filter)).try_init(),
            }
        }
    };
    set.map_err(|_| TelemetryError::Twice)?;
    log_panics();
    Ok(Telemetry { writer, spans })
}

/// A panic costs one task and not the relay, and whoever reads the log has to learn of it.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), %at, "a task panicked: {}", info.payload_as_str().unwrap_or("no text"));
        before(info);
    }));
}

/// What is wrong with a level, if anything.
///
/// # Errors
/// A text that says which directive is not understood.
pub fn check_level(level: &str) -> Result<(), String> {
    // A lone word that is no level would be taken for the name of a module, and silence everything else.
    let lone = !level.contains(['=', ',', '[']);
    let level = level.trim();
    if level.is_empty() || lone && level.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
        return Err(format!("{level:?} is no log level"));
    }
    EnvFilter::try_new(level).map(|_| ()).map_err(|error| format!("{level:?} is no log level: {error}"))
}

/// What a relay holds of its log: the file can be opened anew.
#[derive(Clone, Debug)]
pub struct LogFile(Lines, Option<otlp::Spans>);

impl LogFile {
    /// What is to be sent to a receiver of traces, if there is one.
    pub fn spans(&self) -> Option<&otlp::Spans> {
        self.1.as_ref()
    }

    /// Opens the log file anew, after it was renamed away. Lines logged before go to the old file, or at least to one
    /// of the two. A file that can't be opened leaves the old one in use, and says so on standard error.
    pub fn reopen(&self) {
        self.0.reopen();
    }
}

impl Telemetry {
    /// For who decides when the file is opened anew.
    pub fn file(&self) -> LogFile {
        LogFile(self.writer.lines(), self.spans.clone())
    }

    /// Waits until everything logged so far is written.
    pub fn flush(&self) {
        self.writer.flush();
    }
}

type JsonLayer<S> = Layer<
    S,
    tracing_subscriber::fmt::format::JsonFields,
    tracing_subscriber::fmt::format::Format<tracing_subscriber::fmt::format::Json>,
    Lines,
>;
type ColouredLayer<S> =
    Layer<S, tracing_subscriber::fmt::format::DefaultFields, tracing_subscriber::fmt::format::Format, Lines>;

/// The same as text, for a terminal.
fn coloured<S>(lines: Lines) -> ColouredLayer<S> {
    Layer::default().with_ansi(true).with_writer(lines)
}

fn text<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(lines: Lines) -> Layer<S, Fields, Plain, Lines> {
    Layer::default().with_ansi(false).fmt_fields(Fields).event_format(Plain).with_writer(lines)
}

/// `{"timestamp":…,"level":…,"message":…,fields…,"target":…,"span":{…}}`: fields beside the message, and the innermost
/// span, which names the session or the attempt. The list of all spans around it would double the cost of a line.
fn json<S>(lines: Lines) -> JsonLayer<S> {
    Layer::default().json().flatten_event(true).with_span_list(false).with_writer(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for level in ["info", "WARN", "off", "info,waypost::delivery=debug", "waypost=trace,error"] {
            assert_eq!(check_level(level), Ok(()), "{level}");
        }
        for level in ["", "loud", "waypost", "info,waypost=loud", "a=b=c"] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }

    fn logged(format: Format) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let writer = Writer::start(&Output::File(path.clone())).unwrap();
        let registry = tracing_subscriber::registry().with(EnvFilter::new("info"));
        let log = || {
            let span = tracing::info_span!("session", id = "s1");
            let _in = span.enter();
            tracing::info!(recipient = "ann@example.net", "accepted");
            tracing::debug!("not wanted");
        };
        match format {
            Format::Text => tracing::subscriber::with_default(registry.with(text(writer.lines())), log),
            Format::Json => tracing::subscriber::with_default(registry.with(json(writer.lines())), log),
        }
        writer.flush();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn text_lines() {
        let text = logged(Format::Text);
        assert!(text.ends_with("recipient=\"ann@example.net\"\n") && text.contains("session{id=\"s1\"}"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn json_lines() {
        let line: serde_json::Value = serde_json::from_str(logged(Format::Json).trim_end()).unwrap();
        assert_eq!(line["message"], "accepted");
        assert_eq!(line["recipient"], "ann@example.net");
        assert_eq!(line["span"]["id"], "s1");
    }
}
