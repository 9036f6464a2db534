//! One mail transaction: MAIL, RCPT for each recipient, DATA, the content, and what became of each recipient.
//!
//! Where the next hop offers PIPELINING, the commands go out in groups that end in DATA (RFC 2920 section 3.1). A
//! transaction holds its rendered commands and nothing of the message, so that its first group can be sent before the
//! message's turn has come.

use std::io;

use super::envelope::{Envelope, Step};
use super::{Capabilities, OutboundMail};
use crate::delivery::outcome::Delivered;
use crate::hooks::Stage;
use crate::smtp::{Reply, Status};

/// Commands sent before a reply is waited for. Their replies, at most some 50 KB, must fit what the kernels buffer, or
/// both sides could wait for each other (RFC 2920 section 3.1).
const GROUP: usize = 100;

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Write this.
    Send(&'a [u8]),
    /// Read a reply and hand it to [`Transaction::reply`]; the stage says which timeout holds.
    Reply(Stage),
    /// Write the content and the final dot, then call [`Transaction::content_sent`].
    Content,
    /// The results are there.
    Nothing,
}

/// The machine.
#[derive(Debug)]
pub struct Transaction {
    envelope: Envelope,
    pipelining: bool,
    lmtp: bool,
    /// The content goes as a chunk, without DATA.
    chunk: bool,
    sent: usize,
    answered: usize,
    phase: Phase,
    /// The server has a transaction open.
    open: bool,
    broken: bool,
    seats: Vec<Seat>,
    /// Places of those that were too many.
    left: Vec<usize>,
    /// Recipients that were taken before the connection broke.
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Commands,
    Content,
    /// 354 came although no recipient was taken: RFC 2920 section 3.1 has us send an empty message, that the server then
    /// refuses.
    LoneDot,
    LoneDotAnswer,
    Answers,
    Done,
}

#[derive(Debug)]
enum Seat {
    Waiting,
    Accepted,
    Settled(Delivered),
}

impl Transaction {
    /// For `mail`. `reset`: the transaction before was left open.
    pub fn new(mail: &OutboundMail<'_>, peer: &Capabilities, lmtp: bool, reset: bool) -> Self {
        let mut seats: Vec<Seat> = mail.recipients.iter().map(|_| Seat::Waiting).collect();
        let mut left = Vec::new();
        let envelope = Envelope::render(mail, (peer, lmtp), reset, |place, refused| {
            if let Some(seat) = seats.get_mut(place) {
                *seat = Seat::Settled(refused.unwrap_or_else(|| {
                    left.push(place);
                    too_many()
                }));
            }
        });
        let phase = if envelope.steps.is_empty() { Phase::Done } else { Phase::Commands };
        Self {
            envelope,
            pipelining: peer.pipelining,
            lmtp,
            chunk: mail.is_binary(),
            sent: 0,
            answered: 0,
            phase,
            open: reset,
            broken: false,
            seats,
            left,
            taken: 0,
        }
    }

    /// True if `self`'s commands are those that `other` would send, for as many recipients.
    pub fn is_same(&self, other: &Self) -> bool {
        self.envelope == other.envelope && self.seats.len() == other.seats.len()
    }

    /// All commands, if they make one group that can be sent ahead, together with the end of the transaction before.
    /// They count as sent then.
    pub fn send_ahead(&mut self) -> Option<&[u8]> {
        let fits = self.pipelining && (1..=GROUP).contains(&self.envelope.steps.len()) && self.sent == 0;
        if !fits {
            return None;
        }
        self.sent = self.envelope.steps.len();
        Some(self.envelope.commands.as_bytes())
    }

