//! Listeners: sockets bound, connections counted, each driven by one loop around a session.
//!
//! May touch tokio's network, `session`, `hooks`, `queue`, `store`, `tls`, `time`; never `delivery`, `routing`, `plugin`.

mod config;
mod connections;
mod credentials;
mod message;
mod perform;
mod serve;
mod wire;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Certificate, Config, Limits, Listener, TlsMode};
pub use credentials::{CredentialError, Credentials};

use crate::hooks::{Hooks, SessionFacts};
use crate::mail::QueueIds;
use crate::queue::Queue;
use crate::time::Clock;
use connections::{Connections, Crowded};

/// Looks up the confirmed name of a client.
pub type ClientNames = dyn Fn(IpAddr) -> Pin<Box<dyn Future<Output = Option<Arc<str>>> + Send>> + Send + Sync;

/// What every session of the relay shares. Cheap to clone.
#[derive(Clone)]
pub struct Reception {
    /// Where accepted mail goes.
    pub queue: Arc<Queue>,
    /// The settings of the day: a session keeps those it began with, but for the hooks, which a transaction pins.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Names for clients.
    pub client_names: Arc<ClientNames>,
    /// Session ids.
    pub session_ids: Arc<QueueIds>,
    /// Cancelled when no new work is to begin.
    pub draining: CancellationToken,
    connections: Connections,
    sessions: TaskTracker,
}

/// What a reload replaces, in one step.
pub struct Rules {
    /// As configured.
    pub config: Config,
    /// For STARTTLS and implicit TLS.
    pub acceptor: Option<TlsAcceptor>,
    /// The relay's own accounts.
    pub credentials: Option<Arc<Credentials>>,
    /// The plugins.
    pub hooks: Arc<dyn Hooks>,
}

impl Rules {
    fn listener(&self, name: &str) -> Option<&Listener> {
        self.config.listeners.iter().find(|l| &*l.name == name)
    }
}

/// A bound socket that does not accept yet.
pub struct Bound {
    name: Arc<str>,
    socket: TcpListener,
}

impl Bound {
    /// Takes the address of a listener.
    ///
    /// # Errors
    /// When the address can't be had; the error names it.
    pub fn bind(listener: &Listener) -> io::Result<Self> {
        let bind = || {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(listener.address),
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            )?;
            // A restarted relay must get its port back while old connections linger in TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&listener.address.into())?;
            socket.listen(1024)?;
            TcpListener::from_std(socket.into())
        };
        let socket = bind().map_err(|e| {
            io::Error::new(e.kind(), format!("listeners.{}: can't listen on {}: {e}", listener.name, listener.address))
        })?;
        Ok(Self { name: listener.name.clone(), socket })
    }

    /// Name of the listener.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens, with the port it got.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Reception {
    /// Nothing is accepted before [`Self::accept`].
    pub fn new(
        queue: Arc<Queue>,
        rules: Arc<ArcSwap<Rules>>,
        clock: Arc<dyn Clock>,
        client_names: Arc<ClientNames>,
        draining: CancellationToken,
    ) -> Self {
        Self {
            queue,
            rules,
            clock,
            client_names,
            session_ids: Arc::default(),
            draining,
            connections: Connections::default(),
            sessions: TaskTracker::new(),
        }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Open connections of one listener.
    pub fn connections_of(&self, listener: &str) -> usize {
        self.connections.of(listener)
    }

    /// Accepts until the relay drains; each connection is a task of its own.
    pub async fn accept(self, bound: Bound) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                accepted = bound.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &bound.name),
                Err(error) => {
                    // Out of descriptors, or a connection that died in the backlog: the socket itself is sound.
                    tracing::warn!(listener = %bound.name, %error, "accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Completes when every session has ended.
    pub async fn drained(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// Serves one connection as that of a client of whom these facts are known, whoever is at the other end: for rehearsals.
    /// Completes with the connection; at once where there is no such listener.
    pub async fn rehearse(&self, stream: TcpStream, listener: &str, facts: SessionFacts) {
        let rules = self.rules.load_full();
        let Some(listener) = rules.listener(listener).cloned() else { return };
        serve::serve_as(self.clone(), rules, listener, stream, facts).await;
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, listener: &Arc<str>) {
        let rules = self.rules.load_full();
        let Some(listener) = rules.listener(listener).cloned() else { return };
        match self.connections.admit(peer.ip().to_canonical(), &listener.name, &rules.config.limits) {
            Ok(permit) => {
                let reception = self.clone();
                self.sessions.spawn(async move {
                    serve::serve(reception, rules, listener, stream, peer).await;
                    drop(permit);
                });
            }
            Err(crowded) => {
                tracing::info!(client = %peer, ?crowded, "connection refused: too many");
                // RFC 5321 section 3.8: 421 tells the client to come back. Not awaited: the socket's buffer takes it.
                let text: &[u8] = match crowded {
                    Crowded::InAll => b"421 4.3.2 Too many connections, try again later\r\n",
                    Crowded::ByClient => b"421 4.7.0 Too many connections from your address\r\n",
                };
                let _ = stream.into_std().and_then(|mut stream| io::Write::write(&mut stream, text));
            }
        }
    }
}
