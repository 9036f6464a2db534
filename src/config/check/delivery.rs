//! `[routing]`, `[delivery]`, `[destinations.NAME]`, `[credentials.NAME]`, `[sources.NAME]`, `[lanes.NAME]`, `[retry]`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use super::dns::{insists, selection};
use super::egress::{pool, source};
use super::relay::read_domain_pattern;
use super::route::{Within, route, tls};
use super::shaping::shaping;
use super::{Base, Names, YEAR, retry, tls_out};
use crate::config::raw::{Table, Value};
use crate::delivery::{Config, Credential, Destination, LaneLimits, Timeouts, Trusted, TrustedHost};
use crate::hooks::{NextHop, Route, TlsPolicy};
use crate::listen::Listener;
use crate::mail::Domain;
use crate::queue::Schedule;
use crate::routing;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// Reads the sections.
pub(super) fn config(
    root: &Table<'_>,
    hostname: &Arc<str>,
    base: &Base,
    (dns, listeners): (&routing::Dns, &[Listener]),
) -> (Config, routing::Table) {
    let retry = root.table("retry");
    let schedule = schedule(&retry, &Schedule::default());
    let schedules = each(retry.names(), |_, table| Some(self::schedule(table, &schedule)));
    let delivery = root.table("delivery");
    let limits = lane(&delivery, LaneLimits::default());
    let lanes = each(root.named("lanes"), |_, table| Some(lane(table, limits)));
    let (credentials, mut trusted) = credentials(root, base);
    let sources = each(root.named("sources"), |_, table| source(table, &credentials));
    let defined: Vec<Arc<str>> = root.named("sources").into_iter().map(|(name, _)| name).collect();
    let pools = each(root.named("pools"), |name, table| {
        if defined.contains(name) {
            table.wrong(format!("a source is called {name} as well"), "give the pool another name");
        }
        pool(table, &defined)
    });
    let destinations = root.named("destinations");
    let names = Names {
        lanes: lanes.keys().cloned().collect(),
        // Also of those that did not turn out well: their own mistake is reported, not a second one.
        credentials: root.named("credentials").into_iter().map(|(name, _)| name).collect(),
        origins: defined.iter().cloned().chain(root.named("pools").into_iter().map(|(name, _)| name)).collect(),
        sources: defined,
        retries: schedules.keys().cloned().collect(),
        destinations: destinations.iter().map(|(name, _)| name.clone()).collect(),
    };
    let tls = tls(&delivery, TlsPolicy::Opportunistic);
    insists(&delivery, dns, tls);
    let destinations = each(destinations, |_, table| destination(table, base, &names));
    let routing = routing(&root.table("routing"), &names);
    trust_routes(&mut trusted, &destinations, &routing);
    let config = Config {
        hostname: hostname.clone(),
        tls,
        mx_port: u16::try_from(delivery.integer("mx-port", 25, 1..=65535)).unwrap_or(25),
        limits,
        lanes,
        destinations,
        credentials,
        trusted,
        sources,
        pools,
        shaping: shaping(&root.table("shaping"), &names),
        max_connections: delivery.count("max-connections", 4000, 1..=100_000),
        connection_age: delivery.duration("connection-age", 300 * SECOND, Duration::ZERO..=Duration::from_secs(86_400)),
        schedule,
        schedules,
        selection: selection(&delivery, dns, hostname, listeners),
        notices: super::notices::config(root),
        timeouts: timeouts(&delivery.table("timeouts")),
        tls_out: tls_out::config(root, &delivery, base),
    };
    delivery.finish();
    (config, routing)
}

