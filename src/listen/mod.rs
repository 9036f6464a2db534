//! Listeners: sockets bound, connections counted, each driven by one loop around a session.
//!
//! May touch tokio's network, `session`, `hooks`, `queue`, `store`, `tls`, `time`; never `delivery`, `routing`, `plugin`.

mod activation;
mod bind;
mod config;
mod connections;
mod credentials;
mod message;
mod perform;
mod proxy;
mod serve;
mod stream;
mod wire;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use activation::Activation;
pub use bind::{Bound, fits};
pub use config::{Address, Config, Limits, Listener, ProxyFrom, TlsMode};
pub use credentials::{CredentialError, Credentials};

pub use crate::tls::{Certificate, ClientCertificates, Minimum, ServerSettings};

#[doc(hidden)]
pub use proxy::fuzz_proxy;

use crate::hooks::{Hooks, SessionFacts};
use crate::mail::QueueIds;
use crate::queue::Queue;
use crate::time::Clock;
use crate::tls::Tls;
use bind::Peer;
use connections::Connections;
use stream::Stream;

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
#[derive(Clone)]
pub struct Rules {
    /// As configured.
    pub config: Config,
    /// For STARTTLS and implicit TLS.
    pub tls: Option<Arc<Tls>>,
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
                accepted = bound.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, bound.name()),
                Err(error) => {
                    // Out of descriptors, or a connection that died in the backlog: the socket itself is sound.
                    tracing::warn!(listener = %bound.name(), %error, "accept failed");
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

    fn admit(&self, stream: Stream, peer: Peer, listener: &Arc<str>) {
        let rules = self.rules.load_full();
        let Some(listener) = rules.listener(listener).cloned() else { return };
        let limits = &rules.config.limits;
        // A proxy is nobody's client: whom it speaks for shows in a moment.
        let client = peer.ip.filter(|_| !listener.proxy_from.requires(peer.ip));
        match self.connections.admit(client, &listener.name, limits) {
            Ok(permit) => {
                let arrival = serve::Arrival { stream, peer, permit };
                self.sessions.spawn(serve::serve(self.clone(), rules, listener, arrival));
            }
            Err(crowded) => {
                tracing::info!(client = %peer.client.address, ?crowded, "connection refused: too many");
                // Not awaited: the socket's buffer takes it.
                stream.leave(crowded.words());
            }
        }
    }
}
