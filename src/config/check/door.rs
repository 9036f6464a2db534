//! The socket of a `[listeners.NAME]`: where it is, and what may come through it.

use super::relay::trusted_network;
use super::{Base, SOCKET_PATH};
use crate::config::raw::{Table, Value};
use crate::listen::{Address, Listener, ProxyFrom, fits};

const HELP: &str = "write an IP address and a port, such as \"127.0.0.1:2525\" or \"[::]:25\"; or \"unix:/PATH\", or \
                    \"systemd:NAME\"";

/// Reads `address` and `socket-mode`.
pub(super) fn address(table: &Table<'_>, base: &Base) -> Option<Address> {
    /// The relay's own user and group.
    const USUAL: u32 = 0o660;
    let mode = table.parsed("socket-mode", |text| {
        let octal = text.len() <= 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
        mode.ok_or((format!("{text:?} is no mode"), "write permissions in octal: \"0660\"".to_owned()))
    });
    let Some(value) = table.get("address") else {
        table.missing("address", HELP);
        return None;
    };
    let address = read(&value, base, mode.unwrap_or(USUAL))?;
    if !matches!(address, Address::Unix(..))
        && let Some(value) = table.get("socket-mode")
    {
        value.wrong("is for socket files that the relay makes", "remove it, or set address to \"unix:/PATH\"");
    }
    Some(address)
}

fn read(value: &Value<'_>, base: &Base, mode: u32) -> Option<Address> {
    value.parsed(|text| {
        if let Some(path) = text.strip_prefix("unix:") {
            let whole = base.resolve(path);
            return match whole.as_os_str().len() {
                _ if path.is_empty() => Err(("has no path".to_owned(), HELP.to_owned())),
                length if length > SOCKET_PATH => {
                    let problem = format!("{} is longer than {SOCKET_PATH} octets", whole.display());
                    Err((problem, "sockets need a shorter path, such as /run/waypost/smtp.sock".to_owned()))
                }
                _ => Ok(Address::Unix(whole, mode)),
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // systemd.socket(5): names of descriptors are plain, and have no colon, which parts them.
            let plain =
                !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            let help = "write systemd:NAME with the FileDescriptorName of the socket unit".to_owned();
            return plain.then(|| Address::Systemd(name.into())).ok_or((format!("{name:?} is no name"), help));
        }
        text.parse().map(Address::Tcp).map_err(|_| (format!("{text:?} is no address"), HELP.to_owned()))
    })
}

/// Reads `proxy-from`.
pub(super) fn proxy_from(table: &Table<'_>, everyone: bool) -> ProxyFrom {
    let mut from = ProxyFrom::default();
    for value in table.array("proxy-from") {
        if value.as_text() == Some("unix") {
            from.unix = true;
        } else {
            from.networks.extend(trusted_network(&value, everyone, "lets strangers say that they are anybody"));
        }
    }
    from
}

/// What does not go together.
pub(super) fn check(table: &Table<'_>, listener: &Listener) {
    if let Address::Tcp(address) = listener.address
        && let Err(problem) = fits(listener, address)
    {
        let help = if listener.session.lmtp && address.port() == 25 {
            "use another port, such as 24"
        } else {
            "listen on loopback or on a Unix socket; if an open relay is what you want, say relay.allow-everyone = true"
        };
        table.wrong(problem, help);
    }
    let from = &listener.proxy_from;
    if listener.relay && !from.is_empty() && !listener.allow_everyone {
        let problem = "relay = true lets whoever reaches the proxy send through this relay to anybody";
        table.wrong(problem, "leave it out and list the clients in relay.networks");
    }
    match (&listener.address, table.get("proxy-from")) {
        (Address::Tcp(_), Some(value)) if from.unix => {
            value.wrong("\"unix\" never connects to a TCP address", "list the networks of the proxies");
        }
        (Address::Unix(..), Some(value)) if !from.networks.is_empty() => {
            value.wrong("nobody connects to a socket file from a network", "write proxy-from = [\"unix\"]");
        }
        _ => {}
    }
}
