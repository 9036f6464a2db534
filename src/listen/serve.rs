//! The loop around one session: octets in, actions out, until one side has had enough.
//!
//! Performs what the session asks for and decides nothing itself.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::bind::Peer;
use super::deadlines::Deadlines;
use super::guard::{Fault, Permit};
use super::patience::Patience;
use super::proxy::{Proxied, ProxyError};
use super::stream::{Stream, unix_endpoint, unix_path};
use super::wire::{Arrived, Wire};
use super::{ClientCertificates, Listener, Reception, Rules, TlsMode};
use crate::hooks::{Endpoint, Hooks, SessionFacts, TlsFacts};
use crate::mail::Annotations;
use crate::pulse::{Refused, Tally};
use crate::session::{Action, Awaited, Faults, Input, RelayAccess, Session};
use crate::store::Draft;

/// Octets of replies gathered before they are written even though more is coming.
const OUT_MAX: usize = 64 * 1024;

/// A proxy sends its header at once; its specification asks for at least 3 s, for the sake of one lost packet.
const PROXY_HEADER: Duration = Duration::from_secs(10);

/// To a client that has just been banned.
const BANNED: &str = "421 4.7.0 too many errors from your address";

/// One connection. An idle one is little else than this: what is rare and large is in boxes of its own while it lasts.
pub(crate) struct Serve {
    pub(crate) reception: Reception,
    pub(crate) rules: Arc<Rules>,
    pub(crate) session: Session,
    pub(crate) config: Arc<crate::session::Config>,
    /// As pinned at MAIL; before that, as of the connection.
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) draft: Option<Draft>,
    /// Its place among all connections.
    pub(crate) permit: Permit,
    /// Authentication-Results are this relay's own affair.
    pub(crate) results: bool,
    clients: ClientCertificates,
    wire: Wire,
    patience: Patience,
    /// Those of the session that the guard has been told of.
    told: Faults,
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
        let client = match Box::pin(heed_proxy(&mut stream, &mut ends, &reception.draining)).await {
            Ok(client) => client,
            Err(error) => return tracing::info!(%proxy, %error, listener = %listener.name, "connection dropped"),
        };
        if let Some(client) = client
            && let Err(why) = permit.admit_client(client, &rules.config.limits)
        {
            permit.guard().turned_away(why, &client.to_string(), &listener.name);
            return stream.leave(if listener.tls == TlsMode::Implicit { b"" } else { why.reply() });
        }
        tracing::debug!(session = %id, %proxy, client = %ends.client.address, "connection by way of a proxy");
    }
    let span = tracing::info_span!("session", session = %id, client = %ends.client.address, listener = %listener.name);
    let run = async {
        let start = Starting { reception: &reception, rules: &rules, permit: &permit };
        // In a box, because it is over before the long part begins.
        let (wire, patience, facts) = match Box::pin(start.greet(&listener, stream, ends, id)).await {
            Ok(ready) => ready,
            Err(error) => return tracing::info!(%error, "connection ended before the greeting"),
        };
        converse(reception, rules, &listener, wire, patience, facts, permit).await;
    };
    run.instrument(span).await;
}

/// What a proxy says of both ends counts in place of its own address. The client's address, if it names one.
async fn heed_proxy(
    stream: &mut Stream,
    ends: &mut Ends,
    draining: &CancellationToken,
) -> Result<Option<IpAddr>, ProxyError> {
    let read = tokio::time::timeout(PROXY_HEADER, stream.read_proxy());
    let read = draining.run_until_cancelled(read).await.ok_or(ProxyError::Cut)?;
    match read.map_err(|_| ProxyError::Late)?? {
        Proxied::Itself => return Ok(None),
        Proxied::Client { source, destination } => {
            ends.ip = Some(source.ip().to_canonical());
            (ends.client, ends.server) = (Endpoint::of(source), Endpoint::of(destination));
        }
        Proxied::Local => (ends.ip, ends.client) = (None, unix_path(Path::new(""))),
    }
    Ok(ends.ip)
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
    stream: Stream,
    facts: SessionFacts,
    permit: Permit,
) {
    let draining = reception.draining.child_token().cancelled_owned();
    let patience = Patience::new(rules.clone(), permit.guard().clone(), draining);
    converse(reception, rules, &listener, Wire::Plain(stream), patience, facts, permit).await;
}

