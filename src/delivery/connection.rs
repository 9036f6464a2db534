//! A connection to a next hop: drives the client machines over a stream, with time limits.
//!
//! Memory is bounded whatever the size of a message: small ones are written in one piece, larger ones as they are read
//! from the spool. Must never send the final dot after content that could not be read whole.

mod wire;

use std::io;
use std::sync::Arc;

use self::wire::{Wire, within};
use super::client::{Capabilities, Next, OpenError, Opener, OutboundMail, TlsUse, Transaction, Wanted};
use super::connector::{Connector, Secured};
use super::egress::Egress;
use super::outcome::Delivered;
use super::requirement::{Level, Requirement};
use super::transcript::Transcript;
use super::{Credential, Timeouts};
use crate::hooks::{Endpoint, Stage, TlsFacts};
use crate::routing::{Address, Target};
use crate::tls::Fault;

/// Where TLS begins without STARTTLS (RFC 8314 section 3.3).
const IMPLICIT_TLS_PORT: u16 = 465;

/// How a connection is opened and used.
#[derive(Clone, Debug)]
pub struct Opening {
    /// This relay's name, for EHLO.
    pub hostname: Arc<str>,
    /// Which TLS it must have.
    pub tls: Requirement,
    /// To authenticate with. Never sent without TLS, unless the level is `Off`.
    pub credential: Option<Credential>,
    /// From where to connect.
    pub source: Egress,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

/// An open connection, ready for mail.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    capabilities: Capabilities,
    lmtp: bool,
    host: Arc<str>,
    endpoint: Endpoint,
    address: Address,
    tls: Option<TlsFacts>,
    fault: Option<Fault>,
    timeouts: Timeouts,
    /// A transaction was left open: RSET comes before the next MAIL.
    reset: bool,
    broken: bool,
    /// The transaction whose commands went out with the end of the one before.
    ahead: Option<Transaction>,
    /// What is said in this transaction, and in the one ahead.
    transcript: Transcript,
    next_transcript: Transcript,
    /// Of the last transaction: recipients that were too many for it.
    left: Vec<usize>,
    /// As [`Transaction::most`].
    most: Option<usize>,
}

impl Connection {
    /// Connects to `target` and goes as far as mail can be sent: greeting, EHLO or LHLO, STARTTLS by policy, AUTH.
    /// Under the opportunistic policy a failed handshake leads to a second connection in plain text (RFC 7435).
    ///
    /// # Errors
    /// When it does not come that far; the connection is closed then.
    pub async fn open(connector: &dyn Connector, target: &Target, how: &Opening) -> Result<Self, OpenError> {
        let implicit = is_implicit(target);
        let again = || Opener::plain_again(Arc::clone(&how.hostname), target.lmtp, how.credential.clone());
        let (tls, fall_back) = match &how.tls.level {
            Level::Off => (TlsUse::Never, false),
            Level::Plain if !implicit => {
                let plain = Self::attempt(connector, target, how, again(), false);
                return plain.await.map_err(|failed| failed.error);
            }
            Level::Plain | Level::Opportunistic => (TlsUse::IfOffered, !implicit),
            Level::Encrypt | Level::Verify | Level::Dane(_) => (TlsUse::Must, false),
            Level::Refuse(refusal) => return Err(OpenError::refused(*refusal, how.tls.because)),
        };
        let secured = tls != TlsUse::Never && implicit;
        let opener = Opener::new(Arc::clone(&how.hostname), target.lmtp, tls, secured, how.credential.clone());
        let fault = match Self::attempt(connector, target, how, opener, secured).await {
            Err(failed) if fall_back && failed.handshake => failed.error.fault,
            done => return done.map_err(|failed| failed.error),
        };
        match Self::attempt(connector, target, how, again(), false).await {
            Ok(connection) => Ok(Self { fault, ..connection }),
            Err(failed) => Err(OpenError { fault, ..failed.error }),
        }
    }

