//! The notices that an attempt's end calls for, as messages for the queue. Asks the bounce hook before a bounce.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::attempt::Attempt;
use crate::bounce::{self, Action, Frame, Notice, Original, RETURN_LIMIT, Reported};
use crate::hooks::{BounceEdit, BounceVerdict, Hook, Outcome, Subject};
use crate::mail::{Annotations, Mailbox, QueueId, ReversePath};
use crate::queue::{BodyPlace, Incoming, Origin, QueuedRecipient, RecipientState, Record};
use crate::signing::Signing;
use crate::time::Timestamp;

/// `[notices]`: who is told, of what, and how.
#[derive(Clone, Debug)]
pub struct Notices {
    /// Signs reports.
    pub signing: Signing,
    /// Whose mail is reported on at all.
    pub bounces: Bounces,
    /// The same, for what came to these listeners.
    pub by_listener: BTreeMap<Arc<str>, Bounces>,
    /// Bodies up to this many octets are returned whole.
    pub return_size: u64,
    /// Is told too.
    pub postmaster: Option<Mailbox>,
    /// Of what.
    pub classes: Vec<NoticeClass>,
}

/// Whose mail is reported on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounces {
    /// Everybody's, as RFC 5321 section 6.1 has it.
    #[default]
    Always,
    /// That of clients which have authenticated.
    Authenticated,
    /// Nobody's.
    Never,
}

/// What the postmaster is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeClass {
    /// Failures that the sender is told of.
    Bounce,
    /// Delays that the sender is told of.
    Delay,
    /// Failures of which no sender can be told: of reports, above all.
    DoubleBounce,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            signing: Signing::default(),
            bounces: Bounces::default(),
            by_listener: BTreeMap::new(),
            return_size: RETURN_LIMIT,
            postmaster: None,
            classes: vec![NoticeClass::DoubleBounce],
        }
    }
}

impl Notices {
    /// True if the sender of what came from there is told anything. What the relay wrote itself came from nowhere.
    fn tells(&self, origin: Option<&Origin>) -> bool {
        let Some(origin) = origin else { return true };
        match self.by_listener.get(&origin.listener).unwrap_or(&self.bounces) {
            Bounces::Always => true,
            Bounces::Authenticated => origin.identity.is_some(),
            Bounces::Never => false,
        }
    }

    /// The postmaster, if it is told of this.
    fn told_of(&self, class: NoticeClass) -> Option<&Mailbox> {
        self.postmaster.as_ref().filter(|_| self.classes.contains(&class))
    }
}

/// One notice for each kind of news. `untold` are failures of which no sender can be told.
pub(super) async fn due(
    attempt: &Attempt<'_>,
    told: Vec<(Action, Outcome)>,
    untold: Vec<Outcome>,
    now: Timestamp,
) -> Vec<Incoming> {
    let (notices, record) = (&attempt.config.notices, &*attempt.lease.record);
    if !untold.is_empty() {
        tracing::warn!(queue_id = %record.id, recipients = untold.len(), "failed, and there is no sender to tell");
    }
    let postmaster = if untold.is_empty() { None } else { notices.told_of(NoticeClass::DoubleBounce) };
    let quiet = !told.is_empty() && !notices.tells(record.origin.as_ref());
    if quiet {
        tracing::info!(queue_id = %record.id, recipients = told.len(), "no notice: [notices] bounces says so");
    }
    if (told.is_empty() || quiet) && postmaster.is_none() {
        return Vec::new();
    }
    let (head, body) = content(attempt, notices.return_size).await;
    let desk = Desk { attempt, head, body, now };
    let mut made = Vec::new();
    if let Some(postmaster) = postmaster {
        made.extend(desk.copy(Action::Failed, &untold, postmaster).await);
    }
    let mut rest = if quiet { Vec::new() } else { told };
    while let Some(&(action, _)) = rest.first() {
        let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(other, _)| *other == action);
        rest = others;
        let outcomes: Arc<[Outcome]> = these.into_iter().map(|(_, outcome)| outcome).collect();
        made.extend(desk.tell(action, outcomes).await);
    }
    made
}

/// Where the notices of one attempt are written.
struct Desk<'a> {
    attempt: &'a Attempt<'a>,
    head: Bytes,
    body: Option<Bytes>,
    now: Timestamp,
}