async fn converse(
    reception: Reception,
    rules: Arc<Rules>,
    listener: &Listener,
    wire: Wire,
    patience: Patience,
    facts: SessionFacts,
    permit: Permit,
) {
    tracing::debug!("connected");
    super::watched::connected(&reception.pulse, &facts);
    let hooks = rules.hooks.clone();
    let config = listener.session.clone();
    let session = Session::new(config.clone(), facts).with_means(rules.auth_means(&config));
    let (told, out, clients) = (Faults::default(), Vec::new(), listener.client_certificates);
    let (draft, results) = (None, listener.authentication_results);
    let mut serve =
        Serve { reception, rules, session, config, hooks, draft, permit, results, clients, wire, patience, told, out };
    let ended = serve.run().await;
    super::watched::ended(&serve.reception.pulse, serve.session.facts(), ended.as_ref().err());
    match ended {
        Ok(()) => tracing::debug!("disconnected"),
        Err(error) => tracing::info!(%error, "connection lost"),
    }
}

/// A connection that has said nothing yet.
struct Starting<'a> {
    reception: &'a Reception,
    rules: &'a Arc<Rules>,
    permit: &'a Permit,
}

impl Starting<'_> {
    /// Its facts and its wire: already under TLS where TLS is implicit.
    async fn greet(
        &self,
        listener: &Listener,
        stream: Stream,
        ends: Ends,
        id: Arc<str>,
    ) -> io::Result<(Wire, Patience, SessionFacts)> {
        let Ends { ip, client, server } = ends;
        let Self { reception, rules, permit } = *self;
        let draining = reception.draining.child_token().cancelled_owned();
        let patience = Patience::new(rules.clone(), permit.guard().clone(), draining);
        let mut wire = Wire::Plain(stream);
        let mut tls = None;
        if listener.tls == TlsMode::Implicit {
            let clients = listener.client_certificates;
            tls = Some(start_tls(&mut wire, rules, clients, permit, reception).await?);
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
}

/// A handshake is never within a transaction: one that is half done must not hold up a relay that drains.
async fn start_tls(
    wire: &mut Wire,
    rules: &Rules,
    clients: ClientCertificates,
    permit: &Permit,
    reception: &Reception,
) -> io::Result<TlsFacts> {
    let tls = rules.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    let limits = &rules.config.limits;
    let within = Deadlines::for_handshake(permit.guard().is_stressed(), limits);
    let handshake = tokio::time::timeout(within, wire.start_tls(tls, clients));
    let shaken = reception.draining.run_until_cancelled(handshake).await.ok_or(io::ErrorKind::Interrupted)?;
    let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let tally = reception.pulse.tally();
    Tally::count(if shaken.is_ok() { &tally.tls_in } else { &tally.tls_in_failed });
    if shaken.is_err() {
        permit.err(Fault::Tls, 1, limits);
    }
    shaken
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
            Action::Read(awaited) => return self.read(awaited).await,
            Action::Send(octets) => {
                super::watched::told(&self.reception.pulse, &self.session, &octets);
                self.out.extend_from_slice(&octets);
                if self.out.len() > OUT_MAX {
                    self.flush().await?;
                }
            }
            Action::Listen => {
                self.listen().await?;
                self.session.receive(Input::Listened);
            }
            Action::Represent => self.represent(),
            // What a question may lead to is larger than all the rest of a connection.
            Action::Ask(question) => {
                super::watched::asked(&self.reception.pulse, self.session.facts(), &question);
                Box::pin(self.perform(*question)).await;
            }
            Action::Begin => self.begin(),
            Action::Open => self.draft = Some(self.reception.queue.spool().draft()),
            Action::Keep(octets) => Box::pin(self.keep(&octets)).await,
            Action::Discard => self.draft = None,
            Action::StartTls => {
                self.flush().await?;
                let handshake = start_tls(&mut self.wire, &self.rules, self.clients, &self.permit, &self.reception);
                let facts = Box::pin(handshake).await?;
                self.session.receive(Input::Tls(facts));
            }
            Action::Close => {
                self.tell_guard();
                self.flush().await?;
                Box::pin(self.wire.close()).await;
                return Ok(Next::Stop);
            }
        }
        Ok(Next::Go)
    }

    async fn read(&mut self, awaited: Awaited) -> io::Result<Next> {
        let told = self.told;
        if self.tell_guard() {
            self.session.receive(Input::End(BANNED));
            return Ok(Next::Go);
        }
        if self.told.refused > told.refused {
            self.stall().await;
        }
        self.flush().await?;
        self.session.be_strict(self.permit.guard().is_stressed());
        self.patience.expect(awaited);
        let session = &mut self.session;
        let arrived = self.wire.read(&mut self.patience, |octets| session.receive(Input::Octets(octets))).await?;
        match arrived {
            Arrived::Octets => {}
            Arrived::End => return Ok(Next::Stop),
            Arrived::TimedOut => self.session.receive(Input::TimedOut),
            Arrived::Draining => self.session.receive(Input::Draining),
        }
        Ok(Next::Go)
    }

    /// A front end has named the client it speaks for: what was got wrong until now was its own doing, and the rest is that
    /// client's, which has to be let in as if it had come by itself. One that nobody knows is held to no rule, as behind a proxy.
    fn represent(&mut self) {
        if self.tell_guard() {
            return self.session.receive(Input::End(BANNED));
        }
        let facts = self.session.facts();
        let named = facts.client.address.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
        if let Err(why) = self.permit.readmit(named, &self.rules.config.limits) {
            self.permit.guard().turned_away(why, &facts.client.address, &facts.listener);
            self.session.receive(Input::End(why.line()));
        }
    }

    /// Hands over what the client says before it was greeted, if it does not wait.
    async fn listen(&mut self) -> io::Result<()> {
        let mut delay = self.rules.config.greet_delay;
        if self.config.strict_pipelining && self.wire.has_early() {
            delay = delay.max(Duration::from_secs(1));
        }
        if delay.is_zero() {
            return Ok(());
        }
        let session = &mut self.session;
        let read = self.wire.read_early(|octets| session.receive(Input::Octets(octets)));
        // One that waits, as it should, makes it end without a word.
        Box::pin(tokio::time::timeout(delay, read)).await.unwrap_or(Ok(()))
    }

    /// Tells the guard what the client got wrong since the last time; true if the client is banned.
    fn tell_guard(&mut self) -> bool {
        let (told, now) = (self.told, self.session.faults());
        if told == now {
            return false;
        }
        self.told = now;
        let tally = self.reception.pulse.tally();
        tally.refuse(Refused::Permanent, now.refused.saturating_sub(told.refused).into());
        tally.refuse(Refused::Protocol, now.violations.saturating_sub(told.violations).into());
        tally.refuse(Refused::Authentication, now.proofs.saturating_sub(told.proofs).into());
        let limits = &self.rules.config.limits;
        let violated = self.permit.err(Fault::Violation, now.violations.saturating_sub(told.violations), limits);
        let guessed = self.permit.err(Fault::Auth, now.proofs.saturating_sub(told.proofs), limits);
        self.permit.err(Fault::Refused, now.refused.saturating_sub(told.refused), limits) || violated || guessed
    }

    /// The tarpit: whoever goes on getting it wrong waits for the answer. Not while places are scarce: it would keep one.
    async fn stall(&self) {
        let tarpit = &self.rules.config.limits.tarpit;
        let beyond = self.told.refused.saturating_sub(tarpit.after_errors);
        let delay = tarpit.delay.saturating_mul(beyond).min(tarpit.delay_max);
        if delay.is_zero() || self.permit.is_exempt() || self.permit.guard().is_stressed() {
            return;
        }
        tracing::debug!(?delay, errors = self.told.refused, "answering late");
        let wait = Box::pin(tokio::time::sleep(delay.min(self.patience.for_reply())));
        self.reception.draining.run_until_cancelled(wait).await;
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        // It goes with what was in it: a connection that waits holds no buffer.
        let out = std::mem::take(&mut self.out);
        let limit = self.patience.for_reply();
        let mut write = pin!(self.wire.write(&out));
        // Nearly always the socket takes it at once.
        match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
            Poll::Ready(written) => written,
            Poll::Pending => {
                let written = Box::pin(tokio::time::timeout(limit, write)).await;
                written.map_err(|_| io::ErrorKind::TimedOut)?
            }
        }
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
