//! `[listeners.NAME]`, with what all listeners share: `[limits]`, `[smtp]`, `[relay]`, `[tls]`, `[auth]`. Their sockets
//! are read in `door.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Base, auth, dialogue, door, limits, relay, tls};
use crate::config::raw::Table;
use crate::listen::{Address, ClientCertificates, Config, Listener, ProxyFrom, TlsMode};
use crate::session;
use crate::smtp::Extension;

/// Port 2525 needs no privilege, and loopback is nobody's open relay.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2525);

/// Reads the sections.
pub(super) fn config(root: &Table<'_>, hostname: &Arc<str>, base: &Base) -> Config {
    let (tls, tls_watch) = tls::settings(&root.table("tls"), base);
    let auth::Auth { credentials, senders, offered, rules } = auth::config(&root.table("auth"), base);
    let has_authorities = tls.as_ref().is_some_and(|tls| tls.authorities.is_some());
    let (relay, everyone) = relay::rules(&root.table("relay"));
    let (mut dialogue, greeting) = dialogue::config(&root.table("smtp"), hostname, relay);
    dialogue.auth = rules;
    let shared = Shared { dialogue, has_certificate: tls.is_some(), has_authorities, offers_auth: offered, everyone };
    let listeners = listeners(root, &shared, base);
    let limits = limits::limits(&root.table("limits"), &shared.dialogue.relay.networks);
    let (client_names, greet_delay) = (greeting.client_names, greeting.delay);
    Config { listeners, limits, tls, tls_watch, credentials, senders, client_names, greet_delay }
}

/// What all listeners have in common.
struct Shared {
    dialogue: session::Config,
    has_certificate: bool,
    /// `[tls] client-authorities`.
    has_authorities: bool,
    offers_auth: bool,
    /// `[relay] allow-everyone`.
    everyone: bool,
}

fn listeners(root: &Table<'_>, shared: &Shared, base: &Base) -> Vec<Listener> {
    let mut taken: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut listeners = Vec::new();
    let written = root.named("listeners");
    if written.is_empty() {
        let tls = if shared.has_certificate { TlsMode::Starttls } else { TlsMode::None };
        let session = Arc::new(session_of(shared, tls, false, false));
        return vec![Listener {
            name: "smtp".into(),
            address: Address::Tcp(DEFAULT_ADDRESS),
            tls,
            client_certificates: ClientCertificates::None,
            proxy_from: ProxyFrom::default(),
            relay: false,
            allow_everyone: shared.everyone,
            session,
        }];
    }
    for (name, value) in written {
        let Some(table) = value.table() else { continue };
        let Some(listener) = listener(&name, &table, shared, base) else { continue };
        let any_port = matches!(listener.address, Address::Tcp(address) if address.port() == 0);
        let other = (!any_port).then(|| taken.insert(listener.address.to_string(), name)).flatten();
        if let Some(other) = other {
            let help = if matches!(listener.address, Address::Tcp(_)) { "use another port" } else { "use another one" };
            table.wrong(format!("listens on {} like [listeners.{other}]", listener.address), help);
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(name: &Arc<str>, table: &Table<'_>, shared: &Shared, base: &Base) -> Option<Listener> {
    let address = door::address(table, base);
    let modes = [("none", TlsMode::None), ("starttls", TlsMode::Starttls), ("implicit", TlsMode::Implicit)];
    let usual = if shared.has_certificate { TlsMode::Starttls } else { TlsMode::None };
    let tls = table.choice("tls", usual, &modes);
    if tls != TlsMode::None && !shared.has_certificate {
        table.wrong("has TLS but there is no certificate", "add [tls] with certificate and key");
    }
    let client_certificates = client_certificates(table, shared, tls);
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
    let lmtp = table.choice("protocol", false, &[("smtp", false), ("lmtp", true)]);
    let relay = table.bool("relay", false);
    let proxy_from = door::proxy_from(table, shared.everyone);
    let mut session = session_of(shared, tls, require_auth, plaintext);
    session.lmtp = lmtp;
    session.submission = table.bool("submission", false);
    dialogue::listener(table, &mut session);
    let listener = address.map(|address| Listener {
        name: name.clone(),
        address,
        tls,
        client_certificates,
        proxy_from,
        relay,
        allow_everyone: shared.everyone,
        session: Arc::new(session),
    });
    if let Some(listener) = &listener {
        door::check(table, listener);
    }
    table.finish();
    listener
}

fn client_certificates(table: &Table<'_>, shared: &Shared, tls: TlsMode) -> ClientCertificates {
    use ClientCertificates::{Ask, None, Require};
    let asked = table.choice("client-certificates", None, &[("none", None), ("ask", Ask), ("require", Require)]);
    if asked != None && tls == TlsMode::None {
        table.wrong("asks for certificates, which are only shown under TLS", "set tls to \"starttls\" or \"implicit\"");
    } else if asked == Require && !shared.has_authorities {
        table.wrong("requires certificates that nobody could vouch for", "add client-authorities to [tls]");
    }
    asked
}

fn session_of(shared: &Shared, tls: TlsMode, require_auth: bool, plaintext: bool) -> session::Config {
    let mut session = shared.dialogue.clone();
    session.extensions.set(Extension::StartTls, tls == TlsMode::Starttls);
    session.extensions.set(Extension::Auth, shared.offers_auth);
    session.require_auth = require_auth;
    session.allow_plaintext_auth = plaintext;
    session
}
