//! The machine's whole vocabulary: what it wants done, what it asks, what it is told.

use bytes::Bytes;

use crate::hooks::{AuthAttempt, AuthVerdict, SessionVerdict, Subject, TlsFacts};
use crate::mail::QueueId;
use crate::smtp::Reply;

/// What the loop is to do next.
#[derive(Debug)]
pub enum Action {
    /// Nothing without more octets: flush what was sent, then read. The wait is for a command, or for mail data.
    Read {
        /// True while mail data comes: another time limit applies.
        data: bool,
    },
    /// Octets for the client. May be gathered until the next `Read`, `StartTls` or `Close`.
    Send(Bytes),
    /// Ask, then call `answer`.
    Ask(Box<Question>),
    /// MAIL was taken, the transaction begins: pin a set of hooks for it.
    Begin,
    /// Mail data is coming: open a draft.
    Open,
    /// A piece of the body for the draft.
    Keep(Bytes),
    /// The transaction ended without being kept: drop the draft, if there is one.
    Discard,
    /// Flush what was sent, do the handshake, then call `receive` with `Input::Tls`. Octets received beyond the
    /// command were dropped (RFC 3207 section 4.2).
    StartTls,
    /// Flush what was sent and close.
    Close,
}

/// What the machine can't decide.
#[derive(Debug)]
pub enum Question {
    /// Hook connect.
    Connect(Subject),
    /// Hook helo, with HELO's argument in `subject.session.helo`.
    Helo(Subject),
    /// Hook auth, then the relay's own credentials.
    Auth(Subject, AuthAttempt),
    /// Hook mail.
    Mail(Subject),
    /// Hook rcpt; `subject.candidate` is the recipient.
    Rcpt(Subject),
    /// Mail data has ended. `subject.message` is there but for its body, which the loop puts in from the draft.
    /// Answered after the hooks message and route and, unless refused, the commit to the queue.
    Message(Subject),
}

/// The answer to the question asked last.
#[derive(Debug)]
pub enum Answer {
    /// To Connect, Helo, Mail and Rcpt: the subject as edited, and the verdict.
    Session(Subject, SessionVerdict),
    /// To Auth.
    Auth(Subject, AuthVerdict),
    /// To Message: what became of it.
    Message(MessageAnswer),
}

/// What became of a message.
#[derive(Debug)]
pub enum MessageAnswer {
    /// In the queue, flushed: the relay is responsible now (RFC 5321 section 6.1).
    Queued(QueueId),
    /// The message verdict was discard: answered like queued.
    Discarded(QueueId),
    /// Refused by a hook, or not kept: 4yz or 5yz.
    Refused(Reply),
    /// As `Refused`, then the connection is closed.
    RefusedClosing(Reply),
}

/// What the loop tells the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// Octets from the client.
    Octets(&'a [u8]),
    /// The TLS handshake is done.
    Tls(TlsFacts),
    /// Too long without a command or data.
    TimedOut,
    /// The relay is shutting down: 421 at the next command, an open message is still taken.
    Draining,
}
