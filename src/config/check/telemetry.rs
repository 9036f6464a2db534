//! `[telemetry.otlp]`.

use std::time::Duration;

use super::Base;
use crate::config::raw::Table;
use crate::telemetry::otlp::{Config, Endpoint};

/// Reads the section; none: no traces are told.
pub(super) fn config(table: &Table<'_>, base: &Base) -> Option<Config> {
    const SECOND: Duration = Duration::from_secs(1);
    const HELP: &str = "write the receiver's URL, such as \"http://127.0.0.1:4318/v1/traces\"";
    let otlp = table.table("otlp");
    let endpoint =
        otlp.parsed("endpoint", |text| endpoint(text).ok_or((format!("{text:?} is no URL"), HELP.to_owned())));
    if otlp.is_written() && otlp.get("endpoint").is_none() {
        otlp.missing("endpoint", HELP);
    }
    let config = Config {
        endpoint: endpoint.clone().unwrap_or_else(|| Endpoint {
            tls: true,
            host: String::new(),
            port: 0,
            path: String::new(),
        }),
        headers: otlp.text("headers-file").map(|path| base.resolve(path)),
        sample_percent: u8::try_from(otlp.integer("sample-percent", 100, 0..=100)).unwrap_or(100),
        batch: otlp.count("batch", 512, 1..=10_000),
        queue: otlp.count("queue", 10_000, 1..=1_000_000),
        interval: otlp.duration("interval", 5 * SECOND, Duration::from_millis(100)..=600 * SECOND),
        timeout: otlp.duration("timeout", 10 * SECOND, SECOND..=60 * SECOND),
        service: otlp.text("service").unwrap_or("waypost").to_owned(),
    };
    if config.batch > config.queue {
        otlp.wrong("a batch is larger than what may wait", "lower batch or raise queue");
    }
    otlp.finish();
    table.finish();
    endpoint.map(|_| config)
}

/// `http://HOST:PORT/PATH`; the path of the protocol where there is none.
fn endpoint(text: &str) -> Option<Endpoint> {
    let uri: http::Uri = text.parse().ok()?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path == "/" { "/v1/traces" } else { path };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    (!host.is_empty()).then(|| Endpoint { tls, host: host.to_owned(), port, path: path.to_owned() })
}