/// Every entry of a section of names, read by `read`, checked for unknown keys.
fn each<T>(
    entries: Vec<(Arc<str>, Value<'_>)>,
    mut read: impl FnMut(&Arc<str>, &Table<'_>) -> Option<T>,
) -> BTreeMap<Arc<str>, T> {
    let read = |(name, value): (Arc<str>, Value<'_>)| {
        let table = value.table()?;
        let read = read(&name, &table);
        table.finish();
        Some((name, read?))
    };
    entries.into_iter().filter_map(read).collect()
}

fn routing(table: &Table<'_>, names: &Names) -> routing::Table {
    let default = table.get("default").and_then(|value| route(&value, "", Within::Routing, names));
    // A bare "mx" is what the relay does anyway.
    let default = default.filter(|route| *route != Route { hops: vec![NextHop::Mx("".into())], ..Route::default() });
    let entry = |(domain, value): (Arc<str>, Value<'_>)| {
        let domain = match read_domain_pattern(&domain) {
            Ok(domain) => domain,
            Err((problem, help)) => {
                value.wrong(problem, &help);
                return None;
            }
        };
        let own = if domain.as_str().starts_with('.') { "" } else { domain.as_str() };
        Some((domain.clone(), Arc::new(route(&value, own, Within::Routing, names)?)))
    };
    let domains = table.table("domains").open_entries().into_iter().filter_map(entry).collect();
    table.finish();
    routing::Table { domains, default: default.map(Arc::new) }
}

fn destination(table: &Table<'_>, base: &Base, names: &Names) -> Option<Destination> {
    const HELP: &str =
        "write one of: maildir = \"PATH/{domain}/{local}\", route = \"smtp://HOST:PORT\", discard = true";
    let maildir = table.text("maildir").map(|path| Destination::Maildir { path: base.resolve(path) });
    let discard = table.bool("discard", false).then_some(Destination::Discard);
    let written = table.get("route");
    let is_route = written.is_some();
    let route = written.and_then(|value| route(&value, "", Within::Destination, names));
    if let (Some(Destination::Maildir { path }), Some(value)) = (&maildir, table.get("maildir")) {
        check_template(&path.to_string_lossy(), &value);
    }
    match (maildir, discard, is_route) {
        (Some(maildir), None, false) => Some(maildir),
        (None, Some(discard), false) => Some(discard),
        (None, None, true) => route.map(|route| Destination::Route(Arc::new(route))),
        (None, None, false) => {
            table.wrong("does not say where mail goes", HELP);
            None
        }
        _ => {
            table.wrong("says more than one place where mail goes", HELP);
            None
        }
    }
}

/// Braces in a Maildir's path are those of `{local}` and `{domain}`.
fn check_template(path: &str, value: &Value<'_>) {
    let rest = path.replace("{local}", "").replace("{domain}", "");
    if rest.contains(['{', '}']) {
        value.wrong("has braces that mean nothing", "only {local} and {domain} stand for something");
    }
}

/// `[credentials.NAME]`, and the hosts that are listed for them.
fn credentials(root: &Table<'_>, base: &Base) -> (BTreeMap<Arc<str>, Credential>, Trusted) {
    let mut trusted = Trusted::default();
    let credentials = each(root.named("credentials"), |name, table| {
        trusted_hosts(table).into_iter().for_each(|host| trusted.add_host(name, host));
        credential(table, base)
    });
    (credentials, trusted)
}

/// What the configuration itself uses a credential with.
fn trust_routes(trusted: &mut Trusted, destinations: &BTreeMap<Arc<str>, Destination>, routing: &routing::Table) {
    let named = destinations.values().filter_map(|destination| match destination {
        Destination::Route(route) => Some(route),
        _ => None,
    });
    named.chain(routing.domains.values()).chain(&routing.default).for_each(|route| trusted.add_route(route));
}

fn credential(table: &Table<'_>, base: &Base) -> Option<Credential> {
    let name = table.text("name");
    if table.get("name").is_none() {
        table.missing("name", "write the user name for the next hop");
    }
    let inline = table.text("secret").map(Arc::from);
    let secret = match (table.get("secret-file"), inline) {
        (Some(value), None) => secret_file(&value, base),
        (None, Some(secret)) => Some(secret),
        (Some(value), Some(_)) => {
            value.wrong("there is a secret already", "keep either secret or secret-file");
            None
        }
        (None, None) => {
            table.missing("secret-file", "write the path of a file with the password, or secret = \"…\"");
            None
        }
    };
    Some(Credential { name: name?.into(), secret: secret? })
}

/// `hosts`: where plugins may have the password presented, besides where the configuration's own routes do.
fn trusted_hosts(table: &Table<'_>) -> Vec<TrustedHost> {
    let host = |text: &str| match text.parse() {
        Ok(address) => Ok(TrustedHost::Address(address)),
        Err(_) => match Domain::parse_pattern(text) {
            Ok(name) if !name.is_literal() => Ok(TrustedHost::Name(name)),
            _ => {
                let help =
                    "write a name, such as \"smtp.example.org\", \".example.org\" for all below it, or an IP address";
                Err((format!("{text:?} is no host"), help.to_owned()))
            }
        },
    };
    table.array("hosts").iter().filter_map(|value| value.parsed(host)).collect()
}

/// The first line of a file.
fn secret_file(value: &Value<'_>, base: &Base) -> Option<Arc<str>> {
    let path = base.resolve(value.text()?);
    if std::fs::metadata(&path).is_ok_and(|found| found.mode() & 0o004 != 0) {
        let problem = format!("every user of this machine can read {}", path.display());
        value.unwise(problem, &format!("chmod o-r {}", path.display()));
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.lines().next().unwrap_or_default().into()),
        Err(error) => {
            value.wrong(format!("{} can't be read: {error}", path.display()), "put the password into that file");
            None
        }
    }
}

/// `[delivery.timeouts]`.
fn timeouts(table: &Table<'_>) -> Timeouts {
    let usual = Timeouts::default();
    let time = |key, usual| table.duration(key, usual, SECOND..=HOUR);
    let timeouts = Timeouts {
        connect: time("connect", usual.connect),
        greeting: time("greeting", usual.greeting),
        ehlo: time("ehlo", usual.ehlo),
        tls: time("tls", usual.tls),
        auth: time("auth", usual.auth),
        mail: time("mail", usual.mail),
        rcpt: time("rcpt", usual.rcpt),
        data: time("data", usual.data),
        block: time("block", usual.block),
        end: time("final", usual.end),
        quit: time("quit", usual.quit),
    };
    table.finish();
    timeouts
}

/// The limits in `[delivery]` and in `[lanes.NAME]`.
fn lane(table: &Table<'_>, usual: LaneLimits) -> LaneLimits {
    let rate = |key, most, usual: Option<u32>| {
        let written = table.get(key).and_then(|value| value.integer(1..=most));
        written.and_then(|n| u32::try_from(n).ok()).or(usual)
    };
    let messages = u64::from(usual.messages_per_connection);
    LaneLimits {
        connections: table.count("connections", usual.connections, 1..=10_000),
        recipients: table.count("recipients", usual.recipients, 1..=10_000),
        messages_per_connection: u32::try_from(table.integer("messages-per-connection", messages, 1..=1_000_000))
            .unwrap_or(usual.messages_per_connection),
        idle: table.duration("idle", usual.idle, Duration::ZERO..=Duration::from_secs(600)),
        per_second: rate("per-second", 1_000_000, usual.per_second),
        per_minute: rate("per-minute", 10_000_000, usual.per_minute),
        per_hour: rate("per-hour", 100_000_000, usual.per_hour),
        per_day: rate("per-day", 1_000_000_000, usual.per_day),
        connects_per_minute: rate("connects-per-minute", 1_000_000, usual.connects_per_minute),
        cool_down: table.duration("cool-down", usual.cool_down, Duration::ZERO..=HOUR),
    }
}

/// None: nothing is said.
fn warn_after(table: &Table<'_>) -> Option<Arc<[Duration]>> {
    const MOST: usize = 10;
    let value = table.get("warn-after")?;
    if value.is_word("never") {
        return Some(Arc::new([]));
    }
    let mut times = value.durations(&(SECOND..=YEAR))?;
    if times.len() > MOST {
        value.wrong(format!("more than {MOST} warnings"), "senders will have understood");
    }
    times.sort_unstable();
    times.dedup();
    Some(times.into())
}

fn schedule(table: &Table<'_>, usual: &Schedule) -> Schedule {
    let percent = |key, usual: u32, range| u32::try_from(table.integer(key, usual.into(), range)).unwrap_or(usual);
    let attempts = table.get("give-up-attempts").and_then(|value| value.integer(1..=1_000_000));
    let schedule = Schedule {
        first: table.duration("first", usual.first, SECOND..=YEAR),
        longest: table.duration("longest", usual.longest, SECOND..=YEAR),
        growth_percent: percent("growth-percent", usual.growth_percent, 100..=1000),
        jitter_percent: percent("jitter-percent", usual.jitter_percent, 0..=50),
        warn_after: warn_after(table).unwrap_or_else(|| Arc::clone(&usual.warn_after)),
        give_up_after: table.duration("give-up-after", usual.give_up_after, SECOND..=YEAR),
        give_up_after_bounce: table.duration("give-up-after-bounce", usual.give_up_after_bounce, SECOND..=YEAR),
        give_up_attempts: attempts.and_then(|most| u32::try_from(most).ok()).or(usual.give_up_attempts),
        rules: retry::rules(table).unwrap_or_else(|| usual.rules.clone()),
    };
    if schedule.first > schedule.longest {
        table.wrong(
            format!("the first wait ({:?}) is longer than the longest ({:?})", schedule.first, schedule.longest),
            "raise longest or lower first",
        );
    }
    schedule
}
