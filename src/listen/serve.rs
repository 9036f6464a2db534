//! The loop around one session: octets in, actions out, until one side has had enough.
//!
//! Performs what the session asks for and decides nothing itself.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::bind::Peer;
use super::connections::Permit;
use super::proxy::{Proxied, ProxyError};
use super::stream::{Stream, unix_endpoint, unix_path};
use super::wire::{Arrived, Patience, Wire};
use super::{ClientCertificates, Listener, Reception, Rules, TlsMode};
use crate::hooks::{Endpoint, Hooks, SessionFacts, TlsFacts};
use crate::mail::Annotations;
use crate::session::{Action, Input, RelayAccess, Session};
use crate::store::Draft;

/// Octets of replies gathered before they are written even though more is coming.
const OUT_MAX: usize = 64 * 1024;

/// A proxy sends its header at once; its specification asks for at least 3 s, for the sake of one lost packet.
const PROXY_HEADER: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Serve {
    pub(crate) reception: Reception,
    pub(crate) rules: Arc<Rules>,
    pub(crate) session: Session,
    pub(crate) config: Arc<crate::session::Config>,
    /// As pinned at MAIL; before that, as of the connection.
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) draft: Option<Draft>,
    clients: ClientCertificates,
    wire: Wire,
    patience: Patience,
    out: Vec<u8>,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// A connection that was just accepted.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    /// Its place, given back when it ends.
    pub(crate) permit: Permit,
}

/// Both ends of a connection.
struct Ends {
    /// None: a client in no network.
    ip: Option<IpAddr>,
    client: Endpoint,
    server: Endpoint,
}

/// Serves one connection to its end. Errors of the connection are its own affair.
pub(crate) async fn serve(reception: Reception, rules: Arc<Rules>, listener: Listener, arrival: Arrival) {
    let id: Arc<str> = reception.session_ids.next(reception.clock.now()).to_string().into();
    let Arrival { mut stream, peer, mut permit } = arrival;
    let mut ends = match ends(&stream, peer) {
        Ok(ends) => ends,
        Err(error) => return tracing::debug!(%error, listener = %listener.name, "connection ended at once"),
    };
    if listener.proxy_from.requires(ends.ip) {
        let proxy = ends.client.address.clone();
        // In a box: it is over before the rest begins, and needs no room then.
        if let Err(error) = Box::pin(heed_proxy(&mut stream, &mut ends, &reception.draining)).await {
            return tracing::info!(%proxy, %error, listener = %listener.name, "connection dropped");
        }
        if let Some(client) = ends.ip.filter(|_| ends.client.address != proxy)
            && let Err(crowded) = permit.belongs_to(client, &rules.config.limits)
        {
            tracing::info!(%client, %proxy, ?crowded, "connection refused: too many");
            return stream.leave(crowded.words());
        }
        tracing::debug!(session = %id, %proxy, client = %ends.client.address, "connection by way of a proxy");
    }
    let span = tracing::info_span!("session", session = %id, client = %ends.client.address, listener = %listener.name);
    let run = async {
        let (wire, patience, facts) = match greet(&reception, &rules, &listener, stream, ends, id).await {
            Ok(ready) => ready,
            Err(error) => return tracing::info!(%error, "connection ended before the greeting"),
        };
        converse(reception, rules, &listener, wire, patience, facts).await;
    };
    run.instrument(span).await;
    drop(permit);
}

/// What a proxy says of both ends counts in place of its own address.
async fn heed_proxy(stream: &mut Stream, ends: &mut Ends, draining: &CancellationToken) -> Result<(), ProxyError> {
    let read = tokio::time::timeout(PROXY_HEADER, stream.read_proxy());
    let read = draining.run_until_cancelled(read).await.ok_or(ProxyError::Cut)?;
    match read.map_err(|_| ProxyError::Late)?? {
        Proxied::Itself => {}
        Proxied::Client { source, destination } => {
            ends.ip = Some(source.ip().to_canonical());
            (ends.client, ends.server) = (Endpoint::of(source), Endpoint::of(destination));
        }
        Proxied::Local => (ends.ip, ends.client) = (None, unix_path(Path::new(""))),
    }
    Ok(())
}

/// As the system tells them.
fn ends(stream: &Stream, peer: Peer) -> io::Result<Ends> {
    let Peer { ip, client, unix_end } = peer;
    let server = match (stream, unix_end) {
        (_, Some(end)) => end,
        (Stream::Tcp(stream), None) => {
            stream.set_nodelay(true)?;
            Endpoint::of(stream.local_addr()?)
        }
        (Stream::Unix(stream), None) => unix_endpoint(&stream.local_addr()?),
    };
    Ok(Ends { ip, client, server })
}

/// Serves a connection of which everything is known, to its end, whoever is at the other end of the stream.
pub(crate) async fn serve_as(
    reception: Reception,
    rules: Arc<Rules>,
    listener: Listener,
    stream: TcpStream,
    facts: SessionFacts,
) {
    let limits = rules.config.limits;
    let draining = reception.draining.child_token().cancelled_owned();
    let patience = Patience::new(limits.command_timeout, limits.session_timeout, draining);
    converse(reception, rules, &listener, Wire::Plain(Stream::Tcp(stream)), patience, facts).await;
}

