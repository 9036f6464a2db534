//! `waypost ban`: who is not served, and for how long.

use std::fmt::Write as _;
use std::io::Write;

use clap::Subcommand;
use ipnet::IpNet;
use serde_json::json;

use super::args::Common;
use super::render::{age, count, table};
use super::{Failure, connect};
use crate::admin::BanStatus;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Ban {
    /// List the bans in force, those of rules and those set by hand, the longest first.
    List,
    /// Answer new connections of an address or a network with 421 for a while; those that are open go on.
    Add {
        /// Such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/48.
        #[arg(value_name = "ADDRESS|NETWORK", value_parser = network)]
        network: IpNet,
        /// For how long: 90s, 15m, 12h, 7d.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "1h")]
        secs: u64,
    },
    /// End a ban.
    Remove {
        /// As `waypost ban list` shows it.
        #[arg(value_name = "ADDRESS|NETWORK", value_parser = network)]
        network: IpNet,
    },
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    let net = net.ok_or_else(|| "write an address or a network, such as 192.0.2.0/24".to_owned())?;
    if net == net.trunc() { Ok(net) } else { Err(format!("has bits set behind its prefix: write {}", net.trunc())) }
}

/// `90s`, `15m`, `12h`, `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
    let known = units.iter().find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, secs)));
    let number = known.and_then(|(number, secs)| number.parse::<u64>().ok()?.checked_mul(*secs));
    number.ok_or_else(|| "a time is a number and one of s, m, h, d: 90s, 15m, 12h, 7d".to_owned())
}

/// Does one of them.
pub(super) async fn ban(common: &Common, command: Ban, out: &mut dyn Write) -> Result<(), Failure> {
    let mut client = connect(common).await?;
    match command {
        Ban::List => {
            let (bans, in_force) = client.bans().await?;
            let text = if common.json { format!("{}\n", json!(bans)) } else { show(&bans, in_force) };
            return Ok(out.write_all(text.as_bytes())?);
        }
        Ban::Add { network, secs } => {
            client.ban(network, secs).await?;
            if !common.json {
                writeln!(out, "{network} is banned for {}", age(secs))?;
            }
        }
        Ban::Remove { network } => {
            client.lift_ban(network).await?;
            if !common.json {
                writeln!(out, "{network} is served again")?;
            }
        }
    }
    if common.json {
        writeln!(out, "{}", json!({ "changed": 1 }))?;
    }
    Ok(())
}

/// For people.
pub(super) fn show(bans: &[BanStatus], in_force: u64) -> String {
    let row = |ban: &BanStatus| vec![ban.network.to_string(), age(ban.left_secs), ban.rule.clone()];
    let mut text = String::new();
    if !bans.is_empty() {
        text = table(&["NETWORK", "LEFT", "RULE"], &bans.iter().map(row).collect::<Vec<_>>());
    }
    let more = in_force.saturating_sub(bans.len() as u64);
    let rest = if more > 0 { format!(", {more} not shown") } else { String::new() };
    // Infallible for a String.
    let _ = writeln!(text, "{}{rest}", count(in_force, "ban"));
    text
}
