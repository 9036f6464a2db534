//! Who may come in and send, and how well the door is kept: `hostname`, `[relay]`, `[listeners]`, `[tls]`, `[auth]`.

use std::net::SocketAddr;

use super::Advice;
use super::networks::{is_public, is_public_address, is_wider};
use crate::admin::Scrape;
use crate::listen::{Address, ClientCertificates, Listener, Minimum, TlsMode};
use crate::session::LineEnds;
use crate::smtp::Extension;

/// Endings of names that no other network knows.
const PRIVATE_NAMES: [&str; 7] = [".local", ".localdomain", ".lan", ".home", ".internal", ".intranet", ".invalid"];

/// Front ends and proxies are a few hosts: whoever names more of them has named clients.
const FRONT_ENDS: (u8, u8) = (24, 64);

/// A thousand addresses: more than an office has, and less than a provider.
const CLIENTS: (u8, u8) = (22, 40);

pub(super) fn advise(advice: &mut Advice<'_>) {
    hostname(advice);
    relay(advice);
    let listeners = &advice.settings.listen.listeners;
    for listener in listeners {
        exposure(advice, listener);
        ports(advice, listener);
        dialogue(advice, listener);
        trusted(advice, listener);
    }
    overlaps(advice);
    tls(advice);
    auth(advice);
    api(advice);
}

fn hostname(advice: &mut Advice<'_>) {
    let name = &*advice.settings.hostname;
    let help = "write the name that DNS has for this host, such as \"relay.example.org\"";
    if !name.contains('.') {
        advice.say("hostname", format!("{name:?} is not fully qualified: other servers refuse such a greeting"), help);
    } else if PRIVATE_NAMES.iter().any(|end| name.ends_with(end)) {
        advice.say("hostname", format!("{name:?} is known in your own network only: others refuse it"), help);
    }
}

fn relay(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    let Some(first) = settings.listen.listeners.first() else { return };
    let rules = first.session.relay.clone();
    if first.allow_everyone {
        let help = "take it out, and list your own networks; strangers authenticate";
        advice.say("relay.allow-everyone", "makes this an open relay, which blocklists find within hours", help);
    }
    for (at, net) in rules.networks.iter().enumerate() {
        let key = format!("relay.networks[{at}]");
        if is_public(net) && is_wider(net, (8, 7)) {
            advice.say(&key, format!("{net} lets strangers send to anybody"), "name your own networks only");
        } else if is_public(net) && is_wider(net, CLIENTS) {
            let problem = format!("{net} is more than a thousand public addresses, each of which may send to anybody");
            advice.say(&key, problem, "name the hosts that have to, and let others authenticate");
        }
    }
    for domain in rules.domains.iter().filter(|domain| !domain.as_str().trim_start_matches('.').contains('.')) {
        let problem = format!("{domain} is a whole top-level domain: strangers may send to everybody below it");
        advice.say("relay.domains", problem, "name the domains that this relay takes mail for");
    }
    let plugins = settings.plugins.plugins.values();
    let by_plugin = plugins.clone().any(|plugin| plugin.grants.relay);
    let authenticated = settings.listen.listeners.iter().any(|l| l.session.extensions.has(Extension::Auth));
    let by_listener = settings.listen.listeners.iter().any(|listener| listener.relay);
    if rules.networks.is_empty() && rules.domains.is_empty() && !by_plugin && !authenticated && !by_listener {
        let help = "list networks that may send to anybody, or domains that anybody may send to, or add [auth]";
        advice.say("relay", "nobody may send anything: all mail is refused", help);
    }
}

