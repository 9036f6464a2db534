//! `[auth]`.

use std::path::PathBuf;

use super::Base;
use crate::config::raw::Table;
use crate::session::{AuthRules, CertificateName, Mechanism};

/// What the section says.
pub(super) struct Auth {
    /// The file of accounts.
    pub(super) credentials: Option<PathBuf>,
    /// The file of who may write as whom.
    pub(super) senders: Option<PathBuf>,
    /// Whether AUTH is offered.
    pub(super) offered: bool,
    /// How clients may prove who they are.
    pub(super) rules: AuthRules,
}

/// Reads the section.
pub(super) fn config(table: &Table<'_>, base: &Base) -> Auth {
    let credentials = table.text("credentials").map(|path| base.resolve(path));
    let senders = table.text("senders").map(|path| base.resolve(path));
    let names = [
        ("mailbox", CertificateName::Mailbox),
        ("dns-name", CertificateName::DnsName),
        ("subject", CertificateName::Subject),
    ];
    let external = table.choice("external", CertificateName::default(), &names);
    let rules = AuthRules { mechanisms: mechanisms(table), external };
    let offered = table.bool("offer", credentials.is_some() || rules.mechanisms.is_some());
    table.finish();
    Auth { credentials, senders, offered, rules }
}

/// None where all that work are meant.
fn mechanisms(table: &Table<'_>) -> Option<std::sync::Arc<[Mechanism]>> {
    let words = Mechanism::ALL.map(|mechanism| (mechanism.name(), mechanism));
    let written = table.get("mechanisms")?;
    let listed = written.array()?;
    if listed.is_empty() {
        written.wrong("lists no mechanism", "name one, leave the key out, or set offer to false");
    }
    Some(listed.iter().filter_map(|value| value.choice(&words)).collect())
}
