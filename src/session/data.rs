//! DATA: mail data up to its end, with the limits that hold for it, and the answer to the message.
//!
//! The header section is held in memory, the body goes on as it comes. A message that is refused on the way is still
//! read to its true end (RFC 5321 section 4.1.1.4), and nothing of it kept. What is under way here may have come by BDAT
//! as well (`chunk`).

use bytes::{Bytes, BytesMut};

use super::{Action, Asked, Config, LineEnds, MessageAnswer, Question, Session, State};
use crate::hooks::{MessageFacts, Subject};
use crate::mail::{BodyKind, HeaderSplitter, hop_count};
use crate::smtp::Reply;
use crate::smtp::dot::{Decoder, Piece};
use crate::smtp::text::{Normaliser, Text};
use crate::store::Content;

/// Mail data under way.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Decoder,
    normaliser: Option<Normaliser>,
    /// Its body is not made of lines (RFC 3030 section 3).
    binary: bool,
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
/// RFC 5322 section 3.5 and RFC 6152 section 3 have none.
const NUL: &str = "550 5.6.0 NUL in the message";
const LONG_LINE: &str = "550 5.6.0 line too long in the message";
const LOOP: &str = "554 5.4.6 too many hops, this is a mail loop";

impl Incoming {
    pub(super) fn new(config: &Config, body_kind: BodyKind) -> Self {
        let binary = body_kind == BodyKind::BinaryMime;
        Self {
            decoder: Decoder::default(),
            normaliser: (config.line_ends == LineEnds::Normalise && !binary).then(Normaliser::default),
            binary,
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

    /// Takes a piece of a chunk.
    pub(super) fn take_raw(&mut self, octets: &[u8], config: &Config) {
        if self.refusal.is_none() {
            self.decoder.pass(octets);
            self.keep(octets, config);
        }
    }

    fn keep(&mut self, octets: &[u8], config: &Config) {
        if let Some(line) = self.fault(config) {
            return self.refuse(line);
        }
        match &mut self.normaliser {
            None => self.split(octets, config),
            Some(normaliser) => {
                let mut mended = BytesMut::with_capacity(octets.len() + 16);
                normaliser.push(octets, &mut mended);
                self.split(&mended, config);
            }
        }
    }

    fn split(&mut self, octets: &[u8], config: &Config) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > config.max_message_size {
            return self.refuse(TOO_BIG);
        }
        match self.splitter.push(octets) {
            Ok((held, rest)) => {
                self.body.extend_from_slice(&held);
                self.body.extend_from_slice(rest);
            }
            Err(_) => self.refuse(HEADER_TOO_BIG),
        }
    }

    /// What the text so far must not hold.
    fn fault(&self, config: &Config) -> Option<&'static str> {
        let text = self.decoder.text();
        if self.binary {
            return None;
        }
        if self.normaliser.is_none() {
            if text.saw_bare() {
                return Some(BARE);
            }
            if text.saw_nul() {
                return Some(NUL);
            }
        }
        (text.longest_line() > config.max_line_length).then_some(LONG_LINE)
    }

    fn refuse(&mut self, line: &'static str) {
        self.refusal = Some(line);
        self.body = BytesMut::new();
    }

    /// What it will be answered, as far as that is known.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// What there is of the body.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        self.has_body |= !self.body.is_empty();
        (!self.body.is_empty()).then(|| self.body.split().freeze())
    }

    /// Nothing follows.
    fn end(&mut self, config: &Config) {
        if self.refusal.is_some() {
            return;
        }
        let mut last = BytesMut::new();
        if let Some(normaliser) = &mut self.normaliser {
            normaliser.finish(&mut last);
        } else if self.decoder.text().ends_in_cr() && !self.binary {
            return self.refuse(BARE);
        }
        if !last.is_empty() {
            self.split(&last, config);
        }
    }
}

/// The header section of a binary message is text all the same.
fn is_text(block: &[u8]) -> bool {
    let mut text = Text::default();
    text.run(block, false);
    !text.saw_bare() && !text.saw_nul() && !text.ends_in_cr()
}

