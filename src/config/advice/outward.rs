//! How mail leaves: `[delivery]`, `[mta-sts]`, `[dns]`, `[shaping]`, `[notices]`, `[signing]`.

use std::time::Duration;

use super::Advice;
use super::networks::is_public_address;
use crate::delivery::{Bounces, NoticeClass};
use crate::hooks::{NextHop, TlsPolicy};
use crate::routing::Dnssec;
use crate::signing::OnFailure;
use crate::smtp::Extension;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn advise(advice: &mut Advice<'_>) {
    tls(advice);
    targets(advice);
    pace(advice);
    timeouts(advice);
    dns(advice);
    notices(advice);
    signing(advice);
}

fn tls(advice: &mut Advice<'_>) {
    let delivery = &advice.settings.delivery;
    match delivery.tls {
        TlsPolicy::Off => {
            advice.say(
                "delivery.tls",
                "all mail crosses the network readable",
                "write \"opportunistic\" or take it out",
            );
        }
        policy @ (TlsPolicy::Verify | TlsPolicy::Dane) if !has_smarthost(advice) => {
            let word = if policy == TlsPolicy::Dane { "dane" } else { "verify" };
            let problem = format!("\"{word}\" for everybody: mail for most domains will wait and come back");
            let help = "write \"opportunistic\": domains that publish TLSA records or MTA-STS get more; \
                        set tls in the routes that need it";
            advice.say("delivery.tls", problem, help);
        }
        _ => {}
    }
    if !delivery.tls_out.sts.enabled {
        let problem = "domains that ask for verified TLS are not heard";
        advice.say("mta-sts.enabled", problem, "take it out");
    }
    if !delivery.selection.dane && advice.settings.dns.dnssec != Dnssec::Off {
        let problem = "answers are validated, and the TLSA records among them are not used";
        advice.say("delivery.dane", problem, "take it out");
    }
}

/// True if mail that nothing else is said about goes to hosts of the configuration.
pub(super) fn has_smarthost(advice: &Advice<'_>) -> bool {
    let route = advice.settings.routing.default.as_ref();
    route.is_some_and(|route| !route.hops.iter().any(|hop| matches!(hop, NextHop::Mx(_))))
}

fn targets(advice: &mut Advice<'_>) {
    let delivery = &advice.settings.delivery;
    let never = &delivery.selection.never;
    let loopback = ["127.0.0.1", "::1"].into_iter().filter_map(|address| address.parse().ok());
    if never.is_empty() {
        let problem = "a stranger's domain may lead mail to this machine and to hosts behind it";
        advice.say("delivery.never", problem, "take it out, or add your internal networks to what it has by default");
    } else if loopback.into_iter().any(|address| delivery.selection.forbids(address).is_none()) {
        let problem = "a stranger's domain may lead mail to services of this machine";
        advice.say("delivery.never", problem, "add \"127.0.0.0/8\" and \"::1\"");
    }
    if delivery.mx_port != 25 {
        let problem = format!("no mail server of a stranger listens on port {}", delivery.mx_port);
        advice.say("delivery.mx-port", problem, "take it out; it is for tests");
    }
    if delivery.selection.max_hosts < 2 {
        let problem = "mail waits whenever the first exchanger of a domain is down";
        advice.say("delivery.max-hosts", problem, "take it out, or write 5");
    }
}

fn pace(advice: &mut Advice<'_>) {
    let delivery = &advice.settings.delivery;
    if delivery.limits.connections > 100 {
        let problem =
            format!("{} connections to every site: most block who opens more than 20", delivery.limits.connections);
        advice.say("delivery.connections", problem, "take it out; give your own hosts a lane");
    }
    if delivery.max_connections < delivery.limits.connections {
        let problem = "one site may have all connections";
        advice.say("delivery.max-connections", problem, "raise it, or lower connections");
    }
    if delivery.limits.idle > 5 * MINUTE {
        let problem = "others keep a connection open for this relay and close it first";
        advice.say("delivery.idle", problem, "write some seconds");
    }
    if delivery.shaping.backoff.is_empty() {
        let problem = "nothing slows down when a site says that it gets too much";
        advice.say("shaping.shipped-backoff", problem, "take it out, or add [[shaping.backoff]]");
    }
}

