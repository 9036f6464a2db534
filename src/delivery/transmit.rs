//! Transmission of one message to one next hop: over the open connection, or over a new one to the first target that
//! lets us in; or into a named destination that is no host.
//!
//! May speak to the network through `Connection`; knows no queue states and no schedules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::Config;
use super::client::{OutboundMail, Terms};
use super::config::{Leg, Way};
use super::connection::Connection;
use super::dispatch::Dispatcher;
use super::lane::Lane;
use super::lane_worker::QUIT_WITHIN;
use super::maildir::deliver_to_maildir;
use super::outcome::Delivered;
use super::places::Place;
use super::reach::{Failure, Host, misconfigured};
use super::shaping::stricter;
use super::site::{OpenMark, Site};
use crate::hooks::{Endpoint, NextHop, Outcome, OutcomeKind, Route, Stage, TlsFacts, TlsPolicy};
use crate::mail::{Recipient, Requests, ReversePath};
use crate::queue::{Lease, Record};
use crate::smtp::{Reply, Status};
use crate::store::Content;
use crate::time::Timestamp;

/// A worker's open connection.
pub(super) struct Line {
    connection: Connection,
    config: Arc<Config>,
    sent: u32,
    hop: NextHop,
    lmtp: bool,
    /// Under TLS, with a certificate that was found to be the host's.
    verified: bool,
    _open: Option<OpenMark>,
    place: Place,
}

impl Line {
    /// Says good-bye.
    pub(super) async fn quit(self) {
        self.connection.quit().await;
    }

    fn is_fit(&mut self, mail: &Mail<'_>, most: u32) -> bool {
        self.may_take(mail, 0, most) && self.connection.is_still_usable()
    }

    /// True if it may carry a message after `more` others.
    fn may_take(&self, mail: &Mail<'_>, more: u32, most: u32) -> bool {
        let safe = self.verified || self.lmtp || !mail.requests().require_tls;
        safe && self.sent.saturating_add(more) < most.max(1) && Arc::ptr_eq(&self.config, mail.config)
    }
}

/// The message and what the attempt made of it.
pub(super) struct Mail<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) lease: &'a Lease,
    pub(super) record: &'a Record,
    pub(super) recipients: &'a [Recipient],
    pub(super) sender: &'a ReversePath,
    pub(super) prepended: &'a [(Arc<str>, Arc<str>)],
    pub(super) route: &'a Route,
    /// If it was read ahead.
    pub(super) content: Option<&'a (Bytes, Content)>,
}

/// Who tells the sender of a delivery that was to be reported (RFC 3461 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reporting {
    /// The next hop: it speaks DSN, and NOTIFY went on with the message.
    NextHop,
    /// We do, and say that it was passed on.
    Relayed,
    /// We do, and tell everybody who did not ask for silence that it was passed on (RFC 2852 section 4.1.4).
    Traced,
    /// We do, and say that it was delivered: the journey ends here.
    Delivered,
}

/// How a transmission went.
pub(super) struct Transmitted {
    /// One for each recipient.
    pub(super) outcomes: Vec<Outcome>,
    /// Did the next hop take part?
    pub(super) contact: Contact,
    /// The hop that the outcomes are about.
    pub(super) hop: Option<NextHop>,
    /// Its address and TLS, where there was a connection.
    pub(super) remote: Option<(Endpoint, Option<TlsFacts>)>,
    /// Who reports success.
    pub(super) reporting: Reporting,
    /// From its start to its end.
    pub(super) took: Duration,
    /// What was said, where not everybody was delivered to.
    pub(super) dialogue: Option<Arc<str>>,
}

/// What a transmission says about the next hop as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// It took part in a transaction.
    Reached,
    /// No connection could be opened.
    Unreachable,
    /// The source could not be used: the next hop has no part in it.
    Sourceless,
    /// Nothing.
    None,
}

enum Opened {
    Line(Box<Line>),
    Local(Transmitted),
}

