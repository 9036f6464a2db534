//! `[tls]`.

use std::time::Duration;

use super::Base;
use crate::config::raw::Table;
use crate::listen::{Certificate, Minimum, ServerSettings};

/// Reads the section: what listeners need, and how often its files are looked at.
pub(super) fn settings(table: &Table<'_>, base: &Base) -> (Option<ServerSettings>, Option<Duration>) {
    let more = table.array("certificates");
    let whole = table.get("certificate").is_some() || table.get("key").is_some() || more.is_empty();
    let first = if whole && table.is_written() { certificate(table, base) } else { None };
    let mut certificates: Vec<_> = first.into_iter().collect();
    for value in &more {
        let Some(table) = value.table() else { continue };
        certificates.extend(certificate(&table, base));
        table.finish();
    }
    let authorities = table.text("client-authorities").map(|path| base.resolve(path));
    let minimum = table.choice("minimum", Minimum::Tls12, &[("1.2", Minimum::Tls12), ("1.3", Minimum::Tls13)]);
    let watch = watch(table);
    table.finish();
    ((!certificates.is_empty()).then_some(ServerSettings { certificates, authorities, minimum }), watch)
}

fn watch(table: &Table<'_>) -> Option<Duration> {
    const USUAL: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86400);
    match table.get("watch") {
        Some(value) if value.is_word("never") => None,
        Some(value) => value.duration(Duration::from_secs(1)..=DAY).or(Some(USUAL)),
        None => Some(USUAL),
    }
}

fn certificate(table: &Table<'_>, base: &Base) -> Option<Certificate> {
    let chain = table.text("certificate").map(|path| base.resolve(path));
    let key = table.text("key").map(|path| base.resolve(path));
    match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key }),
        (Some(_), None) => {
            table.missing("key", "write the path of the private key, a PEM file");
            None
        }
        (None, _) => {
            table.missing("certificate", "write the path of the certificate chain, a PEM file, leaf first");
            None
        }
    }
}
