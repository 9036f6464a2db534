//! `[tls]`.

use super::Base;
use crate::config::raw::Table;
use crate::listen::Certificate;

/// Reads the section.
pub(super) fn certificate(table: &Table<'_>, base: &Base) -> Option<Certificate> {
    let chain = table.text("certificate").map(|path| base.resolve(path));
    let key = table.text("key").map(|path| base.resolve(path));
    table.finish();
    match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key }),
        (None, None) if !table.is_written() => None,
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
