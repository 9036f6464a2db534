//! `[sendmail]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Base;
use super::door;
use crate::config::raw::Table;
use crate::listen::{Address, Listener};
use crate::mail::Domain;
use crate::maildrop::{Config, Server};
use crate::suggest::nearest;

/// The listener that `sendmail` speaks to, unless another one is named.
const LISTENER: &str = "sendmail";

/// Reads the section, with the listeners that there are.
pub(super) fn config(table: &Table<'_>, base: &Base, listeners: &[Listener]) -> Config {
    let find = |name: &str| listeners.iter().find(|listener| *listener.name == *name);
    let named = table.get("listener").and_then(|value| {
        let name = value.text()?;
        let found = find(name);
        if found.is_none() {
            let names = listeners.iter().map(|listener| &*listener.name);
            let help = match nearest(name, names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("define it: [listeners.{name}]"),
            };
            value.wrong(format!("there is no [listeners.{name}]"), &help);
        }
        found
    });
    let listener = named.or_else(|| find(LISTENER)).or(listeners.first());
    let mut config = Config { folder: folder(table, base), ..Config::default() };
    if let Some(listener) = listener {
        config.listener = listener.name.clone();
        config.server = server(&listener.address).unwrap_or(config.server);
        config.max_message_size = listener.session.max_message_size;
    }
    table.finish();
    config
}

/// The section by itself, of a file that may be wrong in any other way; and the relay's name.
pub(crate) fn alone(root: &Table<'_>, file: &Path) -> (Config, Option<Arc<str>>) {
    let base = Base::of(root, file);
    let table = root.table("sendmail");
    let listeners = root.named("listeners");
    let wanted = table.text("listener").unwrap_or(LISTENER);
    let found = listeners.iter().find(|(name, _)| **name == *wanted).or(listeners.first());
    let mut config = Config { folder: folder(&table, &base), ..Config::default() };
    if let Some((name, value)) = found
        && let Some(listener) = value.table()
    {
        config.listener = name.clone();
        let address = door::address(&listener, &base);
        config.server = address.as_ref().and_then(server).unwrap_or(config.server);
    }
    config.max_message_size = root.table("smtp").size("max-message-size", config.max_message_size, 0..=i32::MAX as u64);
    let hostname = root.text("hostname").and_then(|text| Domain::parse(text).ok());
    (config, hostname.map(|name| name.as_str().into()))
}

fn folder(table: &Table<'_>, base: &Base) -> PathBuf {
    table.text("folder").map_or_else(|| Config::default().folder, |path| base.resolve(path))
}

/// Where a client on this machine finds it; none: only the service manager knows.
fn server(address: &Address) -> Option<Server> {
    match address {
        Address::Tcp(address) => {
            let mut address = *address;
            if address.ip().is_unspecified() {
                let v4 = address.is_ipv4();
                address.set_ip(if v4 {
                    std::net::Ipv4Addr::LOCALHOST.into()
                } else {
                    std::net::Ipv6Addr::LOCALHOST.into()
                });
            }
            Some(Server::Tcp(address))
        }
        Address::Unix(path, _) => Some(Server::Unix(path.clone())),
        Address::Systemd(_) => None,
    }
}
