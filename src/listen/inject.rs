//! Mail that comes by another way than a socket: a session of its own, over a pair of sockets within the process.
//!
//! It is taken as a submission of an authenticated client is: the same dialogue, the same hooks, the same limits, the same
//! flush before it is taken. There is no AUTH: whoever hands it in was known before, and the hook auth is not asked.

use std::io;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::stream::{Stream, unix_path};
use super::{Listener, Reception, serve};
use crate::hooks::{Endpoint, Identity, SessionFacts};
use crate::mail::Annotations;
use crate::queue::{Injected, Injection};

/// Octets of one line of a reply.
const LINE: u64 = 4096;
/// Lines of one reply.
const LINES: usize = 100;

impl Reception {
    /// Hands a message in, and waits until it is flushed, or refused.
    ///
    /// # Errors
    /// When there is no listener whose settings could hold for it, or the session broke off.
    pub async fn inject(&self, mail: Injection) -> io::Result<Injected> {
        let rules = self.rules.load_full();
        let listeners = &rules.config.listeners;
        let listener = listeners.iter().find(|l| l.session.submission).or_else(|| listeners.first()).cloned();
        let listener = listener.ok_or_else(|| io::Error::other("there is no listener whose settings could hold"))?;
        if self.draining.is_cancelled() {
            return Ok(Injected::Refused { reply: "421 4.3.2 the relay is stopping".to_owned(), later: true });
        }
        let mut permit = match self.admit_peer(&listener.name, &rules) {
            Ok(permit) => permit,
            Err(why) => return Ok(turned_away(why.reply())),
        };
        if let Some(client) = mail.client
            && let Err(why) = permit.admit_client(client, &rules.config.limits)
        {
            return Ok(turned_away(why.reply()));
        }
        let (ours, theirs) = UnixStream::pair()?;
        let facts = self.facts_of(&listener, &mail);
        let session = serve::serve_as(self.clone(), rules, listener, Stream::Unix(theirs), facts, permit);
        let session = self.sessions.spawn(session);
        let done = hand_over(ours, &mail).await;
        // It ends with the dialogue; what it has taken is taken.
        let _ = session.await;
        done
    }

    fn facts_of(&self, listener: &Listener, mail: &Injection) -> SessionFacts {
        let client = mail.client.map(|ip| Endpoint { address: ip.to_string().into(), port: 0 });
        let identity =
            Identity { mechanism: "HTTP".into(), name: mail.by.clone(), acts_as: None, attributes: Vec::new() };
        SessionFacts {
            id: self.session_ids.next(self.clock.now()).to_string().into(),
            listener: listener.name.clone(),
            connected_at: self.clock.now(),
            client: client.unwrap_or_else(|| unix_path(std::path::Path::new(""))),
            server: unix_path(std::path::Path::new("")),
            client_name: None,
            protocol: Default::default(),
            helo: None,
            tls: None,
            identity: Some(identity),
            may_relay: true,
            transactions: 0,
            refused_recipients: 0,
            withheld: Default::default(),
            notes: Annotations::default(),
        }
    }
}

fn turned_away(reply: &[u8]) -> Injected {
    Injected::Refused { reply: String::from_utf8_lossy(reply).trim_end().to_owned(), later: true }
}

/// A reply: the code, and its lines.
struct Said {
    code: u16,
    lines: Vec<String>,
}

impl Said {
    fn is_good(&self) -> bool {
        self.code < 400
    }

    fn text(&self) -> String {
        let rest = self.lines.iter().map(|line| line.get(4..).unwrap_or_default()).collect::<Vec<_>>().join(" ");
        format!("{} {rest}", self.code)
    }

    fn refusal(&self) -> Injected {
        Injected::Refused { reply: self.text(), later: self.code < 500 }
    }

    fn offers(&self, keyword: &str) -> bool {
        let named = |line: &String| line.get(4..).is_some_and(|rest| rest.split(' ').next() == Some(keyword));
        self.lines.iter().any(named)
    }
}

