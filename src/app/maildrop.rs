//! Mail that waits in the folder of `sendmail`: looked for at the start and every few seconds, handed to a listener of this relay as
//! any client would do it, and removed only once the queue has it, flushed. A crash in between hands it over twice and loses nothing.
//!
//! The folder is open to every user. Whose a file is, the system says; what can't be one of `sendmail`'s goes; nobody but the
//! user who put it there is held responsible for it, and none of it can hold up the mail of the network.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::hooks::{Outcome, OutcomeKind, SessionFacts, Stage};
use crate::listen::local_client;
use crate::mail::{Annotations, BodyKind, Mailbox, ReversePath};
use crate::maildrop::{self, Answer, Config, Found, RecipientAnswer, Refused};
use crate::queue::{BodyPlace, Incoming, QueuedRecipient, RecipientState, Record};
use crate::smtp::{Reply, Status};
use crate::store::Content;

/// A program that sends does not wait for its mail to be on its way; people do not notice so much.
const EVERY: Duration = Duration::from_secs(2);

/// The wait after a temporary refusal doubles, from and up to these.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(600);

/// As long as mail waits in queues everywhere (RFC 5321 section 4.5.4.1): then its sender is told.
const GIVE_UP: Duration = Duration::from_secs(5 * 86_400);

/// When a message is to be tried again.
struct Wait {
    at: Instant,
    last: Duration,
}

/// The folder, which is this relay's alone as long as it lives.
struct Claimed {
    group: u32,
    _lock: File,
}

/// Picks mail up until the relay drains.
pub(super) async fn pick_up(inner: Arc<Inner>, draining: CancellationToken) {
    let config = inner.started.sendmail.clone();
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut claimed, mut waits, mut told) = (None, HashMap::new(), false);
    while draining.run_until_cancelled(turns.tick()).await.is_some() {
        if claimed.is_none() {
            claimed = match claim(&config.folder) {
                Ok(claimed) => claimed,
                Err(why) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(folder = %config.folder.display(), why, "mail is not picked up");
                    }
                    None
                }
            };
        }
        if let Some(Claimed { group, .. }) = claimed {
            inner.pick_up_all(&config, group, &mut waits, &draining).await;
        }
    }
}

/// None where there is no such folder, which is no mistake.
fn claim(folder: &Path) -> Result<Option<Claimed>, &'static str> {
    let Ok(facts) = std::fs::symlink_metadata(folder) else { return Ok(None) };
    if !facts.is_dir() {
        return Err("it is no folder");
    }
    // Somebody else's folder is somebody else's mail: that of another relay on this machine, say.
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return if *folder == Config::default().folder { Ok(None) } else { Err("it belongs to another user") };
    }
    // Every file in it would look foreign, and go.
    if !maildrop::is_fit(&facts) {
        return Err("its mode has to be 3733");
    }
    let lock = File::open(folder).map_err(|_error| "it can't be opened")?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_held| "another relay picks it up")?;
    Ok(Some(Claimed { group: facts.gid(), _lock: lock }))
}

impl Inner {
    async fn pick_up_all(
        &self,
        config: &Config,
        group: u32,
        waits: &mut HashMap<PathBuf, Wait>,
        draining: &CancellationToken,
    ) {
        let folder = config.folder.clone();
        let paths = match tokio::task::spawn_blocking(move || maildrop::look(&folder)).await {
            Ok(Ok(paths)) => paths,
            Ok(Err(error)) => return tracing::warn!(%error, folder = %config.folder.display(), "can't be looked into"),
            Err(_ended) => return,
        };
        let there: HashSet<&PathBuf> = paths.iter().collect();
        waits.retain(|path, _| there.contains(path));
        for path in paths {
            if waits.get(&path).is_some_and(|wait| wait.at > Instant::now()) {
                continue;
            }
            // It would be answered 4yz, each of it.
            if draining.is_cancelled() || self.queue.health().is_err() || self.queue.has_room().is_err() {
                return;
            }
            if !self.pick_up_one(config, group, path.clone()).await {
                let wait = waits.get(&path).map_or(WAIT, |wait| (wait.last * 2).min(WAIT_MAX));
                waits.insert(path, Wait { at: Instant::now() + wait, last: wait });
            }
        }
    }

    /// False if it stays for another time.
    async fn pick_up_one(&self, config: &Config, group: u32, path: PathBuf) -> bool {
        let (file, most) = (path.clone(), config.max_message_size);
        let opened = tokio::task::spawn_blocking(move || maildrop::open(&file, group, most)).await;
        match opened {
            Err(_) | Ok(Err(Refused::NotYet)) => true,
            Ok(Err(Refused::Foreign(why))) => {
                tracing::warn!(file = %path.display(), why, "what is no mail is removed");
                let removed = if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
                removed.is_ok()
            }
            Ok(Err(Refused::Damaged(why))) => {
                let aside = path.with_extension("bad");
                tracing::error!(file = %aside.display(), why, "mail that can't be read is set aside");
                std::fs::rename(&path, aside).is_ok()
            }
            Ok(Ok(found)) => self.hand_over(config, found).await,
        }
    }

