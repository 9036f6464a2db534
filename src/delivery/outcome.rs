//! What an answer or a failure means for a recipient. Pure.
//!
//! Unknown means temporary: only a reply that clearly says "never" is a failure. Must never lose or bounce on doubt.

use std::io;
use std::sync::Arc;

use crate::hooks::{OutcomeKind, Stage};
use crate::smtp::{Reply, Status};

/// What became of one recipient of a transaction. `reply` is the next hop's own unless `error` is there: then it is what
/// the relay says of a failure below SMTP, and `error` tells more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What became of it.
    pub kind: OutcomeKind,
    /// How far it came.
    pub stage: Stage,
    /// See above.
    pub reply: Option<Reply>,
    /// What went wrong below SMTP.
    pub error: Option<Arc<str>>,
}

/// What a reply at a stage means. At [`Stage::Answer`] and [`Stage::Rcpt`] 2yz is good; at the others this is only asked
/// of refusals.
pub fn classify(stage: Stage, reply: &Reply) -> OutcomeKind {
    match (stage, reply.code) {
        (Stage::Answer | Stage::Done, 200..=299) => OutcomeKind::Delivered,
        // RFC 5321 section 4.5.3.1.10: 552 to RCPT is an old way to say 452, too many recipients.
        (Stage::Rcpt, 552) => OutcomeKind::Temporary,
        // A wrong password is the operator's to mend, not the sender's: the mail waits.
        (Stage::Auth, _) => OutcomeKind::Temporary,
        // RFC 5321 section 3.1 lets a 554 greeting mean "no SMTP service here", and servers say it to clients they
        // dislike today. Only RFC 7504's 521 says that this host never takes mail.
        (Stage::Greeting, 521) => OutcomeKind::Permanent,
        (Stage::Greeting | Stage::Tls, _) => OutcomeKind::Temporary,
        (_, 500..=599) => OutcomeKind::Permanent,
        _ => OutcomeKind::Temporary,
    }
}

/// The enhanced status of an outcome, for reports: the reply's own, or what its code and the stage allow to say (RFC
/// 3463 section 2: a class alone is `X.0.0`).
pub fn status(kind: OutcomeKind, stage: Stage, reply: Option<&Reply>) -> Status {
    let class = match kind {
        OutcomeKind::Delivered => 2,
        OutcomeKind::Temporary => 4,
        OutcomeKind::Permanent | OutcomeKind::Expired => 5,
    };
    // A 552 to RCPT is deferred and the report of an expired message is a failure: the class is that of the outcome.
    if let Some(given) = reply.and_then(|r| r.status) {
        return Status { class, ..given };
    }
    match (kind, stage) {
        (OutcomeKind::Delivered, _) => Status::new(2, 0, 0),
        (_, Stage::Resolve) => Status::new(class, 4, 3),
        (_, Stage::Connect) if reply.is_none() => Status::new(class, 4, 1),
        (_, _) if reply.is_none() => Status::new(class, 4, 2),
        _ => Status::new(class, 0, 0),
    }
}

impl Delivered {
    /// By a reply of the next hop.
    pub fn of_reply(stage: Stage, reply: Reply) -> Self {
        let kind = classify(stage, &reply);
        let stage = if kind == OutcomeKind::Delivered { Stage::Done } else { stage };
        Self { kind, stage, reply: Some(reply), error: None }
    }

    /// The connection is of no use any more. After the final dot the next hop may have the message or not: trying again
    /// makes a duplicate at worst (RFC 5321 section 4.5.4.2 and RFC 1047).
    pub fn of_error(stage: Stage, error: &io::Error) -> Self {
        Self::temporary(stage, words(stage, error), error.to_string().into())
    }

    /// Not now, for a reason of the relay's own.
    pub fn temporary(stage: Stage, reply: Reply, error: Arc<str>) -> Self {
        Self { kind: OutcomeKind::Temporary, stage, reply: Some(reply), error: Some(error) }
    }

