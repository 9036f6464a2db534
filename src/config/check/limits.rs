//! `[limits]`: what clients may take of the relay, and how long they may take for it.

use std::time::Duration;

use ipnet::IpNet;

use super::{YEAR, relay};
use crate::config::raw::Table;
use crate::listen::{BanRule, Limits, Tarpit};

const SECOND: Duration = Duration::from_secs(1);

/// Reads the section. Clients of the networks `own` are exempt unless somebody says who is.
pub(super) fn limits(table: &Table<'_>, own: &[IpNet]) -> Limits {
    let usual = Limits::default();
    let rate = |key, usual: u32| u32::try_from(table.integer(key, usual.into(), 0..=1_000_000)).unwrap_or(usual);
    let short = |key, usual: u8, range| u8::try_from(table.integer(key, usual.into(), range)).unwrap_or(usual);
    let time = |key, usual| table.duration(key, usual, SECOND..=YEAR);
    let limits = Limits {
        connections: table.count("connections", usual.connections, 1..=1_000_000),
        per_client: table.count("per-client", usual.per_client, 1..=1_000_000),
        per_network: table.count("per-network", usual.per_network, 0..=1_000_000),
        connections_per_minute: rate("connections-per-minute", usual.connections_per_minute),
        messages_per_minute: rate("messages-per-minute", usual.messages_per_minute),
        recipients_per_minute: rate("recipients-per-minute", usual.recipients_per_minute),
        network_factor: u32::try_from(table.integer("network-factor", usual.network_factor.into(), 1..=10_000))
            .unwrap_or(usual.network_factor),
        network_v4: short("network-v4", usual.network_v4, 8..=32),
        network_v6: short("network-v6", usual.network_v6, 16..=128),
        clients: table.count("clients", usual.clients, 1000..=10_000_000),
        exempt: exempt(table, own),
        ban: ban(&table.table("ban"), usual.ban),
        tarpit: tarpit(&table.table("tarpit"), usual.tarpit),
        stress_at: short("stress-at", usual.stress_at, 10..=100),
        command_timeout: time("command-timeout", usual.command_timeout),
        data_timeout: time("data-timeout", usual.data_timeout),
        message_timeout: time("message-timeout", usual.message_timeout),
        handshake_timeout: time("handshake-timeout", usual.handshake_timeout),
        session_timeout: time("session-timeout", usual.session_timeout),
        min_rate: table.size("min-rate", usual.min_rate, 0..=1 << 30),
        min_rate_over: time("min-rate-over", usual.min_rate_over),
        drain: table.duration("drain", usual.drain, Duration::ZERO..=Duration::from_secs(3600)),
    };
    table.finish();
    limits
}

/// This machine, and whom the relay takes mail from anyway: what they may do is not guessed from what they did.
fn exempt(table: &Table<'_>, own: &[IpNet]) -> Vec<IpNet> {
    let Some(written) = table.get("exempt") else {
        let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse().ok());
        return loopback.chain(own.iter().copied()).collect();
    };
    written.array().unwrap_or_default().iter().filter_map(relay::plain_network).collect()
}

fn ban(table: &Table<'_>, usual: BanRule) -> BanRule {
    let errors = u32::try_from(table.integer("errors", usual.errors.into(), 0..=1_000_000)).unwrap_or(usual.errors);
    let time = table.duration("time", usual.time, SECOND..=YEAR);
    let time_max = table.duration("time-max", usual.time_max.max(time), SECOND..=YEAR);
    if time_max < time {
        table.wrong("has a time-max shorter than its time", "write a time-max of at least time");
    }
    table.finish();
    BanRule { errors, time, time_max }
}

fn tarpit(table: &Table<'_>, usual: Tarpit) -> Tarpit {
    const LONGEST: Duration = Duration::from_secs(300);
    let tarpit = Tarpit {
        after_errors: u32::try_from(table.integer("after-errors", usual.after_errors.into(), 0..=1_000_000))
            .unwrap_or(usual.after_errors),
        delay: table.duration("delay", usual.delay, Duration::ZERO..=LONGEST),
        delay_max: table.duration("delay-max", usual.delay_max, Duration::ZERO..=LONGEST),
    };
    table.finish();
    tarpit
}