    async fn attempt(
        connector: &dyn Connector,
        target: &Target,
        how: &Opening,
        mut opener: Opener,
        implicit: bool,
    ) -> Result<Self, Failed> {
        let connecting = connector.connect(&target.address, &how.source);
        let stream = within(how.timeouts.connect, connecting).await.map_err(|e| Failed::by(Stage::Connect, &e))?;
        let mut wire = Wire::new(stream);
        let mut tls = None;
        let mut fault = None;
        if implicit {
            (wire, tls, fault) = Box::pin(wire.secure(connector, target, how)).await?;
        }
        loop {
            let limit = how.timeouts.reply(opener.stage());
            let reply = wire.reply(limit).await.map_err(|e| Failed::waiting(opener.stage(), &e))?;
            let mut next = opener.reply(reply, &mut wire.out);
            if next == Next::Handshake {
                (wire, tls, fault) = Box::pin(wire.secure(connector, target, how)).await?;
                next = opener.secured(&mut wire.out);
            }
            match next {
                Next::Reply | Next::Handshake => {
                    let commands = std::mem::take(&mut wire.out);
                    let unasked = wire.ask(&commands, how.timeouts.block).await;
                    if let Some(reply) = unasked.map_err(|e| Failed::by(opener.stage(), &e))? {
                        let error = OpenError::of_reply(opener.stage(), reply);
                        return Err(Failed { error, handshake: false });
                    }
                }
                Next::Ready => break,
                Next::Failed(error) => {
                    wire.quit(how.timeouts.quit).await;
                    return Err(Failed { error, handshake: false });
                }
            }
        }
        Ok(Self {
            wire,
            capabilities: *opener.capabilities(),
            lmtp: target.lmtp,
            host: Arc::clone(&target.host),
            endpoint: endpoint_of(&target.address),
            address: target.address.clone(),
            tls,
            fault,
            timeouts: how.timeouts,
            reset: false,
            broken: false,
            ahead: None,
            transcript: Transcript::default(),
            next_transcript: Transcript::default(),
            left: Vec::new(),
            most: None,
        })
    }

    /// One transaction. One result for each recipient, in their order.
    pub async fn send(&mut self, mail: &OutboundMail<'_>) -> Vec<Delivered> {
        self.send_with_next(mail, None).await
    }

    /// One transaction, and, where the next hop allows it, the commands of the one after it in the same write as the
    /// final dot (RFC 2920 section 3.1): that saves a round trip for each message of a row.
    ///
    /// Whoever names a `next` must send that very mail next over this connection, without waiting for anything but this
    /// result, or drop the connection: the server is waiting for its content. Another mail is not sent but deferred, and
    /// the connection is of no use then.
    pub async fn send_with_next(&mut self, mail: &OutboundMail<'_>, next: Option<&OutboundMail<'_>>) -> Vec<Delivered> {
        let mut transaction = self.begin(mail);
        let mut following = next.map(|next| Transaction::new(next, &self.capabilities, self.lmtp, false));
        let mut announced = false;
        loop {
            let step = match transaction.advance() {
                Wanted::Send(commands) => {
                    self.transcript.said(commands);
                    let unasked = self.wire.ask(commands, self.timeouts.block).await;
                    unasked.map(|unasked| {
                        unasked.into_iter().for_each(|reply| {
                            self.transcript.heard(&reply);
                            transaction.reply(reply);
                        });
                    })
                }
                Wanted::Reply(stage) => self.wire.reply(self.timeouts.reply(stage)).await.map(|reply| {
                    self.transcript.heard(&reply);
                    transaction.reply(reply);
                }),
                Wanted::Content => {
                    // What is left of this one comes before any other.
                    let following = following.as_mut().filter(|_| transaction.left().is_empty());
                    let commands = following.and_then(Transaction::send_ahead);
                    announced = commands.is_some();
                    self.transcript.note("(the content)");
                    self.next_transcript.said(commands.unwrap_or_default());
                    match self.wire.send_content(mail, commands.unwrap_or_default(), self.timeouts.block).await {
                        Ok(()) => transaction.content_sent(),
                        Err(error) => match self.wire.last_words().await {
                            Some(reply) => {
                                self.transcript.heard(&reply);
                                transaction.cut_short(reply);
                            }
                            None => transaction.lost(&error),
                        },
                    }
                    Ok(())
                }
                Wanted::Nothing => break,
            };
            if let Err(error) = step {
                self.transcript.note(&error.to_string());
                transaction.lost(&error);
            }
        }
        self.broken |= transaction.is_broken();
        self.reset = transaction.is_open();
        if announced && !self.broken {
            self.ahead = following;
        }
        (self.left, self.most) = (transaction.left().to_vec(), transaction.most());
        transaction.finish()
    }

    /// Of the recipients of the last mail, by their places, those that were too many for one transaction: they may be sent
    /// to in another, at once (RFC 5321 section 4.5.3.1.10, RFC 9422 section 4).
    pub fn left(&self) -> &[usize] {
        &self.left
    }

    /// How many to send to at a time, if the last mail showed that more make the server hang up.
    pub fn most(&self) -> Option<usize> {
        self.most
    }