/// The client's half of the dialogue.
async fn hand_over(stream: UnixStream, mail: &Injection) -> io::Result<Injected> {
    let mut wire = BufReader::new(stream);
    let greeting = hear(&mut wire).await?;
    if !greeting.is_good() {
        return Ok(greeting.refusal());
    }
    let helo = match mail.client {
        Some(IpAddr::V4(ip)) => format!("[{ip}]"),
        Some(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        None => "localhost".to_owned(),
    };
    let offered = say(&mut wire, &format!("EHLO {helo}\r\n")).await?;
    if !offered.is_good() {
        return Ok(offered.refusal());
    }
    let begun = say(&mut wire, &mail_command(mail, &offered)).await?;
    if !begun.is_good() {
        return Ok(begun.refusal());
    }
    let (mut refused, mut last) = (Vec::new(), None);
    for recipient in &mail.recipients {
        let said = say(&mut wire, &format!("RCPT TO:<{recipient}>\r\n")).await?;
        if !said.is_good() {
            refused.push((recipient.to_string(), said.text()));
            last = Some(said);
        }
    }
    if let Some(last) = last.filter(|_| refused.len() == mail.recipients.len()) {
        let reply = refused.iter().map(|(recipient, reply)| format!("<{recipient}>: {reply}"));
        return Ok(Injected::Refused { reply: reply.collect::<Vec<_>>().join("; "), later: last.code < 500 });
    }
    let go = say(&mut wire, "DATA\r\n").await?;
    if go.code != 354 {
        return Ok(go.refusal());
    }
    wire.get_mut().write_all(&transparent(&mail.content)).await?;
    let taken = hear(&mut wire).await?;
    // The session has answered; how it ends is its own affair.
    let _ = wire.get_mut().write_all(b"QUIT\r\n").await;
    if !taken.is_good() {
        return Ok(taken.refusal());
    }
    let text = taken.text();
    let id = text.rsplit(' ').next().unwrap_or_default().to_owned();
    Ok(Injected::Taken { id, refused })
}

fn mail_command(mail: &Injection, offered: &Said) -> String {
    let sender = mail.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut command = format!("MAIL FROM:<{sender}>");
    let addresses = std::iter::once(sender).chain(mail.recipients.iter().map(ToString::to_string));
    let eight = !mail.content.is_ascii();
    if offered.offers("SIZE") {
        command += &format!(" SIZE={}", mail.content.len());
    }
    if eight && offered.offers("8BITMIME") {
        command += " BODY=8BITMIME";
    }
    let header = mail.content.split(|b| *b == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    // RFC 6531: addresses or fields beyond ASCII.
    if offered.offers("SMTPUTF8")
        && (addresses.into_iter().any(|a| !a.is_ascii()) || header.into_iter().any(|l| !l.is_ascii()))
    {
        command += " SMTPUTF8";
    }
    command + "\r\n"
}

/// Lines end with CRLF, those that begin with a dot get another (RFC 5321 section 4.5.2), and the end is marked.
fn transparent(content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(content.len() + content.len() / 32 + 5);
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    for line in content.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            out.extend_from_slice(b".");
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out.freeze()
}

async fn say(wire: &mut BufReader<UnixStream>, line: &str) -> io::Result<Said> {
    wire.get_mut().write_all(line.as_bytes()).await?;
    hear(wire).await
}

async fn hear(wire: &mut BufReader<UnixStream>) -> io::Result<Said> {
    use tokio::io::AsyncReadExt as _;
    let mut lines = Vec::new();
    while lines.len() < LINES {
        let mut line = String::new();
        (&mut *wire).take(LINE).read_line(&mut line).await?;
        let line = line.trim_end().to_owned();
        let code = line.get(..3).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let more = line.as_bytes().get(3) == Some(&b'-');
        lines.push(line);
        if !more {
            return Ok(Said { code, lines });
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_mended_and_dots_doubled() {
        for (content, sent) in [
            (&b"A: b\n\n.x\r\ny"[..], &b"A: b\r\n\r\n..x\r\ny\r\n.\r\n"[..]),
            (b"A: b\r\n\r\n", b"A: b\r\n\r\n.\r\n"),
            (b"A: b\r\n\r\n.\r\n", b"A: b\r\n\r\n..\r\n.\r\n"),
            (b"", b"\r\n.\r\n"),
        ] {
            assert_eq!(transparent(content), sent, "{:?}", String::from_utf8_lossy(content));
        }
    }
}
