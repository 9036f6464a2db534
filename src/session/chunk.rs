//! BDAT (RFC 3030): a message in chunks whose sizes are told beforehand, in which dots mean nothing.
//!
//! Whatever becomes of a chunk, so many octets of what follows its line are no commands: they are read, or the connection
//! ends. Between chunks the session takes commands. Never mixes with DATA.

use super::data::Incoming;
use super::{Action, Session, State};
use crate::smtp::Extension;

/// A chunk under way.
#[derive(Debug)]
pub(super) struct Chunk {
    /// As its line said.
    size: u64,
    /// Octets yet to come.
    left: u64,
    last: bool,
    /// Its answer, if the order of commands forbids it.
    refusal: Option<&'static str>,
}

/// More than nobody is told, and the rest of it not read: it would cost the relay more than the client.
const PATIENCE: u64 = 4;

impl Session {
    pub(super) fn bdat(&mut self, size: u64, last: bool) {
        let refusal = match &self.transaction {
            _ if !self.offers(Extension::Chunking) => Some("502 5.5.1 BDAT is not offered"),
            None => Some("503 5.5.1 MAIL first"),
            Some(transaction) if transaction.recipients.is_empty() => Some(self.no_recipients()),
            Some(_) => None,
        };
        if size > self.config.max_message_size.saturating_mul(PATIENCE) {
            self.refuse("552 5.3.4 message too big");
            return self.close();
        }
        if refusal.is_none() && self.incoming.is_none() {
            self.actions.push_back(Action::Open);
            let kind = self.transaction.as_ref().map(|t| t.body_kind).unwrap_or_default();
            self.incoming = Some(Box::new(Incoming::new(&self.config, kind)));
        }
        self.state = State::Chunk(Chunk { size, left: size, last, refusal });
        let here = self.lines.take_up_to(usize::try_from(size).unwrap_or(usize::MAX));
        self.take_chunk(&here);
    }

    /// Takes octets of the chunk; what follows it waits as commands.
    pub(super) fn take_chunk(&mut self, octets: &[u8]) {
        let State::Chunk(chunk) = &mut self.state else { return };
        let most = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(octets.len());
        let (content, rest) = octets.split_at_checked(most).unwrap_or((octets, &[]));
        chunk.left = chunk.left.saturating_sub(content.len() as u64);
        let (refused, ended) = (chunk.refusal.is_some(), chunk.left == 0);
        if !refused && let Some(incoming) = &mut self.incoming {
            incoming.take_raw(content, &self.config);
            self.actions.extend(incoming.piece().map(Action::Keep));
        }
        if !rest.is_empty() {
            self.lines.push(rest);
        }
        if ended && let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Ready) {
            self.end_chunk(&chunk);
        }
    }

    fn end_chunk(&mut self, chunk: &Chunk) {
        if let Some(line) = chunk.refusal {
            return self.refuse(line);
        }
        let Some(incoming) = self.incoming.take() else { return self.refuse("503 5.5.1 MAIL first") };
        if chunk.last {
            return self.end_data(*incoming);
        }
        // RFC 3030 section 2: what came of a message that is refused is forgotten, and chunks that still come are out of
        // order.
        if let Some(line) = incoming.refusal() {
            self.abandon();
            return self.refuse(line);
        }
        self.incoming = Some(incoming);
        self.say(&format!("250 2.0.0 {} octets received", chunk.size));
    }
}
