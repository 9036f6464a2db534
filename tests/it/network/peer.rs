//! A scripted mail host: where it listens, and what is known of all who came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use super::script::{Script, Shown};
use super::session::{Session, Wire};
use super::{Shared, Watched};
use crate::harness::Office;

/// The host. Its sessions end with the network.
pub(crate) struct Peer {
    address: Option<SocketAddr>,
    certificate: Option<Vec<u8>>,
    shared: Shared<State>,
}

/// What its sessions share.
pub(super) struct State {
    pub(super) script: Script,
    taken: VecDeque<Received>,
    said: Vec<String>,
    comers: Vec<Comer>,
    /// Stages at which a session ended.
    pub(super) ended: usize,
    pub(super) gate_open: bool,
}

/// One who connected.
struct Comer {
    at: Instant,
    is_there: bool,
    peak: usize,
}

/// A message it took.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Argument of MAIL, without its angle brackets.
    pub(crate) sender: String,
    /// Arguments of the RCPTs that it took.
    pub(crate) recipients: Vec<String>,
    /// Transparency undone.
    pub(crate) content: Vec<u8>,
    /// MAIL and the accepted RCPTs whole, as they came.
    pub(crate) envelope: Vec<String>,
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// It came under TLS.
    pub(crate) secured: bool,
    /// It came by BDAT.
    pub(crate) chunked: bool,
    /// Who authenticated.
    pub(crate) identity: Option<String>,
}

impl Received {
    /// As text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

impl Peer {
    pub(super) fn start(runtime: &Handle, address: SocketAddr, name: &str, script: &str, office: &Office) -> Self {
        let (shared, (tls, certificate)) = (state(script), acceptor(script, name, office).unzip());
        let listener = runtime.block_on(async {
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(1024).unwrap();
            socket.set_nonblocking(true).unwrap();
            TcpListener::from_std(socket.into()).unwrap()
        });
        let of_loop = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                attend(&of_loop, Wire::Tcp(stream), tls.clone());
            }
        });
        Self { address: Some(address), certificate, shared }
    }

    pub(super) fn start_unix(runtime: &Handle, path: &Path, script: &str, office: &Office) -> Self {
        let (shared, (tls, certificate)) = (state(script), acceptor(script, "localhost", office).unzip());
        let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
        let of_loop = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                attend(&of_loop, Wire::Unix(stream), tls.clone());
            }
        });
        Self { address: None, certificate, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// What it shows, in DER.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.clone()
    }

    /// From now on it is a good host.
    pub(crate) fn recovers(&self) {
        self.shared.change(|state| state.script.forget_rules());
    }

    /// Those that wait may go on.
    pub(crate) fn opens(&self) {
        self.shared.change(|state| state.gate_open = true);
    }

    /// The oldest message not yet asked for; waits for it.
    pub(crate) fn next(&self) -> Received {
        let taken = self.shared.wait(|state| state.taken.pop_front());
        taken.unwrap_or_else(|| panic!("no message came; it heard {:?}", self.said()))
    }

    /// Messages taken and not yet asked for.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.change(|state| state.taken.len())
    }

    /// Waits until so many messages wait to be asked for.
    pub(crate) fn has(&self, messages: usize) {
        let there = self.shared.wait(|state| (state.taken.len() >= messages).then_some(()));
        assert!(there.is_some(), "{} of {messages} messages came; it heard {:?}", self.waiting(), self.said());
    }

    /// Waits until it has heard a line that starts so, that often.
    pub(crate) fn hears(&self, start: &str, times: usize) {
        let heard = |state: &mut State| state.said.iter().filter(|line| line.starts_with(start)).count() >= times;
        let heard = self.shared.wait(|state| heard(state).then_some(()));
        assert!(heard.is_some(), "{start} not heard {times} times, but {:?}", self.said());
    }

    /// Waits until somebody connected for the `times`th time.
    pub(crate) fn meets(&self, times: usize) {
        let met = self.shared.wait(|state| (state.comers.len() >= times).then_some(()));
        assert!(met.is_some(), "{} of {times} connections", self.connections());
    }

    /// Waits until nobody is there any more.
    pub(crate) fn is_left_alone(&self) {
        let alone = self.shared.wait(|state| state.comers.iter().all(|comer| !comer.is_there).then_some(()));
        assert!(alone.is_some(), "somebody is still there");
    }

    /// All commands so far, without content.
    pub(crate) fn said(&self) -> Vec<String> {
        self.shared.change(|state| state.said.clone())
    }

    /// How many connected so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.change(|state| state.comers.len())
    }

    /// How many were there at once, at most.
    pub(crate) fn peak(&self) -> usize {
        self.shared.change(|state| state.comers.iter().map(|comer| comer.peak).max().unwrap_or(0))
    }

    /// When they connected.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        self.shared.change(|state| state.comers.iter().map(|comer| comer.at).collect())
    }
}

impl State {
    /// A command was heard.
    pub(super) fn heard(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }

    /// A message was taken.
    pub(super) fn take(&mut self, message: Received) {
        self.taken.push_back(message);
    }
}

/// A task for one who came.
fn attend(shared: &Shared<State>, wire: Wire, tls: Option<TlsAcceptor>) {
    let number = shared.change(|state| {
        let peak = 1 + state.comers.iter().filter(|comer| comer.is_there).count();
        state.comers.push(Comer { at: Instant::now(), is_there: true, peak });
        state.comers.len() - 1
    });
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // A connection that breaks is the test's business.
        let _ = Session::new(wire, Arc::clone(&shared), number, tls).run().await;
        shared.change(|state| {
            state.ended += 1;
            state.comers[number].is_there = false;
        });
    });
}

fn state(script: &str) -> Shared<State> {
    let state = State {
        script: Script::parse(script),
        taken: VecDeque::new(),
        said: Vec::new(),
        comers: Vec::new(),
        ended: 0,
        gate_open: false,
    };
    Arc::new(Watched { value: state.into(), changed: Default::default() })
}

fn acceptor(script: &str, name: &str, office: &Office) -> Option<(TlsAcceptor, Vec<u8>)> {
    let shown = Script::parse(script).certificate?;
    let host = if shown == Shown::Other { "other.test" } else { name };
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if shown == Shown::Expired {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &office.issuer).unwrap().der().clone();
    let (der, chain) = (certificate.to_vec(), vec![certificate]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = builder.with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
    Some((Arc::new(config).into(), der))
}
