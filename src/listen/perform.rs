//! Questions of the session put to whoever answers: the hooks, the credentials.

use super::guard::Fault;
use super::message::over_quota;
use super::serve::Serve;
use crate::hooks::{AuthAttempt, AuthVerdict, Hook, Identity, SessionVerdict, Subject};
use crate::listen::Credentials;
use crate::pulse::Refused;
use crate::queue::Marks;
use crate::session::{Answer, Question, ScramVerifier, Vouches};
use crate::smtp::{Reply, Status};
use crate::store::StoreError;

impl Serve {
    /// Asks, and hands the answer to the session.
    pub(crate) async fn perform(&mut self, question: Question) {
        let answer = match question {
            Question::Connect(subject) => self.ask_session(Hook::Connect, subject).await,
            Question::Helo(subject) => self.ask_session(Hook::Helo, subject).await,
            Question::Mail(subject) => self.ask_mail(subject).await,
            Question::Rcpt(subject) => self.ask_rcpt(subject).await,
            Question::Verifier(name) => Answer::Verifier(self.verifier(&name)),
            Question::Auth(subject, attempt, vouches) => self.ask_auth(subject, attempt, vouches).await,
            Question::Message(subject) => {
                let seen = super::watched::message(&self.reception.pulse, &subject);
                let answer = self.take_message(subject).await;
                super::watched::taken(&self.reception.pulse, seen, &answer);
                Answer::Message(answer)
            }
        };
        self.session.answer(answer);
    }

    async fn ask_session(&self, hook: Hook, subject: Subject) -> Answer {
        if !self.hooks.listens(hook) {
            return Answer::Session(subject, SessionVerdict::Proceed);
        }
        let (subject, verdict) = match hook {
            Hook::Connect => self.hooks.connect(subject).await,
            Hook::Helo => {
                let name = subject.session.as_ref().and_then(|s| s.helo.clone()).unwrap_or_else(|| "".into());
                self.hooks.helo(subject, name).await
            }
            Hook::Mail => self.hooks.mail(subject).await,
            _ => self.hooks.rcpt(subject).await,
        };
        Answer::Session(subject, verdict)
    }

    /// A full spool says so before the client sends anything (RFC 5321 section 4.3.2: 452 to MAIL); where nothing can be
    /// stored until a restart, there is no use in going on.
    async fn ask_mail(&self, subject: Subject) -> Answer {
        match self.reception.queue.has_room() {
            Ok(()) => {}
            Err(error @ StoreError::Full(_)) => {
                tracing::warn!(%error, "mail refused for want of space");
                return Answer::Session(subject, SessionVerdict::Tempfail(insufficient_storage()));
            }
            Err(error) => {
                tracing::error!(%error, "mail refused: it can't be stored");
                let reply = Reply::new(421, Status::new(4, 3, 0), "Mail can't be stored for now, try again later");
                return Answer::Session(subject, SessionVerdict::Close(reply));
            }
        }
        if !self.permit.spend_message(&self.rules.config.limits) {
            return Answer::Session(subject, too_fast("messages"));
        }
        if let Some(refusal) = self.foreign_sender(&subject) {
            return Answer::Session(subject, SessionVerdict::Reject(refusal));
        }
        if let Err(over) = self.reception.queue.has_room_for(&marks(&subject)) {
            tracing::info!(%over, "mail refused");
            return Answer::Session(subject, SessionVerdict::Tempfail(over_quota(&over)));
        }
        self.ask_session(Hook::Mail, subject).await
    }

    /// Where the operator says who may write as whom, the reverse-path of a client that has authenticated is one of its own
    /// (RFC 6409 section 6.1).
    fn foreign_sender(&self, subject: &Subject) -> Option<Reply> {
        let (senders, session) = (self.rules.senders.as_ref()?, subject.session.as_ref()?);
        let (identity, sender) = (session.identity.as_ref()?, subject.transaction.as_ref()?.sender.0.as_ref()?);
        let foreign = !senders.owns(&identity.name, sender);
        foreign.then(|| Reply::new(553, Status::new(5, 7, 1), "that sender is not an address of yours"))
    }

    async fn ask_rcpt(&self, subject: Subject) -> Answer {
        if !self.permit.spend_recipient(&self.rules.config.limits) {
            return Answer::Session(subject, too_fast("recipients"));
        }
        self.ask_session(Hook::Rcpt, subject).await
    }

    fn verifier(&self, name: &str) -> ScramVerifier {
        self.rules.credentials.as_ref().map_or_else(|| Credentials::no_verifier(name), |known| known.verifier(name))
    }

    async fn ask_auth(&self, subject: Subject, attempt: AuthAttempt, vouches: Vouches) -> Answer {
        let (subject, verdict) = if self.hooks.listens(Hook::Auth) {
            self.hooks.auth(subject, attempt.clone()).await
        } else {
            (subject, AuthVerdict::Proceed)
        };
        let verdict = match verdict {
            AuthVerdict::Proceed => self.vouch(&attempt, vouches).await,
            decided => decided,
        };
        match &verdict {
            AuthVerdict::Success(identity) => {
                tracing::info!(name = %identity.name, mechanism = %attempt.mechanism, "authenticated");
            }
            _ => tracing::info!(name = %attempt.name, mechanism = %attempt.mechanism, "authentication refused"),
        }
        if matches!(verdict, AuthVerdict::Failure(_) | AuthVerdict::Proceed) {
            self.permit.err(Fault::Auth, 1, &self.rules.config.limits);
            self.reception.pulse.tally().refuse(Refused::Authentication, 1);
        }
        Answer::Auth(subject, verdict)
    }

    async fn vouch(&self, attempt: &AuthAttempt, vouches: Vouches) -> AuthVerdict {
        // Nobody of ours may act for somebody else: only a plugin can allow that.
        let other = attempt.acts_as.as_ref().is_some_and(|acts_as| *acts_as != attempt.name);
        let good = match (vouches, &self.rules.credentials, &attempt.secret) {
            (Vouches::Session, ..) => true,
            (Vouches::Credentials, Some(credentials), Some(secret)) if !other => {
                credentials.verify(&attempt.name, secret).await
            }
            _ => false,
        };
        if good && !other {
            return AuthVerdict::Success(Identity {
                mechanism: attempt.mechanism.clone(),
                name: attempt.name.clone(),
                acts_as: None,
                attributes: Vec::new(),
            });
        }
        // RFC 4954 section 6.
        AuthVerdict::Failure(Reply::new(535, Status::new(5, 7, 8), "Authentication credentials invalid"))
    }
}

/// What quotas may ask for, as far as it is known at MAIL.
fn marks(subject: &Subject) -> Marks<'_> {
    let (session, transaction) = (subject.session.as_ref(), subject.transaction.as_ref());
    Marks {
        sender: transaction.and_then(|transaction| transaction.sender.0.as_ref()),
        recipients: &[],
        annotations: transaction.map(|transaction| &transaction.annotations),
        identity: session.and_then(|session| session.identity.as_ref()).map(|identity| &*identity.name),
        listener: session.map(|session| &*session.listener),
        client: session.map(|session| &*session.client.address),
    }
}

/// A deferral, not an end: the client may go on with what it has.
fn too_fast(what: &str) -> SessionVerdict {
    let reply = Reply::new(451, Status::new(4, 7, 1), format!("Too many {what} from your address, try again later"));
    SessionVerdict::Tempfail(reply)
}

/// RFC 5321 section 4.2.3.
pub(crate) fn insufficient_storage() -> Reply {
    Reply::new(452, Status::new(4, 3, 1), "Insufficient system storage, try again later")
}
