//! TLS on the way out: `tls-memory` and `trust` of `[delivery]`; `[mta-sts]`, `[tlsrpt]`.

use std::time::Duration;

use super::Base;
use super::relay::plain_network;
use crate::config::raw::Table;
use crate::delivery::TlsOut;
use crate::mail::Mailbox;
use crate::{sts, tlsrpt};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the keys of `[delivery]`, and the sections.
pub(super) fn config(root: &Table<'_>, delivery: &Table<'_>, base: &Base) -> TlsOut {
    TlsOut {
        memory: delivery.duration("tls-memory", HOUR, Duration::ZERO..=7 * DAY),
        trust: delivery.text("trust").map(|path| base.resolve(path)),
        sts: mta_sts(&root.table("mta-sts")),
        reports: tlsrpt(&root.table("tlsrpt")),
    }
}

fn mta_sts(table: &Table<'_>) -> sts::Config {
    let usual = sts::Config::default();
    let networks = table.array("private-networks");
    let config = sts::Config {
        enabled: table.bool("enabled", usual.enabled),
        wait: table.duration("wait", usual.wait, Duration::ZERO..=MINUTE),
        fetch_timeout: table.duration("fetch-timeout", usual.fetch_timeout, SECOND..=5 * MINUTE),
        cache: table.count("cache", usual.cache, 10..=1_000_000),
        port: u16::try_from(table.integer("port", usual.port.into(), 1..=65535)).unwrap_or(usual.port),
        networks: networks.iter().filter_map(plain_network).collect(),
    };
    table.finish();
    config
}

fn tlsrpt(table: &Table<'_>) -> tlsrpt::Config {
    let enabled = table.bool("enabled", false);
    let reporter = reporter(table, enabled);
    let networks = table.array("private-networks");
    let config = tlsrpt::Config {
        reporter: reporter.filter(|_| enabled),
        domains: table.count("domains", 10_000, 10..=1_000_000),
        port: u16::try_from(table.integer("port", 443, 1..=65535)).unwrap_or(443),
        networks: networks.iter().filter_map(plain_network).collect(),
    };
    table.finish();
    config
}

/// Who reports. Nobody can be asked back without it, so nothing is sent before it is written down.
fn reporter(table: &Table<'_>, enabled: bool) -> Option<tlsrpt::Reporter> {
    let line = |key: &'static str, help: &str| {
        let text = table.text(key);
        match text {
            None if enabled && table.get(key).is_none() => table.missing(key, help),
            Some(text) if text.is_empty() || text.contains(|c: char| c.is_control()) => {
                if let Some(value) = table.get(key) {
                    value.wrong("is empty, or has control characters", help);
                }
                return None;
            }
            _ => {}
        }
        text.map(ToOwned::to_owned)
    };
    let organisation = line("organisation", "write who sends the reports, such as \"Example Ltd\"");
    let contact = line("contact", "write how its postmaster is reached, such as \"postmaster@example.org\"");
    const FROM: &str = "write the author of the reports, such as \"tls-reports@example.org\"";
    if enabled && table.get("from").is_none() {
        table.missing("from", FROM);
    }
    let from = table.parsed("from", |text| match Mailbox::parse(text, false) {
        Ok(mailbox) if !mailbox.domain.as_str().is_empty() && !mailbox.domain.is_literal() => Ok(mailbox),
        _ => Err((format!("{text:?} is no mail address"), FROM.to_owned())),
    });
    Some(tlsrpt::Reporter { organisation: organisation?, contact: contact?, from: from? })
}