/// Sends the message to the lane's next hop, over `slot` if that is still good. If there is a `next`, it is to be sent
/// right after this one.
pub(super) async fn transmit(
    dispatcher: &Dispatcher,
    lane: &Arc<Lane>,
    mail: &Mail<'_>,
    next: Option<&Mail<'_>>,
    slot: &mut Option<Line>,
) -> Transmitted {
    let most = lane.messages_per_connection();
    if let Some(old) = slot.take_if(|line| !line.is_fit(mail, most)) {
        dispatcher.spawn(async move {
            let _ = timeout(QUIT_WITHIN, old.quit()).await;
        });
    }
    loop {
        if slot.is_none() {
            match open(dispatcher, lane, mail).await {
                Ok(Opened::Line(line)) => *slot = Some(*line),
                Ok(Opened::Local(done)) => return done,
                Err(failure) => return unreached(&failure, mail, dispatcher.clock().now()),
            }
        }
        let Some(line) = slot.as_mut() else { continue };
        let read;
        let (head, body) = match mail.content {
            Some(content) => content,
            None => match dispatcher.queue().content(mail.lease).await {
                Ok(content) => {
                    read = content;
                    &read
                }
                Err(error) => return unreadable(mail, &error, dispatcher.clock().now()),
            },
        };
        let (reused, now) = (line.sent > 0, dispatcher.clock().now());
        let next = next.filter(|next| line.may_take(next, 1, most));
        let next =
            next.and_then(|next| next.content.map(|(head, body)| outbound(next, head, body, line.verified, now)));
        let delivered =
            line.connection.send_with_next(&outbound(mail, head, body, line.verified, now), next.as_ref()).await;
        line.sent += 1;
        if reused && !line.connection.is_usable() && was_stale(&delivered) {
            // It had waited too long and was closed under us before it took anything: a new one may do better, and
            // is not counted as reused, so this happens once.
            *slot = None;
            continue;
        }
        let mut done = transmitted(mail, line, delivered, dispatcher.clock().now());
        if done.contact == Contact::Reached {
            line.place.prove();
        }
        if done.outcomes.iter().any(|outcome| outcome.kind != OutcomeKind::Delivered) {
            done.dialogue = Some(line.connection.dialogue());
        }
        slot.take_if(|line| !line.connection.is_usable());
        return done;
    }
}

/// True if the connection was gone before the next hop could have taken the message: nothing was answered but perhaps 421
/// (RFC 5321 section 3.8), and the final dot was not sent.
fn was_stale(delivered: &[Delivered]) -> bool {
    delivered.iter().all(|one| {
        one.kind == OutcomeKind::Temporary
            && matches!(one.stage, Stage::Mail | Stage::Rcpt | Stage::Data)
            && (one.error.is_some() || one.reply.as_ref().is_none_or(|reply| reply.code == 421))
    })
}

impl Mail<'_> {
    /// What its sender asked of every relay.
    fn requests(&self) -> Requests {
        Requests::of(&self.record.sender_params)
    }
}

fn outbound<'a>(
    mail: &Mail<'a>,
    head: &'a Bytes,
    body: &'a Content,
    verified: bool,
    now: Timestamp,
) -> OutboundMail<'a> {
    OutboundMail {
        sender: mail.sender,
        recipients: mail.recipients,
        body_kind: mail.record.body_kind,
        smtputf8: mail.record.smtputf8,
        size: mail.record.size(),
        params: &mail.record.sender_params,
        prepended: mail.prepended,
        head,
        body,
        terms: Terms { requests: mail.requests(), verified, arrived: mail.record.arrived, now },
    }
}