impl Session {
    pub(super) fn data(&mut self) {
        let refusal = match &self.transaction {
            None => "503 5.5.1 MAIL first",
            Some(_) if self.incoming.is_some() => "503 5.5.1 BDAT was begun",
            Some(transaction) if transaction.recipients.is_empty() => self.no_recipients(),
            // RFC 3030 section 3: DATA can't carry it.
            Some(transaction) if transaction.body_kind == BodyKind::BinaryMime => "503 5.5.1 BINARYMIME needs BDAT",
            Some(_) => return self.open(),
        };
        // A client must wait for 354 (RFC 2920 section 3.1). What came after this DATA is mail text that would be
        // taken for commands.
        if self.lines.is_empty() {
            return self.refuse(refusal);
        }
        tracing::info!(reply = refusal, "refused");
        self.say(refusal);
        self.close();
    }

    /// RFC 2033 section 4.2 has 503 where RFC 5321 section 3.3 has 554.
    pub(super) fn no_recipients(&self) -> &'static str {
        if self.config.lmtp { "503 5.5.1 no valid recipients" } else { "554 5.5.1 no valid recipients" }
    }

    fn open(&mut self) {
        if self.is_out_of_turn() {
            return;
        }
        self.actions.push_back(Action::Open);
        self.say("354 end data with <CR><LF>.<CR><LF>");
        self.state = State::Data(Box::new(Incoming::new(&self.config, BodyKind::SevenBit)));
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
            if let State::Data(incoming) = std::mem::replace(&mut self.state, State::Ready) {
                self.end_data(*incoming);
            }
        }
    }

    /// All of it is there.
    pub(super) fn end_data(&mut self, mut incoming: Incoming) {
        incoming.end(&self.config);
        let last = incoming.piece();
        let Incoming { decoder, splitter, has_body, refusal, binary, normaliser, .. } = incoming;
        let (header, separator, rest) = splitter.finish();
        let bare = || (decoder.saw_bare() && !binary && normaliser.is_none()).then_some(BARE);
        let header_fault = || (binary && !is_text(header.block())).then_some(BARE);
        let looping = || (hop_count(&header) > self.config.max_hops).then_some(LOOP);
        let refusal = refusal.or_else(bare).or_else(header_fault).or_else(looping);
        if let Some(line) = refusal {
            let answers = self.answers();
            if line == BARE || line == NUL {
                self.count_violation();
            }
            self.abandon();
            return self.refuse_all(line, answers);
        }
        self.actions.extend(last.map(Action::Keep));
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

    /// How many answers the message under way gets: one, or with LMTP one for each RCPT that was taken.
    fn answers(&self) -> usize {
        self.lmtp.len().max(1)
    }

    /// Says no to the message, once or for each recipient; it counts once.
    fn refuse_all(&mut self, line: &str, answers: usize) {
        for _ in 1..answers {
            self.say(line);
        }
        self.refuse(line);
    }

    pub(super) fn message_answered(&mut self, answer: MessageAnswer) {
        let recipients = std::mem::take(&mut self.lmtp);
        match answer {
            MessageAnswer::Queued(id, refused) => {
                self.end_transaction();
                self.errors = 0;
                if recipients.is_empty() {
                    return self.say(&format!("250 2.0.0 queued as {id}"));
                }
                for index in recipients {
                    match refused.iter().find(|(of, _)| *of == index) {
                        Some((_, reply)) => self.say_reply(reply),
                        None => self.say(&format!("250 2.0.0 queued as {id}")),
                    }
                }
            }
            // The client must not be able to tell.
            MessageAnswer::Discarded(id) => {
                self.discard();
                self.errors = 0;
                (0..recipients.len().max(1)).for_each(|_| self.say(&format!("250 2.0.0 queued as {id}")));
            }
            MessageAnswer::Refused(reply) => {
                self.discard();
                self.say_again(&reply, recipients.len());
                self.deny_with(&reply);
            }
            MessageAnswer::RefusedClosing(reply) => {
                self.discard();
                self.say_again(&reply, recipients.len());
                self.say_reply(&reply);
                self.close();
            }
        }
    }

    /// The reply for all RCPT of LMTP but the last.
    fn say_again(&mut self, reply: &Reply, recipients: usize) {
        (1..recipients).for_each(|_| self.say_reply(reply));
    }
}