    async fn hand_over(&self, config: &Config, found: Found) -> bool {
        let age = found.since.elapsed().unwrap_or_default();
        let later = |reply: &Reply| {
            tracing::info!(owner = found.owner, %reply, "mail of a local user waits");
        };
        let refused = match self.speak(config, &found).await {
            Some(Answer::Taken { reply, refused }) => {
                tracing::info!(owner = found.owner, %reply, "mail of a local user is taken");
                refused
            }
            Some(Answer::Refused(refused)) => refused,
            Some(Answer::Later(reply)) if age < GIVE_UP => {
                later(&reply);
                return false;
            }
            None if age < GIVE_UP => return false,
            late => {
                let expired = Reply::new(554, Status::new(4, 4, 7), "The relay could not take it in time");
                let reply = if let Some(Answer::Later(reply)) = late { reply } else { expired };
                let all = found.envelope.recipients.iter();
                all.map(|recipient| RecipientAnswer { recipient: recipient.clone(), reply: reply.clone() }).collect()
            }
        };
        if !refused.is_empty() && !self.report(&found, &refused).await {
            return false;
        }
        let path = found.path.clone();
        match tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await {
            Ok(Ok(())) => true,
            // It would be taken again and again.
            failed => {
                tracing::error!(file = %found.path.display(), ?failed, "mail that was taken can't be removed");
                false
            }
        }
    }

    /// None: nothing is known.
    async fn speak(&self, config: &Config, found: &Found) -> Option<Answer> {
        let client = local_client(found.owner);
        let facts = SessionFacts {
            id: self.reception.session_ids.next(self.clock.now()).to_string().into(),
            listener: config.listener.clone(),
            connected_at: self.clock.now(),
            server: client.clone(),
            client,
            client_name: None,
            protocol: Default::default(),
            helo: None,
            tls: None,
            identity: None,
            // Who may write into the folder may send: its permissions decide.
            may_relay: true,
            transactions: 0,
            refused_recipients: 0,
            withheld: Default::default(),
            notes: Annotations::default(),
        };
        let stream = match self.reception.take_in(facts) {
            Ok(stream) => stream?,
            Err(error) => {
                tracing::warn!(%error, "mail of a local user can't be handed over");
                return None;
            }
        };
        let said = maildrop::hand_over(stream, &self.started.hostname, &found.envelope, &found.content).await;
        said.inspect_err(|error| tracing::warn!(owner = found.owner, %error, "mail of a local user waits")).ok()
    }

    /// Has the sender told who did not get it: a message of its own in the queue, each of whose recipients has failed already. True
    /// once it is there, or nobody is to be told.
    async fn report(&self, found: &Found, refused: &[RecipientAnswer]) -> bool {
        let (owner, sender) = (found.owner, &found.envelope.sender);
        for RecipientAnswer { recipient, reply } in refused {
            tracing::info!(owner, sender, recipient, %reply, "mail of a local user is refused");
        }
        let (Ok(sender), now) = (Mailbox::parse(sender, true), self.clock.now()) else { return true };
        let failed = |(index, answer): (u32, &RecipientAnswer)| {
            let mailbox = Mailbox::parse(&answer.recipient, true).ok()?;
            let last = Outcome {
                recipient: index,
                kind: OutcomeKind::Permanent,
                stage: Stage::Queue,
                reply: Some(answer.reply.clone()),
                error: None,
                remote: None,
                remote_endpoint: None,
                at: now,
            };
            let state = RecipientState { last: Some(last), ..RecipientState::new(now) };
            let (original, params) = (mailbox.clone(), Vec::new());
            Some(QueuedRecipient { index, mailbox, original, params, route: None, state })
        };
        let recipients: Vec<_> = (0..).zip(refused).filter_map(failed).collect();
        if recipients.is_empty() {
            return true;
        }
        let record = Record {
            id: self.queue.next_id(),
            arrived: now,
            origin: None,
            sender: ReversePath(Some(sender)),
            sender_params: Vec::new(),
            body_kind: BodyKind::default(),
            smtputf8: false,
            recipients,
            annotations: Annotations::default(),
            tags: Vec::new(),
            held: None,
            head_size: 0,
            body_size: 0,
            body: BodyPlace::Inline,
        };
        let (head, body) = split(&found.content);
        let accepted = self.queue.accept(Incoming { record, head, body: Content::Memory(body) }).await;
        accepted.inspect_err(|error| tracing::error!(owner, %error, "a report can't be queued")).is_ok()
    }
}

/// The header section with the empty line, and the rest.
fn split(content: &[u8]) -> (Bytes, Bytes) {
    let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 4);
    let content = Bytes::copy_from_slice(content);
    (content.slice(..end), content.slice(end..))
}
