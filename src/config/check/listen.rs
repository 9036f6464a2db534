//! `[listeners.NAME]`, `[limits]`, `[smtp]`, `[relay]`, `[tls]`, `[auth]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Base, YEAR};
use crate::config::raw::{Table, Value};
use crate::listen::{Certificate, Config, Limits, Listener, TlsMode};
use crate::mail::Domain;
use crate::session::{self, Extensions, RelayRules};

/// Port 2525 needs no privilege, and loopback is nobody's open relay.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2525);

/// Reads the sections.
pub(super) fn config(root: &Table<'_>, hostname: &Arc<str>, base: &Base) -> Config {
    let certificate = certificate(&root.table("tls"), base);
    let auth = root.table("auth");
    let credentials = auth.text("credentials").map(|path| base.resolve(path));
    let offered = auth.bool("offer", credentials.is_some());
    auth.finish();
    let (dialogue, client_names) = dialogue(&root.table("smtp"), hostname, relay(&root.table("relay")));
    let shared = Shared { dialogue, has_certificate: certificate.is_some(), offers_auth: offered };
    let listeners = listeners(root, &shared);
    let limits = limits(&root.table("limits"));
    Config { listeners, limits, certificate, credentials, client_names }
}

/// What all listeners have in common.
struct Shared {
    dialogue: session::Config,
    has_certificate: bool,
    offers_auth: bool,
}

fn listeners(root: &Table<'_>, shared: &Shared) -> Vec<Listener> {
    let mut taken: BTreeMap<SocketAddr, Arc<str>> = BTreeMap::new();
    let mut listeners = Vec::new();
    let written = root.named("listeners");
    if written.is_empty() {
        let tls = if shared.has_certificate { TlsMode::Starttls } else { TlsMode::None };
        let session = Arc::new(session_of(shared, tls, false, false));
        return vec![Listener { name: "smtp".into(), address: DEFAULT_ADDRESS, tls, session }];
    }
    for (name, value) in written {
        let Some(table) = value.table() else { continue };
        let Some(listener) = listener(&name, &table, shared) else { continue };
        let other = (listener.address.port() != 0).then(|| taken.insert(listener.address, name)).flatten();
        if let Some(other) = other {
            table.wrong(format!("listens on {} like [listeners.{other}]", listener.address), "use another port");
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(name: &Arc<str>, table: &Table<'_>, shared: &Shared) -> Option<Listener> {
    const HELP: &str = "write an IP address and a port, such as \"127.0.0.1:2525\" or \"[::]:25\"";
    let address = match table.get("address") {
        Some(value) => {
            value.parsed(|text| text.parse().map_err(|_| (format!("{text:?} is no address"), HELP.to_owned())))
        }
        None => {
            table.missing("address", HELP);
            None
        }
    };
    let modes = [("none", TlsMode::None), ("starttls", TlsMode::Starttls), ("implicit", TlsMode::Implicit)];
    let usual = if shared.has_certificate { TlsMode::Starttls } else { TlsMode::None };
    let tls = table.choice("tls", usual, &modes);
    if tls != TlsMode::None && !shared.has_certificate {
        table.wrong("has TLS but there is no certificate", "add [tls] with certificate and key");
    }
    let require_auth = table.bool("require-auth", false);
    let plaintext = table.bool("allow-plaintext-auth", false);
    if require_auth && !shared.offers_auth {
        table.wrong("requires authentication but nobody could authenticate", "add [auth] with credentials");
    } else if require_auth && tls == TlsMode::None && !plaintext {
        table.wrong(
            "requires authentication, which is only offered under TLS",
            "set tls to \"starttls\" or \"implicit\"",
        );
    }
    table.finish();
    let session = Arc::new(session_of(shared, tls, require_auth, plaintext));
    Some(Listener { name: name.clone(), address: address?, tls, session })
}

fn session_of(shared: &Shared, tls: TlsMode, require_auth: bool, plaintext: bool) -> session::Config {
    let mut session = shared.dialogue.clone();
    session.extensions.starttls = tls == TlsMode::Starttls;
    session.extensions.auth = shared.offers_auth;
    session.require_auth = require_auth;
    session.allow_plaintext_auth = plaintext;
    session
}

fn certificate(table: &Table<'_>, base: &Base) -> Option<Certificate> {
    let chain = table.text("certificate").map(|path| base.resolve(path));
    let key = table.text("key").map(|path| base.resolve(path));
    table.finish();
    match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key }),
        (None, None) if !table.is_written() => None,
        (Some(_), None) => {
            table.missing("key", "write the path of the private key, a PEM file");
            None
        }
        (None, _) => {
            table.missing("certificate", "write the path of the certificate chain, a PEM file, leaf first");
            None
        }
    }
}