impl Desk<'_> {
    /// For the sender, and a copy for the postmaster.
    async fn tell(&self, action: Action, outcomes: Arc<[Outcome]>) -> Vec<Incoming> {
        let mut made = Vec::new();
        let asked = action == Action::Failed;
        let edit = if asked { ask(self.attempt, &outcomes).await } else { Some(BounceEdit::default()) };
        let Some(edit) = edit else { return made };
        let id = self.attempt.dispatcher.queue().next_id();
        let notice = bounce::notice(&self.original(), action, &self.reported(&outcomes), &edit, self.frame(id));
        let Some(notice) = notice else { return made };
        made.push(self.incoming(notice, id, action).await);
        let class = match action {
            Action::Failed => NoticeClass::Bounce,
            Action::Delayed { .. } => NoticeClass::Delay,
            Action::Delivered | Action::Relayed | Action::Traced => return made,
        };
        if let Some(postmaster) = self.attempt.config.notices.told_of(class) {
            made.extend(self.copy(action, &outcomes, postmaster).await);
        }
        made
    }

    async fn copy(&self, action: Action, outcomes: &[Outcome], postmaster: &Mailbox) -> Option<Incoming> {
        let id = self.attempt.dispatcher.queue().next_id();
        let reported = self.reported(outcomes);
        let notice = bounce::copy(&self.original(), action, &reported, postmaster, self.frame(id))?;
        Some(self.incoming(notice, id, action).await)
    }

    async fn incoming(&self, notice: Notice, id: QueueId, action: Action) -> Incoming {
        let queue_id = self.attempt.lease.record.id;
        tracing::info!(%queue_id, notice = %id, to = %notice.recipient, ?action, record = "bounce", "notice made");
        let signing = &self.attempt.config.notices.signing;
        let head = signing.sign_own(&notice.head, &notice.body, self.now).await;
        incoming(Notice { head, ..notice }, id, &self.attempt.lease.record, self.now)
    }

    fn frame(&self, id: QueueId) -> Frame<'_> {
        Frame { hostname: &self.attempt.config.hostname, id, now: self.now }
    }

    fn original(&self) -> Original<'_> {
        let record = &*self.attempt.lease.record;
        Original {
            id: record.id,
            arrived: record.arrived,
            sender: &record.sender,
            sender_params: &record.sender_params,
            smtputf8: record.smtputf8,
            head: &self.head,
            body: self.body.as_deref(),
        }
    }

    fn reported<'o>(&'o self, outcomes: &'o [Outcome]) -> Vec<Reported<'o>> {
        let of = |outcome: &'o Outcome| {
            let recipient = self.attempt.recipients.iter().find(|r| r.index == outcome.recipient)?;
            Some(Reported { recipient, outcome })
        };
        outcomes.iter().filter_map(of).collect()
    }
}

/// What the notices may return of the message: the head, and a body that is small enough. If it can't be read, the
/// notice still has to go out.
async fn content(attempt: &Attempt<'_>, most: u64) -> (Bytes, Option<Bytes>) {
    let (head, body) = match attempt.dispatcher.queue().content(&attempt.lease).await {
        Ok(content) => content,
        Err(error) => {
            tracing::error!(%error, "content can't be read for a notice");
            return (Bytes::new(), None);
        }
    };
    if body.len() > most {
        return (head, None);
    }
    let body = body.read_at(0, usize::try_from(most).unwrap_or(usize::MAX)).await.ok();
    (head, body)
}

/// Asks the bounce hook; none: no bounce.
async fn ask(attempt: &Attempt<'_>, failed: &Arc<[Outcome]>) -> Option<BounceEdit> {
    if !attempt.hooks.listens(Hook::Bounce) {
        return Some(BounceEdit::default());
    }
    let subject = Subject { delivery: Some(attempt.known()), ..Subject::default() };
    let (_, verdict) = attempt.hooks.bounce(subject, Arc::clone(failed)).await;
    match verdict {
        BounceVerdict::Proceed => Some(BounceEdit::default()),
        BounceVerdict::Edit(edit) => Some(edit),
        BounceVerdict::Suppress(why) => {
            tracing::warn!(target: "audit", queue_id = %attempt.lease.record.id, recipients = failed.len(),
                reason = &*why, "bounce suppressed");
            None
        }
    }
}

/// The notice as a message for the queue, asking of relays what `about`, the message it tells of, asked: what shows a header
/// section that was to go under TLS only goes so as well (RFC 8689 section 5).
fn incoming(notice: Notice, id: QueueId, about: &Record, now: Timestamp) -> Incoming {
    let require_tls = about.sender_params.iter().filter(|param| &*param.keyword == "REQUIRETLS");
    let recipient = QueuedRecipient {
        index: 0,
        original: notice.recipient.clone(),
        mailbox: notice.recipient,
        params: Vec::new(),
        route: None,
        state: RecipientState::new(now),
    };
    let record = Record {
        id,
        arrived: now,
        origin: None,
        sender: ReversePath(None),
        sender_params: require_tls.cloned().collect(),
        body_kind: notice.body_kind,
        smtputf8: notice.smtputf8,
        recipients: vec![recipient],
        annotations: Annotations::default(),
        tags: Vec::new(),
        held: None,
        head_size: u32::try_from(notice.head.len()).unwrap_or(u32::MAX),
        body_size: notice.body.len() as u64,
        body: BodyPlace::Inline,
    };
    Incoming { record, head: notice.head, body: crate::store::Content::Memory(notice.body) }
}
