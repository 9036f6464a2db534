//! A plugin for the tests of the plugin host: uses WASI 0.2 and asks servers over HTTP, at RCPT.
//!
//! What it does is chosen by the recipient's local part, and what came of it is the text of its refusal, so that a test
//! reads like a table. This file asks WASI for things; `fetch` asks servers.

mod fetch;

/// WASI's bindings.
pub(crate) mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "fetcher", generate_all });
}

use waypost_plugin::{OnRcpt, Outcome, Recipient, SessionVerdict, config, reply};

use bindings::wasi::cli::{environment, exit, stderr, stdin, stdout};
use bindings::wasi::clocks::{monotonic_clock, wall_clock};
use bindings::wasi::filesystem::preopens;
use bindings::wasi::random::random;
use bindings::wasi::sockets::network::IpAddressFamily;
use bindings::wasi::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

/// The plugin.
#[derive(Debug)]
pub struct Fetcher;

impl OnRcpt for Fetcher {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let said = match candidate.mailbox.local_part.as_str() {
            "fetch" => repeated(|| fetch::get(&setting("url"), number("send"))),
            "leave" => fetch::leave(&setting("left")).unwrap_or_else(|| fetch::get(&setting("url"), 0)),
            "fields" => fetch::fields(),
            "survey" => survey(),
            "say" => say(),
            "sleep" => sleep(),
            "random" => random::get_random_bytes(number("octets")).len().to_string(),
            "exit" => {
                exit::exit(Ok(()));
                "still here".to_owned()
            }
            other => return Err(format!("it knows nothing of {other}")),
        };
        Ok(reply::reject(550, (5, 7, 1), &said))
    }
}

fn setting(key: &str) -> String {
    config::get(key).unwrap_or_default()
}

fn number(key: &str) -> u64 {
    setting(key).parse().unwrap_or_default()
}

/// As often as the configuration has it, once if it does not say.
fn repeated(once: impl Fn() -> String) -> String {
    (0..number("times").max(1)).map(|_| once()).collect::<Vec<_>>().join(", ")
}

/// All that a program expects to be there.
fn survey() -> String {
    let network = instance_network::instance_network();
    let input = stdin::get_stdin().blocking_read(1).map(|read| read.len());
    format!(
        "environment {}, arguments {}, folders {}, input {}, tcp {:?}, udp {:?}, names {}, time {}",
        environment::get_environment().len(),
        environment::get_arguments().len(),
        preopens::get_directories().len(),
        if input.is_err() { "closed" } else { "open" },
        tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).err().map(|error| error.name()),
        udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6).err().map(|error| error.name()),
        ip_name_lookup::resolve_addresses(&network, "localhost").err().map_or("found", |error| error.name()),
        wall_clock::now().seconds,
    )
}

fn say() -> String {
    // What can't be written will be missed.
    let _ = stdout::get_stdout().blocking_write_and_flush(b"half a ");
    let _ = stdout::get_stdout().blocking_write_and_flush(b"line\r\n\nand an end");
    let _ = stderr::get_stderr().blocking_write_and_flush(b"\x1b[31mred\n");
    "said".to_owned()
}

fn sleep() -> String {
    monotonic_clock::subscribe_duration(number("milliseconds") * 1_000_000).block();
    "slept".to_owned()
}

waypost_plugin::export!(Fetcher: on_rcpt);
