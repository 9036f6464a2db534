//! The machine's whole vocabulary: what it wants done, what it asks, what it is told.

use std::sync::Arc;

use bytes::Bytes;

use super::ScramVerifier;
use crate::hooks::{AuthAttempt, AuthVerdict, SessionVerdict, Subject, TlsFacts};
use crate::mail::QueueId;
use crate::smtp::Reply;

/// What the loop is to do next.
#[derive(Debug)]
pub enum Action {
    /// Nothing without more octets: read. Whatever was to be sent came before, as one `Send`.
    Read(Awaited),
    /// Octets for the client: all replies since the last `Send`. Comes only right before `Read`, `StartTls` or `Close`.
    Send(Bytes),
    /// Before the greeting: wait as long as the configuration says, at least look whether the client has spoken; hand over
    /// what it said, then call `receive` with `Input::Listened`.
    Listen,
    /// From now on the peer speaks for the client that `facts` name: what is counted is that client's. If a rule is against it,
    /// call `receive` with `Input::End`.
    Represent,
    /// Ask, then call `answer`.
    Ask(Box<Question>),
    /// MAIL was good, a transaction begins: pin a set of hooks for it, then call `begin` with its id, and with what that
    /// set may say about relaying.
    Begin,
    /// Mail data is coming: open a draft.
    Open,
    /// A piece of the body for the draft.
    Keep(Bytes),
    /// The transaction ended without being kept: drop the draft, if there is one, and let go of its hooks. After an
    /// answer `Queued` there is none.
    Discard,
    /// Flush what was sent, do the handshake, then call `receive` with `Input::Tls`. Octets received beyond the
    /// command were dropped (RFC 3207 section 4.2).
    StartTls,
    /// Flush what was sent and close.
    Close,
}

/// What the client is waited for: other time limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A command, or a line of an exchange.
    Command,
    /// A command, most likely for the next chunk: a message by BDAT is under way.
    NextChunk,
    /// Mail data.
    Data,
}

/// Who says whether a client that the relay does not know may send to others than the relay's own domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayAccess {
    /// The relay's rule.
    #[default]
    Ruled,
    /// Where the rule says no, the rcpt hook is asked, and has to say `accept`.
    Asked,
}

/// Who vouches for a client of which no hook knows anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouches {
    /// The relay's own credentials, if the secret is theirs. Never for another than the name itself.
    Credentials,
    /// The session: the exchange proved the name, and the name only. There is no secret.
    Session,
    /// Nobody: a token is worth what a hook says.
    Hook,
}

/// What the machine can't decide.
#[derive(Debug)]
pub enum Question {
    /// Hook connect.
    Connect(Subject),
    /// Hook helo, with HELO's argument in `subject.session.helo`.
    Helo(Subject),
    /// What there is of this name for SCRAM. Of an unknown name too there has to be something, always the same, that no
    /// password leads to.
    Verifier(Arc<str>),
    /// Hook auth, then whoever else vouches for the client.
    Auth(Subject, AuthAttempt, Vouches),
    /// Hook mail.
    Mail(Subject),
    /// Hook rcpt; `subject.candidate` is the recipient. With `subject.unauthorized` the relay's rule says no to it, and
    /// `Accept` must not be answered but by whom that was left to.
    Rcpt(Subject),
    /// Mail data has ended. `subject.message` is there but for its body and `received_at` (so far that of MAIL), which
    /// the loop puts in from draft and clock. `separator` says whether an empty line is to be written after the header
    /// section: it is true also where the client sent none before a body whose first line is no field, because that
    /// line would otherwise become part of the trace field put on top. `subject.transaction` travels with the
    /// question, and does not come back.
    /// Answered after the hooks message and route and, unless refused, the commit to the queue.
    Message(Subject),
}

/// The answer to the question asked last.
#[derive(Debug)]
pub enum Answer {
    /// To Connect, Helo, Mail and Rcpt: the subject as edited, and the verdict. The transaction must come back with it.
    Session(Subject, SessionVerdict),
    /// To Verifier.
    Verifier(ScramVerifier),
    /// To Auth.
    Auth(Subject, AuthVerdict),
    /// To Message: what became of it.
    Message(MessageAnswer),
}

/// What became of a message.
#[derive(Debug)]
pub enum MessageAnswer {
    /// In the queue, flushed: the relay is responsible now (RFC 5321 section 6.1). With LMTP, but for these recipients, by
    /// index, and what they are answered.
    Queued(QueueId, Vec<(u32, Reply)>),
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
    /// Octets from the client. While a question is out they wait, and are not bounded here: read only at `Read`.
    Octets(&'a [u8]),
    /// What was to be heard before the greeting was handed over.
    Listened,
    /// The TLS handshake is done.
    Tls(TlsFacts),
    /// Too long without a command or data. Ignored while a question is out.
    TimedOut,
    /// It is enough: say this line, a 421, and close. Ignored while a question is out.
    End(&'a str),
    /// The relay is shutting down: 421 as soon as no transaction is open, an open message is still taken.
    Draining,
}
