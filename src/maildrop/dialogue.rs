//! Handing one message over by SMTP: a client for one transaction with the relay's own listener.
//!
//! Knows nothing of TLS and routes: both ends are on one machine. Must never say that mail was taken unless a 250 after the data
//! said so, nor leave half of it taken where some of it may come again.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Envelope;
use crate::smtp::{Encoder, Reply, ReplyError, ReplyReader};

/// Longer than any chain of plugins may take for one answer, and the look-ups of a listener that asks who sent it.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in the queue, for those recipients that were not refused.
    Taken {
        /// What the relay said, with the queue id.
        reply: Reply,
        /// Recipients that were refused for good.
        refused: Vec<RecipientAnswer>,
    },
    /// Nothing is taken, for good: the message, or each of its recipients.
    Refused(Vec<RecipientAnswer>),
    /// Nothing is taken, and it may be tried again.
    Later(Reply),
}

/// What was said of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientAnswer {
    /// As in the envelope.
    pub recipient: String,
    /// The refusal.
    pub reply: Reply,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other end is no mail server.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// One transaction, from the greeting to QUIT. Recipients that are refused for good leave the others alone; one that may be tried
/// again later makes all of it wait, so that nobody gets it twice.
///
/// # Errors
/// When the connection ends before the answer: nothing is known then, and it has to be tried again.
pub async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    envelope: &Envelope,
    content: &[u8],
) -> Result<Answer, HandOverError> {
    let mut wire = Wire { stream, reader: ReplyReader::default(), ahead: Vec::new() };
    let answer = wire.transact(name, envelope, content).await?;
    // It has been answered: how the connection ends is of no concern.
    let _ = wire.stream.write_all(b"QUIT\r\n").await;
    let _ = wire.stream.shutdown().await;
    Ok(answer)
}

struct Wire<S> {
    stream: S,
    reader: ReplyReader,
    /// Read, and not looked at yet.
    ahead: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    async fn transact(&mut self, name: &str, envelope: &Envelope, content: &[u8]) -> Result<Answer, HandOverError> {
        let all = |reply: Reply| all(envelope, reply);
        let greeting = self.reply().await?;
        if !greeting.is_positive() {
            return Ok(all(greeting));
        }
        let hello = self.say(&format!("EHLO {name}")).await?;
        if !hello.is_positive() {
            return Ok(all(hello));
        }
        let offers = Offers::of(&hello);
        let mail = self.say(&offers.mail(envelope, content)).await?;
        if !mail.is_positive() {
            return Ok(all(mail));
        }
        let notify = envelope.notify.as_ref().filter(|_| offers.dsn);
        let notify = notify.map(|notify| format!(" NOTIFY={notify}")).unwrap_or_default();
        let mut refused = Vec::new();
        for recipient in &envelope.recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>{notify}")).await?;
            if reply.is_permanent() {
                refused.push(RecipientAnswer { recipient: recipient.clone(), reply });
            } else if !reply.is_positive() {
                return Ok(Answer::Later(reply));
            }
        }
        if refused.len() == envelope.recipients.len() {
            return Ok(Answer::Refused(refused));
        }
        let go_on = self.say("DATA").await?;
        if go_on.code != 354 {
            return Ok(all(go_on));
        }
        let mut encoder = Encoder::default();
        let mut data = Vec::with_capacity(content.len() + content.len() / 64);
        encoder.push(content, &mut data);
        data.extend_from_slice(encoder.finish());
        self.stream.write_all(&data).await?;
        let reply = self.reply().await?;
        Ok(if reply.is_positive() { Answer::Taken { reply, refused } } else { all(reply) })
    }

    async fn say(&mut self, command: &str) -> Result<Reply, HandOverError> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, HandOverError> {
        let mut buffer = vec![0; 4096];
        loop {
            let mut input = self.ahead.as_slice();
            let found = self.reader.push(&mut input)?;
            self.ahead = input.to_vec();
            if let Some(reply) = found {
                return Ok(reply);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                octets => self.ahead.extend_from_slice(buffer.get(..octets).unwrap_or_default()),
            }
        }
    }
}

/// A reply that is about the message as a whole.
fn all(envelope: &Envelope, reply: Reply) -> Answer {
    if !reply.is_permanent() {
        return Answer::Later(reply);
    }
    let answer = |recipient: &String| RecipientAnswer { recipient: recipient.clone(), reply: reply.clone() };
    Answer::Refused(envelope.recipients.iter().map(answer).collect())
}

/// Extensions that matter here.
#[derive(Default)]
struct Offers {
    size: bool,
    eight_bit: bool,
    utf8: bool,
    dsn: bool,
}

impl Offers {
    fn of(hello: &Reply) -> Self {
        let mut offers = Self::default();
        for line in hello.lines.iter() {
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "SIZE" => offers.size = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "DSN" => offers.dsn = true,
                _ => {}
            }
        }
        offers
    }

    fn mail(&self, envelope: &Envelope, content: &[u8]) -> String {
        let mut command = format!("MAIL FROM:<{}>", envelope.sender);
        if self.size {
            command.push_str(&format!(" SIZE={}", content.len()));
        }
        if self.eight_bit && !content.is_ascii() {
            command.push_str(" BODY=8BITMIME");
        }
        let foreign = |text: &String| !text.is_ascii();
        if self.utf8 && (foreign(&envelope.sender) || envelope.recipients.iter().any(foreign)) {
            command.push_str(" SMTPUTF8");
        }
        if self.dsn {
            let ret = envelope.ret.iter().map(|ret| format!(" RET={ret}"));
            let envid = envelope.envid.iter().map(|envid| format!(" ENVID={envid}"));
            command.extend(ret.chain(envid));
        }
        command
    }
}