fn transmitted(mail: &Mail<'_>, line: &Line, delivered: Vec<Delivered>, at: Timestamp) -> Transmitted {
    let (host, endpoint) = line.connection.remote();
    let mut answers = delivered.into_iter();
    let outcomes = mail.recipients.iter().map(|recipient| {
        let one = answers.next();
        let missing = one.is_none();
        let (kind, stage) = one.as_ref().map_or((OutcomeKind::Temporary, Stage::Answer), |one| (one.kind, one.stage));
        let (reply, error) = one.map_or((None, None), |one| (one.reply, one.error));
        Outcome {
            recipient: recipient.index,
            kind,
            stage,
            reply,
            error: if missing { Some("no answer for this recipient".into()) } else { error },
            remote: Some(Arc::clone(host)),
            remote_endpoint: Some(endpoint.clone()),
            at,
        }
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    // One that hangs up on every message has not earned more connections.
    let lost = outcomes.iter().all(|outcome| outcome.error.is_some());
    Transmitted {
        contact: if lost { Contact::None } else { Contact::Reached },
        outcomes,
        hop: Some(line.hop.clone()),
        remote: Some((endpoint.clone(), line.connection.tls().cloned())),
        reporting: reporting(mail, line),
        took: Duration::ZERO,
        dialogue: None,
    }
}

fn reporting(mail: &Mail<'_>, line: &Line) -> Reporting {
    let peer = line.connection.capabilities();
    let by = mail.requests().deliver_by.filter(|_| !line.lmtp);
    // Asked for, or the time that was asked for goes no further.
    let traced = by.is_some_and(|by| by.trace || (!by.give_up && !peer.deliver_by));
    match (peer.dsn, line.lmtp) {
        _ if traced => Reporting::Traced,
        (true, _) => Reporting::NextHop,
        // What LMTP accepts is in its mailbox (RFC 2033 section 4.2).
        (false, true) => Reporting::Delivered,
        (false, false) => Reporting::Relayed,
    }
}

/// Opens a connection for the first hop that has one, or delivers into the first destination that is none.
async fn open(dispatcher: &Dispatcher, lane: &Arc<Lane>, mail: &Mail<'_>) -> Result<Opened, Failure> {
    let mut failure = None;
    for Leg { hop, way } in mail.config.legs(mail.route, lane.key.source.as_ref()) {
        match way {
            Way::Host { hop: to, tls, source, credential } => {
                let lmtp = matches!(to, NextHop::Lmtp { .. });
                let site = lane.site();
                let tls = stricter(tls, site.as_ref().and_then(|site| site.tls()));
                let place = match enter(dispatcher, mail, site.as_deref(), &hop).await {
                    Ok(place) => place,
                    Err(resting) => return Err(resting.after(failure)),
                };
                // RFC 8689 section 4.2.1: the server has to prove who it is.
                let tls = if mail.requests().require_tls && !lmtp { TlsPolicy::Verify } else { tls };
                let verified = tls == TlsPolicy::Verify;
                let how = Host { to, tls, source, credential };
                match how.connect(dispatcher, mail.config, hop.clone()).await {
                    Ok(connection) => {
                        if let Some(source) = &lane.key.source {
                            dispatcher.sources().lock().worked(source);
                        }
                        let (config, open) = (Arc::clone(mail.config), lane.opened());
                        let line = Line { connection, config, sent: 0, hop, lmtp, verified, _open: open, place };
                        return Ok(Opened::Line(Box::new(line)));
                    }
                    Err(failed) if failed.last => return Err(failed),
                    Err(failed) => failure = Some(failed.after(failure)),
                }
            }
            Way::Maildir(path) => return Ok(Opened::Local(into_maildir(dispatcher, mail, &path, hop).await)),
            Way::Discard => {
                let reply = Reply::new(250, Status::new(2, 0, 0), "discarded");
                let outcomes = local(mail, OutcomeKind::Delivered, Stage::Done, &reply, dispatcher.clock().now());
                return Ok(Opened::Local(ended_here(outcomes, hop)));
            }
            Way::Unknown(text) => {
                tracing::error!(next_hop = &*lane.name, "{text}: mail waits until the configuration is mended");
                failure = Some(misconfigured(text, hop).after(failure));
            }
        }
    }
    Err(failure.unwrap_or_else(|| misconfigured("the route has no hops".into(), NextHop::Named("".into()))))
}

/// Waits until a connection to the site may be opened. By then it may have turned out that nobody is there.
async fn enter(dispatcher: &Dispatcher, mail: &Mail<'_>, site: Option<&Site>, hop: &NextHop) -> Result<Place, Failure> {
    let places = dispatcher.places();
    let Some(site) = site else { return Ok(places.take(mail.config.max_connections, true).await) };
    // Before a place is taken, which others could use meanwhile.
    site.may_connect().await;
    let place = places.take(mail.config.max_connections, site.is_proven()).await;
    match site.rest(Instant::now()) {
        None => Ok(place),
        Some((_, error)) => {
            let reply = Reply::new(450, Status::new(4, 4, 1), "the next hop could not be reached a moment ago");
            let (reply, stage, hop) = (Some(reply), Stage::Queue, hop.clone());
            Err(Failure { permanent: false, stage, reply, error, remote: None, hop, last: true, source: None })
        }
    }
}

/// No hop could be reached: the same outcome for all.
fn unreached(failure: &Failure, mail: &Mail<'_>, at: Timestamp) -> Transmitted {
    let kind = if failure.permanent { OutcomeKind::Permanent } else { OutcomeKind::Temporary };
    let outcomes = mail.recipients.iter().map(|recipient| Outcome {
        recipient: recipient.index,
        kind,
        stage: failure.stage,
        reply: failure.reply.clone(),
        error: failure.error.clone(),
        remote: failure.remote.clone(),
        remote_endpoint: None,
        at,
    });
    let site = !failure.permanent && failure.stage != Stage::Queue;
    let contact = match (&failure.source, site) {
        (Some(_), _) => Contact::Sourceless,
        (None, true) => Contact::Unreachable,
        (None, false) => Contact::None,
    };
    Transmitted {
        outcomes: outcomes.collect(),
        contact,
        hop: Some(failure.hop.clone()),
        remote: None,
        reporting: Reporting::Relayed,
        took: Duration::ZERO,
        dialogue: None,
    }
}

async fn into_maildir(dispatcher: &Dispatcher, mail: &Mail<'_>, path: &std::path::Path, hop: NextHop) -> Transmitted {
    let (head, body) = match dispatcher.queue().content(mail.lease).await {
        Ok(content) => content,
        Err(error) => return unreadable(mail, &error, dispatcher.clock().now()),
    };
    let head = with_prepended(mail, head);
    let mut outcomes = Vec::with_capacity(mail.recipients.len());
    for recipient in mail.recipients {
        let stored = deliver_to_maildir(path, recipient, mail.sender, &head, &body, &mail.config.hostname).await;
        let (kind, stage, reply, error) = match stored {
            Ok(()) => (OutcomeKind::Delivered, Stage::Done, Reply::new(250, Status::new(2, 0, 0), "delivered"), None),
            Err(error) => {
                // The path and the system's words are for the log; the sender may see the reply.
                let reply = Reply::new(451, Status::new(4, 2, 0), "the mailbox can't be written now");
                tracing::error!(path = %path.display(), %error, "maildir can't be written");
                (OutcomeKind::Temporary, Stage::Data, reply, None)
            }
        };
        let (recipient, reply, at) = (recipient.index, Some(reply), dispatcher.clock().now());
        outcomes.push(Outcome { recipient, kind, stage, reply, error, remote: None, remote_endpoint: None, at });
    }
    ended_here(outcomes, hop)
}

/// Fields of this attempt on top of the content.
fn with_prepended(mail: &Mail<'_>, head: Bytes) -> Bytes {
    if mail.prepended.is_empty() {
        return head;
    }
    let mut out = Vec::with_capacity(head.len() + 256);
    let (body, never) = (Content::default(), Timestamp::default());
    out.extend_from_slice(&outbound(mail, &head, &body, false, never).prepended());
    out.extend_from_slice(&head);
    out.into()
}

fn ended_here(outcomes: Vec<Outcome>, hop: NextHop) -> Transmitted {
    Transmitted {
        outcomes,
        contact: Contact::None,
        hop: Some(hop),
        remote: None,
        reporting: Reporting::Delivered,
        took: Duration::ZERO,
        dialogue: None,
    }
}

fn unreadable(mail: &Mail<'_>, error: &crate::queue::QueueError, at: Timestamp) -> Transmitted {
    tracing::error!(queue_id = %mail.record.id, %error, "content can't be read");
    let reply = Reply::new(451, Status::new(4, 3, 0), "the message can't be read from the queue now");
    let outcomes = local(mail, OutcomeKind::Temporary, Stage::Queue, &reply, at);
    Transmitted {
        outcomes,
        contact: Contact::None,
        hop: None,
        remote: None,
        reporting: Reporting::Relayed,
        took: Duration::ZERO,
        dialogue: None,
    }
}

/// The same outcome for all, made by the relay itself.
fn local(mail: &Mail<'_>, kind: OutcomeKind, stage: Stage, reply: &Reply, at: Timestamp) -> Vec<Outcome> {
    mail.recipients.iter().map(|recipient| local_outcome(recipient.index, kind, stage, reply, at)).collect()
}

/// An outcome that no next hop had a part in.
pub(super) fn local_outcome(recipient: u32, kind: OutcomeKind, stage: Stage, reply: &Reply, at: Timestamp) -> Outcome {
    Outcome { recipient, kind, stage, reply: Some(reply.clone()), error: None, remote: None, remote_endpoint: None, at }
}