    /// Never, for a reason of the relay's own.
    pub fn permanent(stage: Stage, reply: Reply) -> Self {
        let error = reply.lines.first().cloned().unwrap_or_default();
        Self { kind: OutcomeKind::Permanent, stage, reply: Some(reply), error: Some(error) }
    }
}

/// What the relay says of a failure below SMTP: bland, without addresses or paths.
pub fn words(stage: Stage, error: &io::Error) -> Reply {
    let late = error.kind() == io::ErrorKind::TimedOut;
    let at = match stage {
        Stage::Queue | Stage::Resolve | Stage::Connect => {
            let text = if late { "the next hop can't be reached: timed out" } else { "the next hop can't be reached" };
            return Reply::new(451, Status::new(4, 4, 1), text);
        }
        Stage::Tls => {
            let text = if late { "timed out in the TLS handshake" } else { "the TLS handshake failed" };
            return Reply::new(451, Status::new(4, 7, 5), text);
        }
        Stage::Greeting => "waiting for the greeting",
        Stage::Helo => "in EHLO",
        Stage::Auth => "in AUTH",
        Stage::Mail => "in MAIL",
        Stage::Rcpt => "in RCPT",
        Stage::Data => "while the message was sent",
        Stage::Answer | Stage::Done => "after the end of the message; it may be delivered twice",
    };
    let what = match error.kind() {
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::InvalidData => "the next hop broke the protocol",
        _ => "lost the connection",
    };
    Reply::new(451, Status::new(4, 4, 2), format!("{what} {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_mean_what_their_stage_makes_of_them() {
        use OutcomeKind::{Delivered, Permanent, Temporary};
        let table = [
            (Stage::Greeting, 421, Temporary),
            (Stage::Greeting, 554, Temporary),
            (Stage::Greeting, 521, Permanent),
            (Stage::Helo, 550, Permanent),
            (Stage::Helo, 450, Temporary),
            (Stage::Tls, 554, Temporary),
            (Stage::Auth, 535, Temporary),
            (Stage::Mail, 550, Permanent),
            (Stage::Mail, 451, Temporary),
            (Stage::Rcpt, 550, Permanent),
            (Stage::Rcpt, 552, Temporary),
            (Stage::Rcpt, 452, Temporary),
            (Stage::Rcpt, 354, Temporary),
            (Stage::Data, 554, Permanent),
            (Stage::Data, 250, Temporary),
            (Stage::Answer, 250, Delivered),
            (Stage::Answer, 354, Temporary),
            (Stage::Answer, 552, Permanent),
            (Stage::Answer, 421, Temporary),
        ];
        for (stage, code, want) in table {
            assert_eq!(classify(stage, &Reply::bare(code, [])), want, "{stage:?} {code}");
        }
    }

    #[test]
    fn a_lost_connection_is_temporary_at_every_stage() {
        for stage in [Stage::Connect, Stage::Greeting, Stage::Tls, Stage::Mail, Stage::Data, Stage::Answer] {
            let lost = Delivered::of_error(stage, &io::ErrorKind::UnexpectedEof.into());
            assert_eq!((lost.kind, lost.stage), (OutcomeKind::Temporary, stage));
            assert!(lost.reply.is_some_and(|r| r.is_transient()) && lost.error.is_some());
        }
    }

    #[test]
    fn a_status_is_found_for_every_outcome() {
        let kind = OutcomeKind::Temporary;
        assert_eq!(status(kind, Stage::Connect, None).to_string(), "4.4.1");
        assert_eq!(status(kind, Stage::Answer, None).to_string(), "4.4.2");
        let reply = Reply::new(552, Status::new(5, 5, 3), "too many");
        assert_eq!(status(kind, Stage::Rcpt, Some(&reply)).to_string(), "4.5.3");
        assert_eq!(status(OutcomeKind::Permanent, Stage::Rcpt, Some(&Reply::bare(550, []))).to_string(), "5.0.0");
        assert_eq!(status(OutcomeKind::Delivered, Stage::Done, None).to_string(), "2.0.0");
    }
}
