//! DATA: mail data up to its end, with the limits that hold for it, and the answer to the message.
//!
//! The header section is held in memory, the body goes on as it comes. A message that is refused on the way is still
//! read to its true end (RFC 5321 section 4.1.1.4), and nothing of it kept.

use bytes::{Bytes, BytesMut};

use super::{Action, Asked, Config, MessageAnswer, Question, Session, State};
use crate::hooks::{MessageFacts, Subject};
use crate::mail::{HeaderSplitter, hop_count};
use crate::smtp::dot::{Decoder, Piece};
use crate::store::Content;

/// Mail data under way.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Decoder,
    splitter: HeaderSplitter,
    /// Of content, dots unstuffed.
    size: u64,
    /// Body octets not yet handed out.
    body: BytesMut,
    has_body: bool,
    /// What the message will be answered, if it can't be kept.
    refusal: Option<&'static str>,
}

const TOO_BIG: &str = "552 5.3.4 message too big";
const HEADER_TOO_BIG: &str = "552 5.3.4 header section too big";
/// RFC 5321 section 2.3.8: they must not be sent, and who reads them as line ends sees another message than we do.
const BARE: &str = "550 5.6.11 bare CR or LF in the message";
const LOOP: &str = "554 5.4.6 too many hops, this is a mail loop";

impl Incoming {
    fn new(config: &Config) -> Self {
        Self {
            decoder: Decoder::default(),
            splitter: HeaderSplitter::new(config.max_header_size),
            size: 0,
            body: BytesMut::new(),
            has_body: false,
            refusal: None,
        }
    }

    /// Takes mail data from the front of `input`; true once its end was seen.
    fn take(&mut self, input: &mut &[u8], config: &Config) -> bool {
        while let Some(piece) = self.decoder.pull(input) {
            match piece {
                Piece::End => return true,
                Piece::Data(octets) if self.refusal.is_none() => self.keep(octets, config),
                Piece::Data(_) => {}
            }
        }
        false
    }

    fn keep(&mut self, octets: &[u8], config: &Config) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > config.max_message_size {
            return self.refuse(TOO_BIG);
        }
        if self.decoder.saw_bare() {
            return self.refuse(BARE);
        }
        match self.splitter.push(octets) {
            Ok((held, rest)) => {
                self.body.extend_from_slice(&held);
                self.body.extend_from_slice(rest);
            }
            Err(_) => self.refuse(HEADER_TOO_BIG),
        }
    }

    fn refuse(&mut self, line: &'static str) {
        self.refusal = Some(line);
        self.body = BytesMut::new();
    }

    /// What there is of the body.
    fn piece(&mut self) -> Option<Bytes> {
        self.has_body |= !self.body.is_empty();
        (!self.body.is_empty()).then(|| self.body.split().freeze())
    }
}

impl Session {
    pub(super) fn data(&mut self) {
        let refusal = match &self.transaction {
            None => "503 5.5.1 MAIL first",
            Some(transaction) if transaction.recipients.is_empty() => "554 5.5.1 no valid recipients",
            Some(_) => return self.open(),
        };
        // A client must wait for 354 (RFC 2920 section 3.1). What came after this DATA is mail text that would be
        // taken for commands.
        if self.lines.is_empty() {
            return self.refuse(refusal);
        }
        self.say(refusal);
        self.close();
    }

    fn open(&mut self) {
        self.actions.push_back(Action::Open);
        self.say("354 end data with <CR><LF>.<CR><LF>");
        self.state = State::Data(Box::new(Incoming::new(&self.config)));
        let early = self.lines.take();
        if !early.is_empty() {
            self.take_data(&early);
        }
    }

    pub(super) fn take_data(&mut self, octets: &[u8]) {
        let State::Data(incoming) = &mut self.state else { return };
        let mut input = octets;
        let ended = incoming.take(&mut input, &self.config);
        if let Some(piece) = incoming.piece() {
            self.actions.push_back(Action::Keep(piece));
        }
        if ended {
            self.lines.push(input);
            self.end_data();
        }
    }

    fn end_data(&mut self) {
        let State::Data(incoming) = std::mem::replace(&mut self.state, State::Ready) else { return };
        let Incoming { decoder, splitter, has_body, refusal, .. } = *incoming;
        let (header, separator, rest) = splitter.finish();
        let refusal = refusal
            .or_else(|| decoder.saw_bare().then_some(BARE))
            .or_else(|| (hop_count(&header) > self.config.max_hops).then_some(LOOP));
        if let Some(line) = refusal {
            if line == BARE {
                self.count_violation();
            }
            self.abandon();
            return self.refuse(line);
        }
        let has_body = has_body || !rest.is_empty();
        if !rest.is_empty() {
            self.actions.push_back(Action::Keep(rest));
        }
        let subject = self.transaction_subject();
        // A body that follows the header section at once is given the empty line it lacks: without it, its first line
        // would become part of the trace field that is put on top, or of the last field.
        let separator = separator || has_body;
        let received_at = subject.transaction.as_ref().map(|t| t.started_at).unwrap_or_default();
        let message = MessageFacts { received_at, header, separator, body: Content::default() };
        let subject = Subject { message: Some(message.into()), ..subject };
        self.ask(Asked::Message, Question::Message(subject));
    }

    pub(super) fn message_answered(&mut self, answer: MessageAnswer) {
        match answer {
            MessageAnswer::Queued(id) => {
                self.end_transaction();
                self.errors = 0;
                self.say(&format!("250 2.0.0 queued as {id}"));
            }
            // The client must not be able to tell.
            MessageAnswer::Discarded(id) => {
                self.discard();
                self.errors = 0;
                self.say(&format!("250 2.0.0 queued as {id}"));
            }
            MessageAnswer::Refused(reply) => {
                self.discard();
                self.deny_with(&reply);
            }
            MessageAnswer::RefusedClosing(reply) => {
                self.discard();
                self.say_reply(&reply);
                self.close();
            }
        }
    }
}