    /// The transaction of this mail: the one that was announced, if it is.
    fn begin(&mut self, mail: &OutboundMail<'_>) -> Transaction {
        let mut transaction = Transaction::new(mail, &self.capabilities, self.lmtp, self.reset);
        std::mem::swap(&mut self.transcript, &mut self.next_transcript);
        self.next_transcript.clear();
        match self.ahead.take() {
            Some(ahead) if ahead.is_same(&transaction) => return ahead,
            Some(_) => {
                self.broken = true;
                transaction.lost(&io::Error::other("another message was announced to the next hop"));
            }
            None if self.broken => transaction.lost(&io::ErrorKind::NotConnected.into()),
            None => {}
        }
        transaction
    }

    /// False once the server said 421, broke the protocol or went away, as far as this is known without asking it.
    pub fn is_usable(&self) -> bool {
        !self.broken
    }

    /// As [`Self::is_usable`], after a look at the stream: false if the server closed it or said something unasked (such
    /// as 421, when it grew tired of waiting). Costs no round trip. For a connection that stood idle.
    pub fn is_still_usable(&mut self) -> bool {
        if !self.broken && self.ahead.is_none() {
            self.broken = !self.wire.is_quiet();
        }
        !self.broken
    }

    /// Gives up the memory that only a transaction needs. For a connection that will stand idle.
    pub fn idle(&mut self) {
        self.wire.idle();
        if self.ahead.is_none() {
            (self.transcript, self.next_transcript) = (Transcript::default(), Transcript::default());
            self.left = Vec::new();
        }
    }

    /// What was said in the last transaction, without the content.
    pub fn dialogue(&self) -> Arc<str> {
        self.transcript.text()
    }

    /// What protects it.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// What went wrong under TLS, or would have under a stricter requirement, without keeping the connection from being
    /// opened: a handshake that plain text came after, or a certificate that was only looked at.
    pub fn tls_fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Host name and address of the other end.
    pub fn remote(&self) -> (&Arc<str>, &Endpoint) {
        (&self.host, &self.endpoint)
    }

    /// The target's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the next hop offers. Without DSN, this relay is the one to confirm what was asked to be confirmed (RFC 3461
    /// section 5.2.2).
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Says QUIT and closes, without waiting for long.
    pub async fn quit(mut self) {
        // After an announced transaction the server takes whatever comes for content.
        if !self.broken && self.ahead.is_none() {
            self.wire.quit(self.timeouts.quit).await;
        }
    }
}

impl Wire {
    /// The handshake, over a stream that has nothing unread: what came in plain text behind the answer to STARTTLS was
    /// not said by whom we are about to trust (RFC 3207 section 4.2, CVE-2011-0411 and its kin).
    async fn secure(
        self,
        connector: &dyn Connector,
        target: &Target,
        how: &Opening,
    ) -> Result<(Self, Option<TlsFacts>, Option<Fault>), Failed> {
        if !self.unread.is_empty() || !self.reader.is_empty() {
            let error = io::Error::new(io::ErrorKind::InvalidData, "octets in plain text after STARTTLS");
            return Err(Failed::by(Stage::Tls, &error));
        }
        let handshake = connector.secure(self.stream, &target.host, &how.tls);
        match within(how.timeouts.tls, handshake).await {
            Ok(Secured { stream, facts, found }) => Ok((Self::new(stream), Some(facts), found)),
            Err(error) => {
                let failed = Failed::by(Stage::Tls, &error);
                let error = OpenError { fault: Some(Fault::of(&error)), ..failed.error };
                Err(Failed { error, handshake: true })
            }
        }
    }
}

/// Why an attempt to open failed, and whether plain text could do better.
struct Failed {
    error: OpenError,
    handshake: bool,
}

impl Failed {
    fn by(stage: Stage, error: &io::Error) -> Self {
        Self { error: OpenError::of_error(stage, error), handshake: false }
    }

    /// For a reply. A server that breaks off at STARTTLS is as good as one that fails in the handshake.
    fn waiting(stage: Stage, error: &io::Error) -> Self {
        let failed = Self::by(stage, error);
        if stage != Stage::Tls {
            return failed;
        }
        Self { error: OpenError { fault: Some(Fault::of(error)), ..failed.error }, handshake: true }
    }
}

pub(super) fn is_implicit(target: &Target) -> bool {
    matches!(&target.address, Address::Tcp(address) if address.port() == IMPLICIT_TLS_PORT) && !target.lmtp
}

fn endpoint_of(address: &Address) -> Endpoint {
    match address {
        Address::Tcp(address) => Endpoint::of(*address),
        Address::Unix(path) => Endpoint { address: format!("unix:{}", path.display()).into(), port: 0 },
    }
}

#[cfg(test)]
mod tests;