/// True if others than this machine reach it; of sockets that are handed over nobody knows yet.
fn is_outside(listener: &Listener) -> bool {
    matches!(listener.address, Address::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

fn port(listener: &Listener) -> Option<u16> {
    match listener.address {
        Address::Tcp(address) => Some(address.port()),
        _ => None,
    }
}

/// What crosses the network readable.
fn exposure(advice: &mut Advice<'_>, listener: &Listener) {
    let key = format!("listeners.{}", listener.name);
    let session = &listener.session;
    let auth = session.extensions.has(Extension::Auth);
    if is_outside(listener) && listener.tls == TlsMode::None {
        let help = if advice.settings.listen.tls.is_some() {
            "set tls to \"starttls\" or \"implicit\""
        } else {
            "add [tls] with certificate and key"
        };
        let problem = if session.submission {
            "takes people's mail without TLS: it crosses the network readable"
        } else {
            "takes mail from the network without TLS"
        };
        advice.say(&format!("{key}.tls"), problem, help);
    }
    if is_outside(listener) && auth && session.allow_plaintext_auth {
        let help = "take it out: clients then authenticate once TLS has begun";
        advice.say(
            &format!("{key}.allow-plaintext-auth"),
            "passwords cross the network readable: AUTH is offered before TLS",
            help,
        );
    }
    if is_outside(listener) && session.submission && !session.require_auth {
        let problem = "takes submissions of clients that did not authenticate";
        advice.say(&format!("{key}.require-auth"), problem, "set require-auth = true");
    }
    if listener.relay && listener.allow_everyone && is_outside(listener) {
        let problem = "whoever connects may send to anybody";
        advice.say(&format!("{key}.relay"), problem, "take it out, and list your own networks in relay.networks");
    }
    if let Address::Unix(path, mode) = &listener.address
        && mode & 0o002 != 0
        && listener.relay
        // That is what `sendmail` is for, and the relay knows there who it is.
        && &*listener.name != "sendmail"
    {
        let problem = format!("every user of this machine may send to anybody through {}", path.display());
        advice.say(&format!("{key}.socket-mode"), problem, "write \"0660\", and put who may send into its group");
    }
}

/// Ports mean something to others.
fn ports(advice: &mut Advice<'_>, listener: &Listener) {
    let key = format!("listeners.{}", listener.name);
    let session = &listener.session;
    match port(listener) {
        Some(465) if listener.tls != TlsMode::Implicit => {
            let problem = "clients start TLS at once on port 465 (RFC 8314), and this listener does not";
            advice.say(&format!("{key}.tls"), problem, "set tls to \"implicit\", or use port 587");
        }
        Some(port @ (465 | 587)) if !session.submission => {
            let problem = format!("port {port} is for submission (RFC 6409), which repairs what clients leave out");
            advice.say(&format!("{key}.submission"), problem, "set submission = true");
        }
        Some(25) if session.require_auth => {
            let problem = "other servers bring mail to port 25, and they do not authenticate: none comes in";
            advice.say(&format!("{key}.require-auth"), problem, "let people submit on port 587 or 465");
        }
        Some(25) if listener.tls == TlsMode::Implicit => {
            let problem = "other servers begin in plain text on port 25: none of them gets in";
            advice.say(&format!("{key}.tls"), problem, "set tls to \"starttls\"");
        }
        _ => {}
    }
    if port(listener) == Some(25) && listener.client_certificates == ClientCertificates::Require {
        let problem = "few servers show a certificate: those that do not can't bring mail under TLS";
        advice.say(&format!("{key}.client-certificates"), problem, "write \"ask\", or require it on another port");
    }
}

fn dialogue(advice: &mut Advice<'_>, listener: &Listener) {
    let session = &listener.session;
    let (own, shared) = (format!("listeners.{}", listener.name), "smtp");
    let key = |advice: &Advice<'_>, name: &str| {
        let here = format!("{own}.{name}");
        if advice.places.has(&here) { here } else { format!("{shared}.{name}") }
    };
    if is_outside(listener) && session.line_ends == LineEnds::Normalise {
        let key = key(advice, "bare-line-ends");
        let problem =
            format!("listener {} mends line ends of strangers, who can hide a message in another", listener.name);
        advice.say(&key, problem, "write \"reject\"; give old devices a listener of their own, on an address of yours");
    }
    if is_outside(listener) && !session.strict_pipelining {
        let key = key(advice, "strict-pipelining");
        let problem =
            format!("listener {} lets clients speak out of turn, as hardly any but spammers do", listener.name);
        advice.say(&key, problem, "take it out");
    }
}

/// Who is believed without proof.
fn trusted(advice: &mut Advice<'_>, listener: &Listener) {
    let key = format!("listeners.{}", listener.name);
    for (at, net) in listener.session.xclient_from.iter().enumerate() {
        if is_public(net) || is_wider(net, FRONT_ENDS) {
            let problem = format!("whoever is in {net} may say that it is anybody, and authenticated");
            advice.say(&format!("{key}.xclient-from[{at}]"), problem, "name the addresses of your front ends");
        }
    }
    for (at, net) in listener.proxy_from.networks.iter().enumerate() {
        if is_public(net) || is_wider(net, FRONT_ENDS) {
            let problem = format!("whoever is in {net} may say which address it has");
            advice.say(&format!("{key}.proxy-from[{at}]"), problem, "name the addresses of your proxies");
        }
    }
}

/// One of two sockets that want the same port can't be had.
fn overlaps(advice: &mut Advice<'_>) {
    let tcp = |listener: &Listener| match listener.address {
        Address::Tcp(address) if address.port() != 0 => Some((listener.name.clone(), address)),
        _ => None,
    };
    let sockets: Vec<_> = advice.settings.listen.listeners.iter().filter_map(tcp).collect();
    for (at, (name, address)) in sockets.iter().enumerate() {
        let before = sockets.get(..at).unwrap_or_default();
        if let Some((other, at)) = before.iter().find(|(_, other)| covers(*other, *address) || covers(*address, *other))
        {
            let problem = format!("{address} and {at} of [listeners.{other}] are the same port: the relay can't start");
            let help = "use another port, or name the single addresses in both";
            advice.say(&format!("listeners.{name}.address"), problem, help);
        }
    }
}

/// `[::]` takes IPv4 as well, as long as the system is not told otherwise.
fn covers(all: SocketAddr, one: SocketAddr) -> bool {
    all != one && all.port() == one.port() && all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

fn tls(advice: &mut Advice<'_>) {
    let listen = &advice.settings.listen;
    let Some(tls) = &listen.tls else { return };
    if listen.tls_watch.is_none() {
        let problem = "a renewed certificate is not noticed: the old one is served until it has expired";
        advice.say("tls.watch", problem, "take it out, or have whoever renews it call `waypost reload`");
    }
    let outside = |listener: &&Listener| is_outside(listener) && port(listener) == Some(25);
    if tls.minimum == Minimum::Tls13 && listen.listeners.iter().any(|listener| outside(&listener)) {
        let problem = "servers without TLS 1.3 will send in plain text to port 25 instead";
        advice.say("tls.minimum", problem, "write \"1.2\"; nothing older is ever spoken");
    }
    let asks = listen.listeners.iter().any(|listener| listener.client_certificates != ClientCertificates::None);
    if tls.authorities.is_some() && !asks {
        let problem = "no listener asks clients for a certificate";
        advice.say("tls.client-authorities", problem, "set client-certificates of a listener, or take it out");
    }
    if listen.listeners.iter().all(|listener| listener.tls == TlsMode::None) {
        advice.say("tls", "no listener uses it", "set tls of a listener to \"starttls\" or \"implicit\"");
    }
}

fn auth(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    let listen = &settings.listen;
    if listen.credentials.is_some() {
        let offered = |listener: &Listener| {
            let session = &listener.session;
            session.extensions.has(Extension::Auth) && (listener.tls != TlsMode::None || session.allow_plaintext_auth)
        };
        if !listen.listeners.iter().any(offered) {
            let problem = "there are accounts, and no listener offers AUTH";
            advice.say("auth.credentials", problem, "give a listener TLS, and leave offer alone");
        } else if listen.senders.is_none() {
            let problem = "whoever has one password may write as everybody";
            let help = "say in a file who may write as whom, and name it in senders (NAME: ann@example.org)";
            advice.say("auth.senders", problem, help);
        }
    }
    let guessed = listen.listeners.iter().any(|l| is_outside(l) && l.session.extensions.has(Extension::Auth));
    if guessed && listen.limits.ban.errors == 0 {
        let problem = "nobody is banned: passwords can be guessed for ever";
        advice.say("limits.ban.errors", problem, "take it out; a failed AUTH counts 10 of 1000");
    }
}

/// The admin API, where others than this machine reach it.
fn api(advice: &mut Advice<'_>) {
    let admin = &advice.settings.admin;
    let Some(http) = &admin.http else { return };
    let ip = http.address.ip().to_canonical();
    if !ip.is_loopback() && (ip.is_unspecified() || is_public_address(ip)) {
        let problem = format!("whoever reaches {} may try tokens at the API that governs this relay", http.address);
        let help = "listen on 127.0.0.1 or an address of an internal network, and let people in by a tunnel or a proxy";
        advice.say("admin.http.address", problem, help);
    }
    if !ip.is_loopback() && http.metrics == Scrape::Open {
        let problem = "whoever reaches the API may read how much mail this relay carries, and how it is configured";
        advice.say("admin.http.metrics", problem, "write \"token\", and give who scrapes a token with the role read");
    }
    let scraped = http.metrics == Scrape::Open;
    if admin.tokens.is_empty() && !scraped {
        let help = "make one with `waypost token NAME --role read`, or take [admin.http] out";
        advice.say("admin.http", "nobody may ask: there is no token", help);
    }
}
