//! Where mail goes that should not: back to this relay, away for good, or with a password to whoever answers.

use std::sync::Arc;

use super::Advice;
use super::networks::is_public_address;
use super::outward::has_smarthost;
use crate::delivery::Destination;
use crate::hooks::{NextHop, Route, TlsPolicy};

pub(super) fn advise(advice: &mut Advice<'_>) {
    own_domains(advice);
    discarded(advice);
    let table = &advice.settings.routing;
    let written = table.domains.iter().map(|(domain, route)| (format!("routing.domains.{:?}", domain.as_str()), route));
    let default = table.default.iter().map(|route| ("routing.default".to_owned(), route));
    let destinations = advice.settings.delivery.destinations.iter();
    let inner = destinations.filter_map(|(name, destination)| match destination {
        Destination::Route(route) => Some((format!("destinations.{name}.route"), route)),
        _ => None,
    });
    let all: Vec<(String, Arc<Route>)> =
        written.chain(default).chain(inner).map(|(key, route)| (key, route.clone())).collect();
    for (key, route) in all {
        protection(advice, &key, &route);
    }
}

/// What is taken for a domain has to go somewhere else than to its exchanger, which is this relay. An entry that says
/// `"mx"` is the word of somebody who knows that: a second exchanger passes mail on to the first.
fn own_domains(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    if settings.routing.default.is_some() || !settings.plugins.plugins.is_empty() {
        return;
    }
    let Some(first) = settings.listen.listeners.first() else { return };
    for domain in &first.session.relay.domains {
        let name = domain.as_str();
        let routed =
            settings.routing.domains.keys().any(|known| {
                known.as_str() == name || known.as_str().starts_with('.') && name.ends_with(known.as_str())
            });
        if !routed {
            let problem = format!("mail for {name} is taken, and goes to its MX, which may be this relay itself");
            let help = format!(
                "write in [routing.domains] where it goes: {name:?} = \"smtp://HOST\", or \"mx\" if that is meant"
            );
            advice.say("relay.domains", problem, help);
        }
    }
}

fn discarded(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    let discards = |route: &Arc<Route>| {
        route.hops.iter().any(|hop| {
            matches!(hop, NextHop::Named(name)
                if settings.delivery.destinations.get(name) == Some(&Destination::Discard))
        })
    };
    if settings.routing.default.as_ref().is_some_and(discards) {
        let problem = "mail that nothing else is said about is taken and thrown away";
        advice.say("routing.default", problem, "name a destination that keeps it, or refuse it by a plugin");
    }
}

fn protection(advice: &mut Advice<'_>, key: &str, route: &Route) {
    let tls = match route.tls {
        TlsPolicy::Inherit if route.credential.is_some() => TlsPolicy::Verify,
        TlsPolicy::Inherit => advice.settings.delivery.tls,
        own => own,
    };
    let weak = !matches!(tls, TlsPolicy::Verify | TlsPolicy::Dane);
    if route.credential.is_some() && weak {
        let problem = "a password goes to whoever answers: the certificate is not judged";
        advice.say(&format!("{key}.tls"), problem, "write \"verify\", or leave tls out");
        return;
    }
    let smtp = route.hops.iter().find_map(|hop| match hop {
        NextHop::Smtp { host, port } => Some((host, *port)),
        _ => None,
    });
    let Some((host, port)) = smtp else { return };
    if port == 465 {
        let problem = "port 465 begins with TLS at once, which next hops are not spoken to with";
        advice.say(key, problem, "use port 587");
    }
    let public = host.parse().map_or_else(|_| key == "routing.default", is_public_address);
    if public && !matches!(tls, TlsPolicy::Verify | TlsPolicy::Dane | TlsPolicy::Encrypt) {
        let problem = format!("all of it goes to {host}, and in plain text if somebody on the way wants it so");
        let whole = if key == "routing.default" && has_smarthost(advice) { "as a table with hops and " } else { "" };
        advice.say(key, problem, format!("write the route {whole}tls = \"verify\""));
    }
}
