//! Limits that are none, and some that shut out honest clients: `[limits]`, `[smtp]`, `[queue]`.

use std::time::Duration;

use super::Advice;
use super::networks::{is_public, is_wider};
use crate::config::units::{show_duration, show_size};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;

pub(super) fn advise(advice: &mut Advice<'_>) {
    counts(advice);
    times(advice);
    messages(advice);
    queue(advice);
}

fn counts(advice: &mut Advice<'_>) {
    let limits = &advice.settings.listen.limits;
    let proxied = advice.settings.listen.listeners.iter().any(|listener| !listener.proxy_from.is_empty());
    if limits.per_client >= limits.connections && !proxied {
        let problem = format!("one client may take all {} connections", limits.connections);
        advice.say("limits.per-client", problem, "set it to a tenth of connections");
    }
    if limits.per_network == 0 || limits.per_network > limits.connections {
        let problem = "one network may take all connections";
        advice.say("limits.per-network", problem, "set it to half of connections");
    }
    for (at, net) in limits.exempt.iter().enumerate() {
        // Unless somebody says who is exempt, those are who may relay: of them it was told before.
        let written = advice.places.has("limits.exempt");
        if written && is_public(net) && is_wider(net, (16, 32)) {
            let problem = format!("{net} is exempt from all limits but two: no rates, no bans");
            advice.say(&format!("limits.exempt[{at}]"), problem, "name your own hosts");
        }
    }
    if limits.stress_at == 100 {
        let problem = "when all connections are taken, deadlines stay long: a few slow clients shut out everybody";
        advice.say("limits.stress-at", problem, "take it out");
    }
    if limits.ban.errors != 0 && limits.ban.errors < 50 {
        let problem = format!("a client with {} dead addresses in its list is banned", limits.ban.errors);
        advice.say("limits.ban.errors", problem, "set it to some hundreds");
    }
}

fn times(advice: &mut Advice<'_>) {
    let limits = &advice.settings.listen.limits;
    if limits.min_rate == 0 {
        let problem = "a client may send an octet a minute, and keep its connection for as long as it likes";
        advice.say("limits.min-rate", problem, "take it out, or write \"50 B\"");
    }
    let long = [
        ("limits.command-timeout", limits.command_timeout, 30 * MINUTE),
        ("limits.data-timeout", limits.data_timeout, 30 * MINUTE),
        ("limits.session-timeout", limits.session_timeout, DAY),
        ("limits.handshake-timeout", limits.handshake_timeout, 5 * MINUTE),
    ];
    for (key, time, most) in long.into_iter().filter(|(_, time, most)| time > most) {
        let problem = format!("a client that does nothing keeps its connection for {}", show_duration(time));
        advice.say(key, problem, format!("no honest client needs more than {:?}", show_duration(most)));
    }
    let short = [("limits.command-timeout", limits.command_timeout), ("limits.data-timeout", limits.data_timeout)];
    for (key, time) in short.into_iter().filter(|(_, time)| *time < MINUTE) {
        let problem = format!("{} cuts off slow but honest servers", show_duration(time));
        advice.say(key, problem, "RFC 5321 section 4.5.3.2 asks for minutes; stress-at shortens it when it matters");
    }
    if limits.drain.is_zero() {
        let problem = "a restart cuts off every transaction under way";
        advice.say("limits.drain", problem, "take it out, or write \"10s\"");
    }
    if advice.settings.listen.greet_delay > 20 * Duration::from_secs(1) {
        let problem = "honest servers give up while they wait for the greeting";
        advice.say("smtp.greet-delay", problem, "a few seconds find as many bad clients");
    }
}

fn messages(advice: &mut Advice<'_>) {
    let Some(session) = advice.settings.listen.listeners.first().map(|listener| listener.session.clone()) else {
        return;
    };
    if session.max_message_size > 512 * MIB {
        let problem =
            format!("{} is more than any next hop takes, and fills the disk", show_size(session.max_message_size));
        advice.say("smtp.max-message-size", problem, "write \"50 MiB\" or \"100 MiB\"");
    }
    if session.max_header_size > 4 << 20 {
        let problem = "each connection may hold so much in memory";
        advice.say("smtp.max-header-size", problem, "real header sections have some KiB: write \"256 KiB\"");
    }
    if session.max_recipients > 10_000 {
        let problem = "one transaction may fill the queue";
        advice.say("smtp.max-recipients", problem, "write 1000: clients come again with the rest");
    }
    if session.max_errors > 200 {
        let problem = "a connection may guess so many addresses or passwords";
        advice.say("smtp.max-errors", problem, "write 20");
    }
    if session.max_hops < 25 {
        let problem = format!("mail that was forwarded often is taken for a loop after {} hops", session.max_hops);
        advice.say("smtp.max-hops", problem, "RFC 5321 section 6.3 asks for at least 100");
    }
    if Duration::from_secs(session.max_hold) > 60 * DAY {
        let problem = "clients may leave mail here for months";
        advice.say("smtp.max-hold", problem, "write \"7d\"");
    }
}

fn queue(advice: &mut Advice<'_>) {
    let queue = &advice.settings.queue;
    if queue.min_free < 64 * MIB {
        let problem = "mail is taken until the disk is full, and then nothing can be written at all";
        advice.say("queue.min-free", problem, "take it out, or write \"256 MiB\"");
    }
    if queue.bounds.held.is_some_and(|held| held < 12 * HOUR) {
        let problem = "held mail is given up before anybody looks at it";
        advice.say("queue.held-expire", problem, "write some days, or \"never\"");
    }
    if advice.settings.history.record && advice.settings.history.keep < HOUR {
        let problem = "what became of a message is forgotten before anybody asks";
        advice.say("history.keep", problem, "write \"7d\"");
    }
    let largest = advice.settings.listen.listeners.iter().map(|l| l.session.max_message_size).max();
    let largest = largest.unwrap_or_default();
    if advice.settings.queue.bounds.octets.is_some_and(|octets| octets < largest) {
        let problem = "one message of the largest size is more than the queue takes";
        advice.say("queue.max-bytes", problem, "raise it, or lower smtp.max-message-size");
    }
}
