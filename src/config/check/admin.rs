//! `[admin]`: the socket, the network, the tokens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Base, SOCKET_PATH};
use crate::admin::{Config, Network, Role, Scrape, Token, TokenHash};
use crate::config::raw::{Table, Value};
use crate::listen::Certificate;

/// Reads the section.
pub(super) fn config(root: &Table<'_>, base: &Base) -> Config {
    let table = root.table("admin");
    let socket = socket_of(&table, base);
    let http = table.get("http").and_then(|value| value.table()).and_then(|table| network(&table, base));
    let tokens: Vec<Token> = table.named("tokens").iter().filter_map(|(name, value)| token(name, value)).collect();
    for (at, token) in tokens.iter().enumerate() {
        if tokens.iter().take(at).any(|other| other.hash == token.hash) {
            let problem = format!("token {} has the hash of another one", token.name);
            table.wrong(problem, "make one for each with `waypost token NAME`: who did what is told by it");
        }
    }
    table.finish();
    Config { socket, http, tokens }
}

/// The socket alone, whatever else may be wrong.
pub(in crate::config) fn socket(root: &Table<'_>, base: &Base) -> PathBuf {
    socket_of(&root.table("admin"), base)
}

fn socket_of(table: &Table<'_>, base: &Base) -> PathBuf {
    let socket = base.resolve(table.text("socket").unwrap_or("waypost-data/admin.sock"));
    if socket.as_os_str().len() > SOCKET_PATH {
        let problem = format!("{} is longer than {SOCKET_PATH} octets", socket.display());
        match table.get("socket") {
            Some(value) => value.wrong(problem, "sockets need a shorter path, such as /run/waypost/admin.sock"),
            None => table.wrong(problem, "set socket to a shorter path, such as /run/waypost/admin.sock"),
        }
    }
    socket
}

fn network(table: &Table<'_>, base: &Base) -> Option<Network> {
    const ADDRESS: &str = "write an address and a port, such as \"127.0.0.1:8025\"";
    if table.get("address").is_none() {
        table.missing("address", ADDRESS);
    }
    let address = table.parsed("address", |text| {
        text.parse::<SocketAddr>().map_err(|_| (format!("{text:?} is no address with a port"), ADDRESS.to_owned()))
    });
    let certificate = match (table.text("certificate"), table.text("key")) {
        (Some(chain), Some(key)) => Some(Certificate { chain: base.resolve(chain), key: base.resolve(key) }),
        (Some(_), None) => {
            table.missing("key", "write the path of the private key, a PEM file");
            None
        }
        (None, Some(_)) => {
            table.missing("certificate", "write the path of the certificate chain, a PEM file, leaf first");
            None
        }
        (None, None) => {
            if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
                let help = "name certificate and key, or listen on 127.0.0.1: tokens are not sent in clear";
                table.wrong("an address that others reach takes TLS", help);
            }
            None
        }
    };
    let words = [("token", Scrape::Token), ("open", Scrape::Open)];
    let metrics = table.choice("metrics", Scrape::Token, &words);
    table.finish();
    Some(Network { address: address?, certificate, metrics })
}

fn token(name: &Arc<str>, value: &Value<'_>) -> Option<Token> {
    const HASH: &str = "`waypost token NAME --role ROLE` prints the lines to write";
    let table = value.table()?;
    if table.get("hash").is_none() {
        table.missing("hash", HASH);
    }
    let hash = table.parsed("hash", |text| TokenHash::parse(text).map_err(|problem| (problem, HASH.to_owned())));
    if table.get("role").is_none() {
        table.missing("role", "write one of \"inject\", \"read\", \"operate\", \"admin\"");
    }
    let roles = [Role::Inject, Role::Read, Role::Operate, Role::Admin].map(|role| (role.word(), role));
    let role = table.get("role").and_then(|value| value.choice(&roles));
    table.finish();
    Some(Token { name: name.clone(), hash: hash?, role: role? })
}