    /// What is to be done now.
    pub fn advance(&mut self) -> Wanted<'_> {
        match self.phase {
            Phase::Commands if self.answered < self.sent => Wanted::Reply(self.stage()),
            Phase::Commands => match self.next_group() {
                Some((from, to)) => Wanted::Send(self.envelope.commands.as_bytes().get(from..to).unwrap_or_default()),
                None if self.chunk && self.sent == self.envelope.steps.len() && self.any_accepted() => {
                    self.phase = Phase::Content;
                    Wanted::Content
                }
                None => {
                    self.phase = Phase::Done;
                    Wanted::Nothing
                }
            },
            Phase::Content => Wanted::Content,
            Phase::LoneDot => {
                self.phase = Phase::LoneDotAnswer;
                Wanted::Send(b".\r\n")
            }
            Phase::LoneDotAnswer | Phase::Answers => Wanted::Reply(Stage::Answer),
            Phase::Done => Wanted::Nothing,
        }
    }

    /// Takes the reply that was wanted.
    pub fn reply(&mut self, reply: Reply) {
        if reply.code == 421 {
            // RFC 5321 section 3.8: the server is going; nothing after this reply is answered.
            return self.over(|stage| Delivered::of_reply(stage, reply.clone()));
        }
        match self.phase {
            Phase::Answers => self.answer(reply),
            Phase::LoneDotAnswer => {
                self.open = false;
                self.phase = Phase::Done;
            }
            _ => {
                let step = self.envelope.steps.get(self.answered).map(|(step, _)| *step);
                let stage = self.stage();
                let fits = match step {
                    Some(Step::Reset) => self.reset_reply(&reply),
                    Some(Step::Mail) => self.mail_reply(reply),
                    Some(Step::Rcpt(place)) => self.rcpt_reply(place, reply),
                    Some(Step::Data) => self.data_reply(reply),
                    None => false,
                };
                self.answered += 1;
                if !fits {
                    self.lost_at(stage, &out_of_step());
                }
            }
        }
    }

    /// The content and the final dot are written.
    pub fn content_sent(&mut self) {
        self.phase = Phase::Answers;
    }

    /// The connection broke, or a reply did not come in time.
    pub fn lost(&mut self, error: &io::Error) {
        self.lost_at(self.stage(), error);
    }

    /// The server refused the message before it had all of it, and closed the connection.
    pub fn cut_short(&mut self, reply: Reply) {
        self.over(|stage| Delivered::of_reply(stage, reply));
    }

    /// Places of the recipients that the server has too many of in this transaction, be it that it said so or that its
    /// limits are known. They have a result too, for those who do not want to send them again at once.
    pub fn left(&self) -> &[usize] {
        &self.left
    }

    /// How many recipients the server took at a time before it had enough of those that were too many, and closed the
    /// connection (Postfix counts them as errors): sent so few, they get through.
    pub fn most(&self) -> Option<usize> {
        (self.broken && !self.left.is_empty() && self.taken > 0).then_some(self.taken)
    }

    /// True when the connection can carry no further transaction.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// True when the server has a transaction open that RSET must close.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// One result for each recipient, in their order.
    pub fn finish(self) -> Vec<Delivered> {
        let stage = self.stage();
        let settle = |seat| match seat {
            Seat::Settled(delivered) => delivered,
            // The driver left early: as if the connection had broken.
            Seat::Waiting | Seat::Accepted => Delivered::of_error(stage, &io::ErrorKind::UnexpectedEof.into()),
        };
        self.seats.into_iter().map(settle).collect()
    }

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Commands => match self.envelope.steps.get(self.answered) {
                Some((Step::Reset | Step::Mail, _)) | None => Stage::Mail,
                Some((Step::Rcpt(_), _)) => Stage::Rcpt,
                Some((Step::Data, _)) => Stage::Data,
            },
            Phase::Content | Phase::LoneDot => Stage::Data,
            Phase::LoneDotAnswer | Phase::Answers | Phase::Done => Stage::Answer,
        }
    }

    /// The next commands to send, as a range of the rendered ones; none when there is no use in sending more.
    fn next_group(&mut self) -> Option<(usize, usize)> {
        while let Some((Step::Rcpt(place), _)) = self.envelope.steps.get(self.sent) {
            if !matches!(self.seats.get(*place), Some(Seat::Settled(_))) {
                break;
            }
            self.sent += 1;
            self.answered += 1;
        }
        let (step, _) = self.envelope.steps.get(self.sent)?;
        let hopeless = match step {
            Step::Reset | Step::Mail => false,
            Step::Rcpt(_) => !self.open,
            Step::Data => !self.any_accepted(),
        };
        if hopeless {
            return None;
        }
        let from = self.sent.checked_sub(1).and_then(|last| self.envelope.steps.get(last)).map_or(0, |(_, end)| *end);
        self.sent = self.envelope.steps.len().min(self.sent + if self.pipelining { GROUP } else { 1 });
        let to = self.envelope.steps.get(self.sent - 1).map_or(from, |(_, end)| *end);
        Some((from, to))
    }

    fn any_accepted(&self) -> bool {
        self.seats.iter().any(|seat| matches!(seat, Seat::Accepted))
    }

    fn reset_reply(&mut self, reply: &Reply) -> bool {
        self.open = false;
        reply.is_positive()
    }

    fn mail_reply(&mut self, reply: Reply) -> bool {
        self.open = reply.is_positive();
        if reply.is_transient() || reply.is_permanent() {
            self.settle(Delivered::of_reply(Stage::Mail, reply));
            return true;
        }
        self.open
    }

    fn rcpt_reply(&mut self, place: usize, reply: Reply) -> bool {
        if reply.code / 100 == 3 {
            return false;
        }
        // RFC 5321 section 4.5.3.1.10: enough recipients for this transaction, once some were taken. The rest is for
        // another. With another status it is about this recipient alone, or about the server's disk.
        let of_number = reply.status.is_none_or(|status| (status.subject, status.detail) == (5, 3));
        let enough = matches!(reply.code, 452 | 552) && of_number && self.any_accepted();
        let seat = self.seats.get_mut(place);
        let Some(seat @ Seat::Waiting) = seat else { return true };
        if reply.is_positive() {
            *seat = Seat::Accepted;
            return true;
        }
        let refused = Delivered::of_reply(Stage::Rcpt, reply);
        if enough {
            self.left.push(place);
            for (step, _) in self.envelope.steps.get(self.sent..).unwrap_or_default() {
                if let Step::Rcpt(place) = step
                    && let Some(seat @ Seat::Waiting) = self.seats.get_mut(*place)
                {
                    *seat = Seat::Settled(refused.clone());
                    self.left.push(*place);
                }
            }
        }
        if let Some(seat) = self.seats.get_mut(place) {
            *seat = Seat::Settled(refused);
        }
        true
    }

    fn data_reply(&mut self, reply: Reply) -> bool {
        match reply.code / 100 {
            3 if self.any_accepted() => self.phase = Phase::Content,
            // How many answers an LMTP server has for a message without recipients is anybody's guess.
            3 if self.lmtp => return false,
            3 => self.phase = Phase::LoneDot,
            4 | 5 => {
                self.settle(Delivered::of_reply(Stage::Data, reply));
                self.phase = Phase::Done;
            }
            _ => return false,
        }
        true
    }

    /// One answer for all, or, in LMTP, one for each recipient that was taken (RFC 2033 section 4.2).
    fn answer(&mut self, reply: Reply) {
        if reply.code / 100 == 3 {
            return self.lost_at(Stage::Answer, &out_of_step());
        }
        self.open = false;
        let answered = Delivered::of_reply(Stage::Answer, reply);
        if self.lmtp {
            if let Some(seat) = self.seats.iter_mut().find(|seat| matches!(seat, Seat::Accepted)) {
                *seat = Seat::Settled(answered);
            }
            if self.any_accepted() {
                return;
            }
        } else {
            self.settle(answered);
        }
        self.phase = Phase::Done;
    }

    fn lost_at(&mut self, stage: Stage, error: &io::Error) {
        self.over(|_| Delivered::of_error(stage, error));
    }

    fn over(&mut self, delivered: impl FnOnce(Stage) -> Delivered) {
        if self.phase == Phase::Commands {
            self.taken = self.seats.iter().filter(|seat| matches!(seat, Seat::Accepted)).count();
        }
        let delivered = delivered(self.stage());
        self.settle(delivered);
        self.broken = true;
        self.phase = Phase::Done;
    }

    /// The same for everybody who has no result yet.
    fn settle(&mut self, delivered: Delivered) {
        for seat in &mut self.seats {
            if !matches!(seat, Seat::Settled(_)) {
                *seat = Seat::Settled(delivered.clone());
            }
        }
    }
}

/// For those whose turn did not come after all.
fn too_many() -> Delivered {
    let text = "too many recipients for the next hop";
    Delivered::temporary(Stage::Rcpt, Reply::new(452, Status::new(4, 5, 3), text), text.into())
}

fn out_of_step() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply does not fit the command")
}