async fn converse(
    reception: Reception,
    rules: Arc<Rules>,
    listener: &Listener,
    wire: Wire,
    patience: Patience,
    facts: SessionFacts,
) {
    tracing::debug!("connected");
    let hooks = rules.hooks.clone();
    let config = listener.session.clone();
    let session = Session::new(config.clone(), facts);
    let out = Vec::with_capacity(512);
    let clients = listener.client_certificates;
    let mut serve = Serve { reception, rules, session, config, hooks, draft: None, clients, wire, patience, out };
    match serve.run().await {
        Ok(()) => tracing::debug!("disconnected"),
        Err(error) => tracing::info!(%error, "connection lost"),
    }
}

/// The facts of a connection that has said nothing yet, and its wire: already under TLS where TLS is implicit.
async fn greet(
    reception: &Reception,
    rules: &Rules,
    listener: &Listener,
    stream: Stream,
    ends: Ends,
    id: Arc<str>,
) -> io::Result<(Wire, Patience, SessionFacts)> {
    let Ends { ip, client, server } = ends;
    let limits = rules.config.limits;
    let draining = reception.draining.child_token().cancelled_owned();
    let patience = Patience::new(limits.command_timeout, limits.session_timeout, draining);
    let mut wire = Wire::Plain(stream);
    let mut tls = None;
    if listener.tls == TlsMode::Implicit {
        tls = Some(start_tls(&mut wire, rules, listener.client_certificates, &reception.draining).await?);
    }
    let client_name = match ip {
        Some(ip) if rules.config.client_names => (reception.client_names)(ip).await,
        _ => None,
    };
    let facts = SessionFacts {
        id,
        listener: listener.name.clone(),
        connected_at: reception.clock.now(),
        client,
        server,
        client_name,
        protocol: Default::default(),
        helo: None,
        tls,
        identity: None,
        may_relay: listener.relay || ip.is_some_and(|ip| listener.session.relay.trusts(ip)),
        transactions: 0,
        refused_recipients: 0,
        withheld: Default::default(),
        notes: Annotations::default(),
    };
    Ok((wire, patience, facts))
}

/// A handshake is never within a transaction: one that is half done must not hold up a relay that drains.
async fn start_tls(
    wire: &mut Wire,
    rules: &Rules,
    clients: ClientCertificates,
    draining: &CancellationToken,
) -> io::Result<TlsFacts> {
    let tls = rules.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    let handshake = tokio::time::timeout(rules.config.limits.command_timeout, wire.start_tls(tls, clients));
    let shaken = draining.run_until_cancelled(handshake).await.ok_or(io::ErrorKind::Interrupted)?;
    shaken.map_err(|_| io::ErrorKind::TimedOut)?
}

impl Serve {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let action = self.session.poll();
            if self.act(action).await? == Next::Stop {
                return Ok(());
            }
        }
    }

    async fn act(&mut self, action: Action) -> io::Result<Next> {
        match action {
            Action::Read { data } => return self.read(data).await,
            Action::Send(octets) => {
                self.out.extend_from_slice(&octets);
                if self.out.len() > OUT_MAX {
                    self.flush().await?;
                }
            }
            Action::Ask(question) => self.perform(*question).await,
            Action::Begin => self.begin(),
            Action::Open => self.draft = Some(self.reception.queue.spool().draft()),
            Action::Keep(octets) => self.keep(&octets).await,
            Action::Discard => self.draft = None,
            Action::StartTls => {
                self.flush().await?;
                let facts = start_tls(&mut self.wire, &self.rules, self.clients, &self.reception.draining).await?;
                self.session.receive(Input::Tls(facts));
            }
            Action::Close => {
                self.flush().await?;
                self.wire.close().await;
                return Ok(Next::Stop);
            }
        }
        Ok(Next::Go)
    }

    async fn read(&mut self, data: bool) -> io::Result<Next> {
        self.flush().await?;
        let limits = &self.rules.config.limits;
        self.patience.set(if data { limits.data_timeout } else { limits.command_timeout });
        let session = &mut self.session;
        let arrived = self
            .wire
            .read(&mut self.patience, |octets| {
                if !octets.is_empty() {
                    session.receive(Input::Octets(octets));
                }
            })
            .await?;
        match arrived {
            Arrived::Octets => {}
            Arrived::End => return Ok(Next::Stop),
            Arrived::TimedOut => self.session.receive(Input::TimedOut),
            Arrived::Draining => self.session.receive(Input::Draining),
        }
        Ok(Next::Go)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        // A client that reads nothing must not hold the connection for longer than one that says nothing.
        let limit = self.rules.config.limits.command_timeout;
        let written = tokio::time::timeout(limit, self.wire.write(&self.out)).await;
        self.out.clear();
        self.out.shrink_to(4096);
        written.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// A transaction keeps the set of plugins it begins with, and an idle connection holds back no reload.
    fn begin(&mut self) {
        self.hooks = self.reception.rules.load().hooks.clone();
        let now = self.reception.clock.now();
        let access = if self.hooks.may_authorize() { RelayAccess::Asked } else { RelayAccess::Ruled };
        self.session.begin(self.reception.queue.next_id(), now, access);
    }

    /// A draft that can't grow is dropped here and refused at the end of the data (RFC 5321 section 4.1.1.4 gives no
    /// earlier moment for an answer).
    async fn keep(&mut self, octets: &[u8]) {
        if let Some(draft) = &mut self.draft
            && let Err(error) = draft.append(octets).await
        {
            tracing::warn!(%error, "mail data can't be stored");
            self.draft = None;
        }
    }
}
