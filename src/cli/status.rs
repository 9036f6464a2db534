//! `waypost status`.

use std::fmt::Write as _;
use std::io::Write;

use super::args::Common;
use super::render::{age, clean, count, size};
use super::{Failure, connect, plugin};
use crate::admin::{CertificateStatus, DecisionsStatus, LoadStatus, Status, TracesStatus};

/// Shows how the relay stands.
pub(super) async fn status(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let status = connect(common).await?.status().await?;
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::json!(status))?);
    }
    Ok(write!(out, "{}", show(&status))?)
}

/// For people.
pub(super) fn show(status: &Status) -> String {
    let Status { version, pid, uptime_secs, generation, queue, store, .. } = status;
    let mut text = format!("waypost {version}, process {pid}, up {}, generation {generation}\n", age(*uptime_secs));
    for listener in &status.listeners {
        let connections = count(listener.connections, "connection");
        // Infallible for a String, here and below.
        let _ =
            writeln!(text, "listener {} on {}, TLS {}, {connections}", listener.name, listener.address, listener.tls);
    }
    text.push_str(&certificates(&status.certificates));
    text.push_str(&load(&status.load));
    let messages = count(queue.messages, "message");
    let _ = write!(text, "queue: {messages}, {} under delivery, {} held", queue.leased, queue.held);
    if queue.counting {
        text.push_str(", and more that are being counted");
    }
    if queue.damaged > 0 {
        let _ = write!(text, ", {} damaged and set aside", queue.damaged);
    }
    text.push('\n');
    for quota in status.quotas.iter().filter(|quota| quota.refused > 0) {
        let _ = writeln!(text, "quota {}: {} put off", clean(&quota.name), count(quota.refused, "message"));
    }
    let free = store.free.map(|free| format!(", {} free", size(free))).unwrap_or_default();
    let _ = writeln!(text, "store: {}{free}", clean(&store.path));
    if let Some(why) = &store.refusing {
        let _ = writeln!(text, "mail is refused for now: {}", clean(why));
    }
    let DecisionsStatus { dropped, trouble, .. } = &status.decisions;
    if *dropped > 0 || trouble.is_some() {
        let why = trouble.as_ref().map(|trouble| format!("; for now they can't be written: {}", clean(trouble)));
        let _ = writeln!(text, "record of decisions: {dropped} lost{}", why.unwrap_or_default());
    }
    if let Some(TracesStatus { sent, lost }) = status.traces.filter(|traces| traces.lost > 0) {
        let _ = writeln!(text, "traces: {sent} spans sent, {lost} lost");
    }
    if !status.plugins.is_empty() {
        text.push('\n');
        text.push_str(&plugin::show(&status.plugins));
    }
    text
}

/// `certificate of smtp for mx.example.org, ends 2027-01-01T00:00:00Z, in 35 days: /etc/waypost/chain.pem`.
fn certificates(all: &[CertificateStatus]) -> String {
    let mut text = String::new();
    for one in all {
        let CertificateStatus { door, file, subject, names, not_after, days_left } = one;
        let names = if names.is_empty() { subject.clone() } else { names.join(", ") };
        let ends = match u64::try_from(*days_left) {
            Ok(days) => format!("ends {not_after}, in {}", count(days, "day")),
            Err(_) => format!("ended {not_after}"),
        };
        // Infallible for a String.
        let _ = writeln!(text, "certificate of {door} for {}, {ends}: {}", clean(&names), clean(file));
    }
    text
}

/// `reception: 12 of 1000 connections, 3 turned away (2 ban, 1 limits.per-client), 1 ban`.
fn load(load: &LoadStatus) -> String {
    let LoadStatus { connections, connections_most, stressed, banned, shed } = load;
    let mut text = format!("reception: {connections} of {}", count(*connections_most, "connection"));
    let sum: u64 = shed.values().sum();
    if sum > 0 {
        let reasons = shed.iter().filter(|(_, count)| **count > 0).map(|(why, count)| format!("{count} {why}"));
        // Infallible for a String, here and below.
        let _ = write!(text, ", {sum} turned away ({})", reasons.collect::<Vec<_>>().join(", "));
    }
    if *banned > 0 {
        let _ = write!(text, ", {} in force", count(*banned, "ban"));
    }
    if *stressed {
        text.push_str("; places are scarce, deadlines are short");
    }
    text.push('\n');
    text
}
