//! Listeners: sockets bound, connections counted, each driven by one loop around a session.
//!
//! May touch tokio's network, `session`, `hooks`, `queue`, `store`, `tls`, `time`, `pulse`; `signing`; never `delivery`, `routing`, `plugin`.

mod activation;
mod bind;
mod config;
mod credentials;
mod deadlines;
mod guard;
mod inject;
mod message;
mod patience;
mod perform;
mod proxy;
mod results;
mod senders;
mod serve;
mod signatures;
mod stream;
mod submission;
mod trace;
mod watched;
mod wire;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use activation::{Activation, HANDED_OVER};
pub use bind::{Bound, bind_ahead, fits};
pub use config::{Address, BanRule, Config, Limits, Listener, ProxyFrom, Tarpit, TlsMode};
pub use credentials::{CredentialError, Credentials, Forms};
pub use guard::{BanInForce, Load, ShedCounts};
pub use results::{Inquiry, SenderResults};
pub use senders::{SenderError, Senders};
pub use stream::local_client;

pub use crate::tls::{Certificate, ClientCertificates, Minimum, ServerSettings};

#[doc(hidden)]
pub use proxy::fuzz_proxy;

use crate::hooks::{Hooks, SessionFacts};
use crate::mail::QueueIds;
use crate::pulse::Pulse;
use crate::queue::Queue;
use crate::session::{self, AuthMeans};
use crate::signing::Signing;
use crate::time::Clock;
use crate::tls::Tls;
use bind::Peer;
use guard::{Guard, Permit, Shed};
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
    /// Who has sent a message; none: nobody knows, and no listener says anything of it.
    pub results: Option<Arc<SenderResults>>,
    /// Signs what clients send.
    pub signing: Signing,
    /// What happens is counted and told here.
    pub pulse: Pulse,
    /// Session ids.
    pub session_ids: Arc<QueueIds>,
    /// Cancelled when no new work is to begin.
    pub draining: CancellationToken,
    guard: Guard,
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
    /// Who may write as whom; none: nobody is held to anything.
    pub senders: Option<Arc<Senders>>,
    /// The plugins.
    pub hooks: Arc<dyn Hooks>,
}

impl Rules {
    fn listener(&self, name: &str) -> Option<&Listener> {
        self.config.listeners.iter().find(|l| &*l.name == name)
    }

    /// What clients can be checked with. A client takes the best mechanism that it knows and seldom a second one: unless
    /// the operator says otherwise, SCRAM is offered only where it works for everybody who has a password.
    fn auth_means(&self, config: &session::Config) -> AuthMeans {
        let tokens = self.hooks.sees_secrets();
        let verifiers = self.credentials.as_ref().is_some_and(|credentials| match config.auth.mechanisms {
            Some(_) => credentials.verifiers() > 0,
            None => !tokens && !credentials.is_empty() && credentials.verifiers() == credentials.len(),
        });
        AuthMeans { verifiers, tokens }
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
            results: None,
            signing: Signing::default(),
            pulse: Pulse::default(),
            session_ids: Arc::default(),
            draining,
            guard: Guard::new(),
            sessions: TaskTracker::new(),
        }
    }

    /// How many connections there are, who is kept out, and whether places are scarce.
    pub fn load(&self) -> Load {
        self.guard.load()
    }

    /// Open connections of one listener.
    pub fn connections_of(&self, listener: &str) -> usize {
        self.guard.of(listener)
    }

    /// Bans in force, the longest first, at most so many.
    pub fn bans(&self, most: usize) -> Vec<BanInForce> {
        self.guard.bans(most)
    }

    /// Bans a network for a time. Connections that are open go on.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn ban(&self, network: IpNet, time: Duration) -> Result<(), String> {
        self.guard.ban(network, time)
    }

    /// Ends a ban, an operator's or one for errors; false if there is none.
    pub fn lift_ban(&self, network: &IpNet) -> bool {
        self.guard.lift(network)
    }

    /// Accepts until the relay drains; each connection is a task of its own. One wake-up takes all that wait: the system is
    /// asked again before anything sleeps, and a connection that is turned away is over before the next one is taken.
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
                    tokio::time::sleep(Duration::from_millis(50)).await;
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
        let permit = self.guard.admit_anyway(&listener.name);
        serve::serve_as(self.clone(), rules, listener, Stream::Tcp(stream), facts, permit).await;
    }

    /// Serves a client that is this process itself, as one of whom these facts are known; gives its end of the connection. None
    /// where there is no such listener.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn take_in(&self, facts: SessionFacts) -> io::Result<Option<UnixStream>> {
        let rules = self.rules.load_full();
        let Some(listener) = rules.listener(&facts.listener).cloned() else { return Ok(None) };
        let (ours, theirs) = UnixStream::pair()?;
        let permit = self.guard.admit_anyway(&listener.name);
        let (id, client) = (facts.id.clone(), facts.client.address.clone());
        let span = tracing::info_span!("session", session = %id, %client, listener = %listener.name);
        let served = serve::serve_as(self.clone(), rules, listener, Stream::Unix(ours), facts, permit);
        self.sessions.spawn(served.instrument(span));
        Ok(Some(theirs))
    }

    fn admit(&self, stream: Stream, peer: Peer, listener: &Arc<str>) {
        let rules = self.rules.load();
        let implicit = rules.listener(listener).is_some_and(|l| l.tls == TlsMode::Implicit);
        // A proxy is nobody's client: whom it speaks for shows in a moment.
        let by_proxy = rules.listener(listener).is_some_and(|l| l.proxy_from.requires(peer.ip));
        let permit = match self.admit_peer(listener, &rules).and_then(|mut permit| {
            if let Some(client) = peer.ip.filter(|_| !by_proxy) {
                permit.admit_client(client, &rules.config.limits)?;
            }
            Ok(permit)
        }) {
            Ok(permit) => permit,
            Err(why) => {
                self.guard.turned_away(why, &peer.client.address, listener);
                // A client that waits for its handshake could not read the line.
                return stream.leave(if implicit { b"" } else { why.reply() });
            }
        };
        let rules = Arc::clone(&rules);
        let Some(listener) = rules.listener(listener).cloned() else { return };
        let arrival = serve::Arrival { stream, peer, permit };
        self.sessions.spawn(serve::serve(self.clone(), rules, listener, arrival));
    }

    /// A place for whoever is at the other end, if the relay can take anything at all.
    fn admit_peer(&self, listener: &Arc<str>, rules: &Rules) -> Result<Permit, Shed> {
        // Nothing that a client could be asked for would be of use (invariant 15: no flush, no mail, until a restart).
        self.queue.health().map_err(|_| Shed::Store)?;
        self.guard.admit_peer(listener, &rules.config.limits)
    }
}

#[cfg(test)]
mod tests;
