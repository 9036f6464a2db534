//! Transmission of one message to one next hop: over the open connection, or over a new one to the first target that
//! lets us in; or into a named destination that is no host.
//!
//! May speak to the network through `Connection`; knows no queue states and no schedules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::Config;
use super::client::{Capabilities, Cover, OutboundMail, Terms};
use super::config::{Leg, Way};
use super::connection::Connection;
use super::dispatch::Dispatcher;
use super::lane::Lane;
use super::lane_worker::QUIT_WITHIN;
use super::maildir::deliver_to_maildir;
use super::outcome::Delivered;
use super::places::Place;
use super::reach::{Failure, Host, Reached, Whose, misconfigured};
use super::seven_bit;
use super::shaping::stricter;
use super::site::{OpenMark, Site};
use super::transmitted::{Contact, Reporting, Transmitted, ended_here, local, unreached, unreadable};
use crate::hooks::{NextHop, Outcome, OutcomeKind, Route, Stage};
use crate::mail::{Recipient, Requests, ReversePath, waives_tls};
use crate::queue::{Lease, Record};
use crate::routing::Address;
use crate::smtp::{Reply, Status};
use crate::store::Content;
use crate::time::Timestamp;

/// Further hosts tried within an attempt after one broke off: more would keep a worker for long.
const OTHERS: usize = 2;

/// A worker's open connection.
pub(super) struct Line {
    connection: Connection,
    config: Arc<Config>,
    opened: Instant,
    sent: u32,
    hop: NextHop,
    lmtp: bool,
    /// Under TLS, and the host has proved to be one of the domain's.
    verified: bool,
    /// Less than the recipient's domain wants: for the message it was opened for and no other.
    lax: bool,
    _open: Option<OpenMark>,
    place: Place,
}

impl Line {
    /// It waits for the next message: it must not hold more memory than that takes.
    pub(super) fn idle(&mut self) {
        self.connection.idle();
    }

    /// Says good-bye.
    pub(super) async fn quit(self) {
        self.connection.quit().await;
    }

    /// What the connection can keep of what is asked, and what the next hop offers.
    fn terms(&self) -> (Cover, Capabilities) {
        let cover = match self.connection.tls() {
            Some(_) if self.verified => Cover::Verified,
            Some(_) => Cover::Encrypted,
            None => Cover::Plain,
        };
        (cover, *self.connection.capabilities())
    }

    fn is_fit(&mut self, mail: &Mail<'_>, most: u32) -> bool {
        self.may_take(mail, 0, most) && self.connection.is_still_usable()
    }

