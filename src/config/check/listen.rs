//! `[listeners.NAME]`, with what all listeners share: `[limits]`, `[smtp]`, `[relay]`, `[tls]`, `[auth]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Base, auth, dialogue, limits, relay, tls};
use crate::config::raw::Table;
use crate::listen::{Config, Listener, TlsMode};
use crate::session;
use crate::smtp::Extension;

/// Port 2525 needs no privilege, and loopback is nobody's open relay.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2525);

/// Reads the sections.
pub(super) fn config(root: &Table<'_>, hostname: &Arc<str>, base: &Base) -> Config {
    let certificate = tls::certificate(&root.table("tls"), base);
    let auth::Auth { credentials, offered, rules } = auth::config(&root.table("auth"), base);
    let relay = relay::rules(&root.table("relay"));
    let (mut dialogue, greeting) = dialogue::config(&root.table("smtp"), hostname, relay);
    dialogue.auth = rules;
    let shared = Shared { dialogue, has_certificate: certificate.is_some(), offers_auth: offered };
    let listeners = listeners(root, &shared);
    let limits = limits::limits(&root.table("limits"), &shared.dialogue.relay.networks);
    Config {
        listeners,
        limits,
        certificate,
        credentials,
        client_names: greeting.client_names,
        greet_delay: greeting.delay,
    }
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
    let mut session = session_of(shared, tls, require_auth, plaintext);
    dialogue::listener(table, &mut session);
    table.finish();
    let session = Arc::new(session);
    Some(Listener { name: name.clone(), address: address?, tls, session })
}

fn session_of(shared: &Shared, tls: TlsMode, require_auth: bool, plaintext: bool) -> session::Config {
    let mut session = shared.dialogue.clone();
    session.extensions.set(Extension::StartTls, tls == TlsMode::Starttls);
    session.extensions.set(Extension::Auth, shared.offers_auth);
    session.require_auth = require_auth;
    session.allow_plaintext_auth = plaintext;
    session
}
