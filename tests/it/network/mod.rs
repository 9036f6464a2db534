//! A network of a test's own: name servers, mail hosts that do what a script says, and a relay that knows no other.
//!
//! All of it is on loopback, on addresses that belong to this network alone, so that all hosts share one port as the
//! world's mail hosts do, and one that goes away can come back where it was. Knows nothing of what is being tested.

mod names;
mod peer;
mod script;
mod session;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use hickory_server::proto::rr::RecordType;
use tokio::runtime::Runtime;

use crate::harness::{Office, Relay};
pub(crate) use names::{Fault, Names};
pub(crate) use peer::{Peer, Received};

/// Time-outs of the relay, so that who waits for them does not wait long.
const TIMEOUTS: &str = "connect = \"1s\", greeting = \"1s\", ehlo = \"1s\", tls = \"1s\", auth = \"1s\", mail = \"1s\", \
                        rcpt = \"1s\", data = \"1s\", block = \"1s\", final = \"1s\", quit = \"1s\"";

/// The network. It goes with the value.
pub(crate) struct Network {
    /// Dropped first: servers end with it.
    runtime: Runtime,
    /// `127.a.b`: of no other network in this process, and hardly of one in another.
    net: [u8; 3],
    last: AtomicU8,
    port: u16,
    pub(crate) names: Names,
    pub(crate) office: Office,
    /// Sockets that are bound, so that nobody else is met there.
    held: Mutex<Vec<socket2::Socket>>,
    folder: tempfile::TempDir,
}

impl Network {
    /// With a name server, zones unsigned.
    pub(crate) fn new() -> Self {
        Self::start(false)
    }

    /// With a name server whose zones are signed, but for `insecure.test`.
    pub(crate) fn signed() -> Self {
        Self::start(true)
    }

    fn start(signed: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let net = [127, fastrand::u8(1..=254), fastrand::u8(..)];
        let first = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        first.bind(&SocketAddr::from((address(net, 1), 0)).into()).unwrap();
        let port = first.local_addr().unwrap().as_socket().unwrap().port();
        let names = Names::start(runtime.handle().clone(), address(net, 1), signed);
        let held = Mutex::new(vec![first]);
        let folder = tempfile::tempdir().unwrap();
        if signed {
            std::fs::write(folder.path().join("anchor"), names.trust_anchor() + "\n").unwrap();
        }
        Self { runtime, net, last: AtomicU8::new(1), port, names, office: Office::new(), held, folder }
    }

    /// What a relay needs to live here; to be continued by keys of `[delivery]`, or by tables.
    pub(crate) fn relay(&self, tables: &str) -> Relay {
        self.relay_with(&format!("timeouts = {{ {TIMEOUTS} }}\n{tables}"))
    }

    /// The same, with time-outs of its own.
    pub(crate) fn relay_with(&self, tables: &str) -> Relay {
        let anchor = self.folder.path().join("anchor");
        let anchor =
            if anchor.exists() { format!("dnssec = \"validate\"\ntrust-anchor = {anchor:?}") } else { String::new() };
        let (port, names) = (self.port, self.names.address());
        Relay::start_insisting(&format!(
            "mx-port = {port}\nnever = []\n{tables}\n[dns]\nservers = [\"{names}\"]\ntimeout = \"1s\"\nattempts = 0\n{anchor}\n"
        ))
    }

    /// The same for a relay that asks no name server.
    pub(crate) fn relay_without_names(&self, tables: &str) -> Relay {
        let port = self.port;
        Relay::start_insisting(&format!("mx-port = {port}\ntimeouts = {{ {TIMEOUTS} }}\n{tables}\n"))
    }

    /// The same for one that is patient, and leaves a next hop alone for a while after a failure.
    pub(crate) fn patient_relay(&self, tables: &str) -> Relay {
        Relay::start(&format!("mx-port = {}\ntimeouts = {{ greeting = \"60s\" }}\n{tables}\n", self.port))
    }

    /// The next address of this network.
    pub(crate) fn address(&self) -> Ipv4Addr {
        address(self.net, self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A mail host, with a name and an address record.
    pub(crate) fn host(&self, name: &str, script: &str) -> Peer {
        let address = self.address();
        self.names.add(&format!("{name} A {address}"));
        self.listen(name, address.into(), script)
    }

    /// The mail host of a domain: its MX is `mx.DOMAIN`.
    pub(crate) fn domain(&self, domain: &str, script: &str) -> Peer {
        self.names.add(&format!("{domain} MX 10 mx.{domain}"));
        self.host(&format!("mx.{domain}"), script)
    }

    /// A mail host at an address of this machine, without a record.
    pub(crate) fn listen(&self, name: &str, address: IpAddr, script: &str) -> Peer {
        Peer::start(self.runtime.handle(), SocketAddr::new(address, self.port), name, script, &self.office)
    }

    /// An LMTP server on a Unix socket.
    pub(crate) fn listen_unix(&self, path: &std::path::Path, script: &str) -> Peer {
        Peer::start_unix(self.runtime.handle(), path, script, &self.office)
    }

    /// An address where connections are refused.
    pub(crate) fn nobody(&self) -> Ipv4Addr {
        let (address, socket) = self.bound();
        self.held.lock().unwrap().push(socket);
        address
    }

    /// An address that does not answer, as behind a firewall: the queue of connections not yet accepted is full there, so
    /// the system drops further ones without a word.
    pub(crate) fn silence(&self) -> Ipv4Addr {
        let (address, socket) = self.bound();
        socket.listen(0).unwrap();
        let mut held = self.held.lock().unwrap();
        for _ in 0..3 {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&SocketAddr::from((address, self.port)).into());
            held.push(client);
        }
        held.push(socket);
        address
    }

    fn bound(&self) -> (Ipv4Addr, socket2::Socket) {
        let address = self.address();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((address, self.port)).into()).unwrap();
        (address, socket)
    }
}

fn address(net: [u8; 3], host: u8) -> Ipv4Addr {
    Ipv4Addr::new(net[0], net[1], net[2], host)
}

/// The type of a record as it is written in a zone.
fn record_type(word: &str) -> RecordType {
    word.parse().unwrap_or_else(|_| panic!("{word} is no type of record"))
}

/// What several threads and tasks see, and what they wait for.
#[derive(Default)]
struct Watched<T> {
    value: Mutex<T>,
    changed: std::sync::Condvar,
}

impl<T> Watched<T> {
    fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
        changed
    }

    /// Looks whenever it changed, until there is something to see; `None` after a while without.
    fn wait<R>(&self, mut look: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let end = std::time::Instant::now() + crate::harness::PATIENCE;
        let mut value = self.value.lock().unwrap();
        loop {
            if let Some(seen) = look(&mut value) {
                return Some(seen);
            }
            let left = end.checked_duration_since(std::time::Instant::now())?;
            value = self.changed.wait_timeout(value, left).unwrap().0;
        }
    }
}

type Shared<T> = Arc<Watched<T>>;