    /// True if it may carry a message after `more` others.
    fn may_take(&self, mail: &Mail<'_>, more: u32, most: u32) -> bool {
        let safe = self.verified || self.lmtp || !mail.requires_tls();
        // RFC 9422 section 4.1: a connection takes no more messages than this.
        let most = self.connection.capabilities().mail_max.map_or(most, |max| max.min(most));
        let old = self.opened.elapsed() >= self.config.connection_age;
        safe && !self.lax
            && !old
            && self.sent.saturating_add(more) < most.max(1)
            && Arc::ptr_eq(&self.config, mail.config)
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

enum Opened {
    Line(Box<Line>),
    Local(Box<Transmitted>),
}

/// Sends the message to the lane's next hop, over `slot` if that is still good. If there is a `next`, it is to be sent
/// right after this one.
///
/// Recipients that were too many for one transaction go in another at once, as long as each gets some of them through
/// (RFC 5321 section 4.5.3.1.10).
pub(super) async fn transmit(
    dispatcher: &Dispatcher,
    lane: &Arc<Lane>,
    mail: &Mail<'_>,
    next: Option<&Mail<'_>>,
    slot: &mut Option<Box<Line>>,
) -> Transmitted {
    let mut done = one_transaction(dispatcher, lane, mail, next, slot).await;
    let mut most = usize::MAX;
    while !done.left.is_empty() {
        if let Some(learned) = done.most.take() {
            if learned >= most {
                break;
            }
            most = learned;
        }
        let mut rest: Vec<Recipient> =
            mail.recipients.iter().filter(|recipient| done.left.contains(&recipient.index)).cloned().collect();
        let later = rest.split_off(most.min(rest.len()));
        let now = Mail { recipients: &rest, ..*mail };
        let more = Box::pin(one_transaction(dispatcher, lane, &now, None, slot)).await;
        done.join(more, later.iter().map(|recipient| recipient.index));
    }
    done
}

/// Sends to those recipients that the next hop takes in one transaction. Where a host breaks off before it has the
/// message, or takes no mail at all now, the next one of the hop, and of the route, is tried (RFC 5321 section 5.1).
async fn one_transaction(
    dispatcher: &Dispatcher,
    lane: &Arc<Lane>,
    mail: &Mail<'_>,
    next: Option<&Mail<'_>>,
    slot: &mut Option<Box<Line>>,
) -> Transmitted {
    let most = lane.messages_per_connection();
    if let Some(old) = slot.take_if(|line| !line.is_fit(mail, most)) {
        say_goodbye(dispatcher, old);
    }
    let (mut tried, mut failed) = (Vec::new(), None);
    loop {
        if slot.is_none() {
            // In a box: it needs much more room than a transaction, and is rare.
            match Box::pin(open(dispatcher, lane, mail, &tried)).await {
                Ok(Opened::Line(line)) => *slot = Some(line),
                Ok(Opened::Local(done)) => return *done,
                // What a host did tells more than that there is no other.
                Err(failure) => return failed.unwrap_or_else(|| unreached(&failure, mail, dispatcher.clock().now())),
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
        // In a box, as above: of those that wait for a connection, most are never let in.
        let delivered = Box::pin(send(line, (mail, head, body), next, now)).await;
        if reused && !line.connection.is_usable() && was_stale(&delivered) {
            // It had waited too long and was closed under us before it took anything: a new one may do better, and
            // is not counted as reused, so this happens once.
            *slot = None;
            continue;
        }
        let learned = line.connection.most().is_some();
        let elsewhere = !reused && !learned && tried.len() < OTHERS && another_may_do_better(&delivered);
        let done = told(mail, line, delivered, dispatcher.clock().now());
        if elsewhere {
            tried.push(line.connection.address().clone());
            slot.take().into_iter().for_each(|line| say_goodbye(dispatcher, line));
            failed = Some(done);
            continue;
        }
        slot.take_if(|line| !line.connection.is_usable());
        return done;
    }
}

/// Over this connection; with the first words of what is to be sent right after it, if there is such a message.
async fn send(
    line: &mut Line,
    (mail, head, body): (&Mail<'_>, &Bytes, &Content),
    next: Option<&Mail<'_>>,
    now: Timestamp,
) -> Vec<Delivered> {
    let next = match next.and_then(|next| Some((next, next.content?))) {
        Some((next, (head, body))) => Some(carried(next, head, body, line.terms(), now).await),
        None => None,
    };
    let this = carried(mail, head, body, line.terms(), now).await;
    let delivered = line.connection.send_with_next(&this, next.as_ref()).await;
    line.sent += 1;
    delivered
}

/// What came of it; with the dialogue where somebody will want to know why.
fn told(mail: &Mail<'_>, line: &mut Line, delivered: Vec<Delivered>, now: Timestamp) -> Transmitted {
    let mut done = transmitted(mail, line, delivered, now);
    if done.contact == Contact::Reached {
        line.place.prove();
    }
    if done.outcomes.iter().any(|outcome| outcome.kind != OutcomeKind::Delivered) {
        done.dialogue = Some(line.connection.dialogue());
    }
    done
}

fn say_goodbye(dispatcher: &Dispatcher, line: Box<Line>) {
    dispatcher.spawn(async move {
        let _ = timeout(QUIT_WITHIN, line.quit()).await;
    });
}

/// True if the host did not take part in the transaction: the connection broke before it had the message, it said 421, or
/// that it takes no mail for now. That it does not want these recipients now, another host of the hop would say as well.
fn another_may_do_better(delivered: &[Delivered]) -> bool {
    delivered.iter().all(|one| {
        let of_host = one.error.is_some() || one.reply.as_ref().is_some_and(|reply| reply.code == 421);
        one.kind == OutcomeKind::Temporary
            && (one.stage == Stage::Mail || of_host && matches!(one.stage, Stage::Rcpt | Stage::Data))
    })
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
    /// REQUIRETLS (RFC 8689), and a sender who is told if that can't be had: with the null reverse-path it is asked for where
    /// it is offered, and no message is lost for want of it (section 5 there).
    pub(super) fn requires_tls(&self) -> bool {
        self.asks_for_tls() && !self.record.sender.is_null()
    }

    /// REQUIRETLS, whoever would be told.
    pub(super) fn asks_for_tls(&self) -> bool {
        self.requests().require_tls
    }

    /// `TLS-Required: No` stands in its header section. What can't be read waives nothing.
    pub(super) async fn waives_tls(&self, dispatcher: &Dispatcher) -> bool {
        match self.content {
            Some((head, _)) => waives_tls(head),
            None => dispatcher.queue().content(self.lease).await.is_ok_and(|(head, _)| waives_tls(&head)),
        }
    }

    /// What its sender asked of every relay.
    fn requests(&self) -> Requests {
        Requests::of(&self.record.sender_params)
    }
}

/// The message as this connection carries it.
async fn carried<'a>(
    mail: &Mail<'a>,
    head: &'a Bytes,
    body: &'a Content,
    (cover, peer): (Cover, Capabilities),
    now: Timestamp,
) -> OutboundMail<'a> {
    let all = outbound(mail, head, body, cover, now);
    OutboundMail { body_kind: seven_bit::needed(all.body_kind, &peer, head, body).await, ..all }
}

fn outbound<'a>(mail: &Mail<'a>, head: &'a Bytes, body: &'a Content, cover: Cover, now: Timestamp) -> OutboundMail<'a> {
    let (arrived, untold) = (mail.record.arrived, mail.record.sender.is_null());
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
        terms: Terms { requests: mail.requests(), cover, untold, arrived, now },
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
    let through = outcomes.iter().any(|outcome| outcome.kind == OutcomeKind::Delivered);
    let most = line.connection.most();
    let left = if most.is_some() {
        outcomes.iter().filter(|one| one.kind == OutcomeKind::Temporary).map(|one| one.recipient).collect()
    } else if through {
        let left = line.connection.left().iter();
        left.filter_map(|place| mail.recipients.get(*place)).map(|recipient| recipient.index).collect()
    } else {
        Vec::new()
    };
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
        left,
        most,
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
async fn open(
    dispatcher: &Dispatcher,
    lane: &Arc<Lane>,
    mail: &Mail<'_>,
    tried: &[Address],
) -> Result<Opened, Failure> {
    let mut failure = None;
    for Leg { hop, way } in mail.config.legs(mail.route, lane.key.source.as_ref()) {
        match way {
            Way::Host { hop: to, tls, source, credential } => {
                let lmtp = matches!(to, NextHop::Lmtp { .. });
                let site = lane.site();
                let tls = stricter(tls, site.as_ref().and_then(|site| site.tls()));
                let how = Host { to, tls, source, credential };
                if let Some(resting) = how.resting(dispatcher, &hop) {
                    failure = Some(resting.after(failure));
                    continue;
                }
                let first = failure.is_none() && tried.is_empty();
                let place = match enter(dispatcher, site.as_deref(), &hop, first).await {
                    Ok(place) => place,
                    Err(resting) => return Err(resting.after(failure)),
                };
                match how.connect(dispatcher, mail, hop.clone(), tried).await {
                    Ok(Reached { connection, proven: verified, lax }) => {
                        how.source.iter().for_each(|source| dispatcher.sources().lock().worked(source));
                        let (config, open) = (Arc::clone(mail.config), lane.opened());
                        dispatcher.spawn_more(lane.greeted());
                        let line = Line {
                            connection,
                            config,
                            opened: Instant::now(),
                            sent: 0,
                            hop,
                            lmtp,
                            verified,
                            lax,
                            _open: open,
                            place,
                        };
                        return Ok(Opened::Line(Box::new(line)));
                    }
                    Err(failed) if failed.last => return Err(failed),
                    Err(failed) => failure = Some(failed.after(failure)),
                }
            }
            Way::Maildir(path) => return Ok(Opened::Local(Box::new(into_maildir(dispatcher, mail, &path, hop).await))),
            Way::Discard => {
                let reply = Reply::new(250, Status::new(2, 0, 0), "discarded");
                let outcomes = local(mail, OutcomeKind::Delivered, Stage::Done, &reply, dispatcher.clock().now());
                return Ok(Opened::Local(Box::new(ended_here(outcomes, hop))));
            }
            Way::Unknown(text) => {
                tracing::error!(next_hop = &*lane.name, "{text}: mail waits until the configuration is mended");
                failure = Some(misconfigured(text, hop).after(failure));
            }
        }
    }
    Err(failure.unwrap_or_else(|| misconfigured("the route has no hops".into(), NextHop::Named("".into()))))
}

/// Waits for a place. By then it may have turned out that nobody is there, or, for the `first` connection of an attempt, others may
/// have opened all that may be. One that follows waits for that too: to begin anew would be to try the same hosts again.
async fn enter(dispatcher: &Dispatcher, site: Option<&Site>, hop: &NextHop, first: bool) -> Result<Place, Failure> {
    // Those in force now: an attempt may be older than a reload that made them fewer.
    let (places, most) = (dispatcher.places(), dispatcher.config().max_connections);
    let Some(site) = site else { return Ok(places.take(most, true).await) };
    // Before a place is taken, which others could use meanwhile.
    while !first && let Some(at) = site.connection_opens(Instant::now()) {
        tokio::time::sleep_until(at).await;
    }
    let place = places.take(most, site.is_proven()).await;
    let (reply, error, whose) = match site.rest(Instant::now()) {
        Some((_, error)) => ("the next hop could not be reached a moment ago", error, Whose::Message),
        None if !site.admit_connection(Instant::now()) && first => {
            ("no connection may be opened for now", None, Whose::Nobody)
        }
        None => return Ok(place),
    };
    let (reply, stage, hop) = (Some(Reply::new(450, Status::new(4, 4, 1), reply)), Stage::Queue, hop.clone());
    Err(Failure { permanent: false, stage, reply, error, remote: None, hop, last: true, source: None, whose })
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
    out.extend_from_slice(&outbound(mail, &head, &body, Cover::Plain, never).prepended());
    out.extend_from_slice(&head);
    out.into()
}