fn limits(table: &Table<'_>) -> Limits {
    const SECOND: Duration = Duration::from_secs(1);
    let usual = Limits::default();
    let limits = Limits {
        connections: table.count("connections", usual.connections, 1..=1_000_000),
        per_client: table.count("per-client", usual.per_client, 1..=1_000_000),
        command_timeout: table.duration("command-timeout", usual.command_timeout, SECOND..=YEAR),
        data_timeout: table.duration("data-timeout", usual.data_timeout, SECOND..=YEAR),
        session_timeout: table.duration("session-timeout", usual.session_timeout, SECOND..=YEAR),
        drain: table.duration("drain", usual.drain, Duration::ZERO..=Duration::from_secs(3600)),
    };
    table.finish();
    limits
}

/// `[smtp]`: the dialogue that all listeners share, and whether clients' names are looked up.
fn dialogue(table: &Table<'_>, hostname: &Arc<str>, relay: RelayRules) -> (session::Config, bool) {
    /// Offsets of 32 bits must do everywhere on the way, a little room for trace fields included.
    const TWO_GIB: u64 = (2 << 30) - 1;
    let config = session::Config {
        hostname: hostname.clone(),
        relay,
        extensions: Extensions { dsn: table.bool("dsn", true), ..Extensions::default() },
        // RFC 5321 section 4.5.3.1.7: at least 64 KiB.
        max_message_size: table.size("max-message-size", 50 << 20, 64 << 10..=TWO_GIB),
        max_header_size: usize::try_from(table.size("max-header-size", 256 << 10, 1 << 10..=16 << 20))
            .unwrap_or(256 << 10),
        // RFC 5321 section 4.5.3.1.8: at least 100.
        max_recipients: table.count("max-recipients", 1000, 100..=100_000),
        max_transactions: u32::try_from(table.integer("max-transactions", 1_000_000, 1..=1_000_000))
            .unwrap_or(1_000_000),
        max_errors: u32::try_from(table.integer("max-errors", 20, 1..=1_000_000)).unwrap_or(20),
        max_hops: table.count("max-hops", 100, 5..=1000),
        require_auth: false,
        allow_plaintext_auth: false,
    };
    let client_names = table.bool("client-names", false);
    table.finish();
    (config, client_names)
}

fn relay(table: &Table<'_>) -> RelayRules {
    let everyone = table.bool("allow-everyone", false);
    let networks = table.array("networks").iter().filter_map(|value| network(value, everyone)).collect();
    let domains = table.array("domains").iter().filter_map(domain_pattern).collect::<BTreeSet<_>>();
    table.finish();
    RelayRules { networks, domains }
}

/// A network of clients that may send to anybody. What is wider than the widest private network (10.0.0.0/8, fc00::/7)
/// makes an open relay, and is taken only from somebody who says that they want one.
fn network(value: &Value<'_>, everyone: bool) -> Option<IpNet> {
    let net = value.parsed(|text| {
        let help = "write a network such as \"192.0.2.0/24\", or an address".to_owned();
        let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
        parsed.ok_or((format!("{text:?} is no network"), help))
    })?;
    if net != net.trunc() {
        value.wrong(format!("{net} has bits set behind its prefix"), &format!("write \"{}\"", net.trunc()));
        return None;
    }
    let widest = if net.addr().is_ipv4() { 8 } else { 7 };
    if net.prefix_len() < widest && !everyone {
        value.wrong(
            format!("{net} lets strangers send through this relay to anybody"),
            "name your own networks; if an open relay is what you want, say allow-everyone = true",
        );
        return None;
    }
    Some(net)
}

/// A domain, or with a leading dot all subdomains of one.
pub(super) fn domain_pattern(value: &Value<'_>) -> Option<Domain> {
    value.parsed(read_domain_pattern)
}

/// As `domain_pattern`, of a text.
pub(super) fn read_domain_pattern(text: &str) -> Result<Domain, (String, String)> {
    let help = || "write a domain, such as \"example.org\", or \".example.org\" for all below it".to_owned();
    Domain::parse_pattern(text).map_err(|_| (format!("{text:?} is no domain"), help()))
}