fn timeouts(advice: &mut Advice<'_>) {
    let times = &advice.settings.delivery.timeouts;
    if times.end < 5 * MINUTE {
        let problem = "giving up early on the last answer makes duplicates (RFC 5321 section 4.5.3.2.6)";
        advice.say("delivery.timeouts.final", problem, "write \"10m\"");
    }
    let short = [
        ("greeting", times.greeting, MINUTE),
        ("ehlo", times.ehlo, MINUTE),
        ("mail", times.mail, MINUTE),
        ("rcpt", times.rcpt, MINUTE),
        ("data", times.data, MINUTE),
        ("block", times.block, MINUTE),
    ];
    for (name, _, least) in short.into_iter().filter(|(_, time, least)| time < least) {
        let problem = "busy servers need longer: mail for them will never leave";
        let help = format!(
            "write at least {:?}; RFC 5321 section 4.5.3.2 asks for minutes",
            crate::config::units::show_duration(least)
        );
        advice.say(&format!("delivery.timeouts.{name}"), problem, help);
    }
    if times.connect > 5 * MINUTE {
        let problem = "a dead host holds up those that come after it";
        advice.say("delivery.timeouts.connect", problem, "write \"30s\"");
    }
}

fn dns(advice: &mut Advice<'_>) {
    let dns = &advice.settings.dns;
    for (at, server) in dns.servers.iter().enumerate() {
        if is_public_address(server.ip()) {
            let problem = format!(
                "{} is a resolver of others: blocklists refuse it, and it learns of all your mail",
                server.ip()
            );
            let help = "run a resolver on this machine, such as unbound, and write \"127.0.0.1\"";
            advice.say(&format!("dns.servers[{at}]"), problem, help);
        }
    }
    if dns.max_ttl > 7 * DAY || dns.min_ttl > Duration::from_secs(3600) {
        let key = if dns.max_ttl > 7 * DAY { "dns.max-ttl" } else { "dns.min-ttl" };
        advice.say(key, "mail goes to a host long after its domain has moved", "take it out");
    }
    if dns.negative_ttl > Duration::from_secs(6 * 3600) {
        let problem = "a domain that was mended gets no mail for hours";
        advice.say("dns.negative-ttl", problem, "take it out");
    }
}

fn notices(advice: &mut Advice<'_>) {
    let notices = &advice.settings.delivery.notices;
    let rules = advice.settings.listen.listeners.first().map(|listener| &listener.session.relay);
    if notices.postmaster.is_none() {
        let problem = "nobody hears of reports that can't be delivered: they end in the log";
        advice.say(
            "notices.postmaster",
            problem,
            "write an address that somebody reads, such as \"postmaster@example.org\"",
        );
    } else if !notices.classes.contains(&NoticeClass::DoubleBounce) {
        let problem = "the postmaster is not told of reports that can't be delivered";
        advice.say("notices.classes", problem, "add \"double-bounce\"");
    }
    if notices.bounces == Bounces::Never && notices.by_listener.is_empty() {
        let problem = "senders never hear that their mail was not delivered (RFC 5321 section 6.1)";
        advice.say("notices.bounces", problem, "write \"authenticated\"");
    }
    let strangers = rules.is_some_and(|rules| !rules.domains.is_empty());
    if strangers && notices.bounces == Bounces::Always && notices.by_listener.is_empty() {
        let problem = "strangers may send here, and forged senders get reports about mail they never sent";
        advice.say("notices.bounces", problem, "write \"authenticated\", or say it by listener");
    }
}

fn signing(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    let signing = &settings.signing;
    let Some(first) = settings.listen.listeners.first() else { return };
    let rules = &first.session.relay;
    let submits = settings.listen.listeners.iter().any(|l| l.session.extensions.has(Extension::Auth) || l.relay);
    let sends = submits || !rules.networks.is_empty();
    if signing.keys.is_empty() {
        if sends && !has_smarthost(advice) {
            let problem = "no mail is signed: large providers refuse mail without DKIM";
            advice.say("dkim", problem, "`waypost dkim keygen` makes a key: add [dkim.NAME] for each domain of yours");
        }
        return;
    }
    for domain in rules.domains.iter().filter(|domain| sends && !domain.as_str().starts_with('.')) {
        let name = domain.as_str();
        let below = |above: &str| name.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'));
        let signed =
            signing.keys.iter().any(|key| key.domain.as_str() == name || key.subdomains && below(key.domain.as_str()));
        if !signed && signing.policy.fallback.is_none() {
            let problem = format!("no key signs mail of {name}, which is a domain of yours");
            advice.say("relay.domains", problem, "add [dkim.NAME] with this domain");
        }
    }
    if signing.policy.on_failure == OnFailure::Unsigned {
        let problem = "mail goes out unsigned when a key can't be used, and only the log tells";
        advice.say("signing.on-failure", problem, "write \"tempfail\", or take it out");
    }
    if !signing.policy.clients.authenticated && !signing.policy.clients.networks {
        advice.say("signing.clients", "nobody's mail is signed, though there are keys", "take it out");
    }
    for key in &signing.keys {
        if key.expires.is_some_and(|expires| expires < settings.delivery.schedule.give_up_after) {
            let problem = "signatures expire while mail still waits in queues";
            advice.say(
                &format!("dkim.{}.expires", key.name),
                problem,
                "write \"never\", or more than retry.give-up-after",
            );
        }
    }
}
