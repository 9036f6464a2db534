//! `waypost suppress`: addresses and domains that nothing is sent to.

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::args::Common;
use super::ban::seconds;
use super::render::{Elements, table};
use super::{Failure, connect};
use crate::admin::SuppressForm;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Suppress {
    /// Send nothing more to an address or a domain.
    Add {
        /// Such as ann@example.org, or example.org for all of a domain.
        #[arg(value_name = "ADDRESS|DOMAIN")]
        address: String,
        /// Mail of this tenant only (the annotation `tenant`).
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Why; shown with it.
        #[arg(long, value_name = "TEXT", default_value = "suppressed by the operator")]
        reason: String,
        /// So long: 90s, 15m, 12h, 90d. Without it, for good.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        time: Option<u64>,
    },
    /// Send to it again.
    Remove {
        /// As it was added.
        #[arg(value_name = "ADDRESS|DOMAIN")]
        address: String,
        /// As it was added.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// List entries.
    List {
        /// Those that contain this.
        #[arg(value_name = "TEXT", default_value = "")]
        contains: String,
        /// Of this tenant only.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// At most so many, up to 10,000.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
    },
    /// Tell whether mail to an address is suppressed, and why; exits with 1 if it is not.
    Check {
        /// The address.
        address: String,
        /// Mail of this tenant.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
}

/// Does one of them.
pub(super) async fn suppress(common: &Common, command: Suppress, out: &mut dyn Write) -> Result<(), Failure> {
    let (what, done) = match command {
        Suppress::Add { address, tenant, reason, time } => {
            let done = format!("{address} is suppressed\n");
            (SuppressForm::Add { address, tenant, reason, for_secs: time }, Some(done))
        }
        Suppress::Remove { address, tenant } => {
            let done = format!("{address} is suppressed no more\n");
            (SuppressForm::Remove { address, tenant }, Some(done))
        }
        Suppress::List { contains, tenant, limit } => (SuppressForm::List { contains, tenant, limit }, None),
        Suppress::Check { address, tenant } => (SuppressForm::Check { address, tenant }, None),
    };
    let asks = matches!(what, SuppressForm::Check { .. });
    let entries = connect(common).await?.suppress(what).await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        entries.iter().try_for_each(|entry| elements.add(&json!(entry), out))?;
        elements.end(out)?;
    } else if let Some(done) = done {
        out.write_all(done.as_bytes())?;
    } else if !entries.is_empty() {
        write!(out, "{}", show(&entries))?;
    } else if !asks {
        writeln!(out, "nothing is suppressed")?;
    }
    if asks && entries.is_empty() { Err(Failure::refused("waypost: it is not suppressed")) } else { Ok(()) }
}

fn show(entries: &[Value]) -> String {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let row = |entry: &Value| ["pattern", "tenant", "until", "by", "reason"].map(|key| text(entry, key)).to_vec();
    table(&["ADDRESS", "TENANT", "UNTIL", "BY", "REASON"], &entries.iter().map(row).collect::<Vec<_>>())
}
