//! One session of a scripted host: what a good host does, unless the script has something else to be done.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf,
};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::peer::{Received, State};
use super::script::Act;

/// What a session is held over.
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

/// How a session goes on after something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// As usual.
    Go,
    /// The reply was no good one: nothing came of the command.
    Refused,
    /// Not at all.
    End,
}

/// The session.
pub(super) struct Session {
    wire: BufReader<Wire>,
    shared: Shared<State>,
    number: usize,
    tls: Option<TlsAcceptor>,
    secured: bool,
    lmtp: bool,
    identity: Option<String>,
    envelope: Vec<String>,
    sender: Option<String>,
    recipients: Vec<String>,
    chunks: Vec<u8>,
}

impl Session {
    pub(super) fn new(wire: Wire, shared: Shared<State>, number: usize, tls: Option<TlsAcceptor>) -> Self {
        let lmtp = shared.change(|state| state.script.lmtp);
        Self {
            wire: BufReader::new(wire),
            shared,
            number,
            tls,
            secured: false,
            lmtp,
            identity: None,
            envelope: Vec::new(),
            sender: None,
            recipients: Vec::new(),
            chunks: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> io::Result<()> {
        if self.at("connect", "", "").await? == Then::End
            || self.at("banner", "", "220 peer.test ESMTP").await? == Then::End
        {
            return Ok(());
        }
        loop {
            let mut line = Vec::new();
            if self.wire.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            self.shared.change(|state| state.heard(&line));
            if self.command(&line).await? == Then::End {
                return Ok(());
            }
        }
    }

    async fn command(&mut self, line: &str) -> io::Result<Then> {
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                let offer = self.offer();
                self.at("ehlo", line, &offer).await
            }
            "HELO" => self.at("helo", line, "250 peer.test").await,
            "STARTTLS" => self.start_tls(line).await,
            "AUTH" => self.auth(line).await,
            "MAIL" => {
                let then = self.at("mail", line, "250 2.1.0 ok").await?;
                if then == Then::Go {
                    self.forget();
                    self.sender = Some(path(line));
                    self.envelope.push(line.to_owned());
                }
                Ok(then)
            }
            "RCPT" if self.sender.is_none() => self.at("rcpt", line, "503 5.5.1 MAIL first").await,
            "RCPT" => {
                let then = self.at("rcpt", line, "250 2.1.5 ok").await?;
                if then == Then::Go {
                    self.recipients.push(path(line));
                    self.envelope.push(line.to_owned());
                }
                Ok(then)
            }
            "DATA" if self.recipients.is_empty() => self.at("data", line, "503 5.5.1 no recipients").await,
            "DATA" => match self.at("data", line, "354 go on").await? {
                Then::Go => self.content().await,
                then => Ok(then),
            },
            "BDAT" => self.chunk(line).await,
            "RSET" => {
                self.forget();
                self.at("rset", line, "250 2.0.0 ok").await
            }
            "QUIT" => {
                self.at("quit", line, "221 2.0.0 bye").await?;
                Ok(Then::End)
            }
            _ => self.say("250 2.0.0 ok").await.map(|()| Then::Go),
        }
    }

    fn offer(&self) -> String {
        let (mut all, account) =
            self.shared.change(|state| (state.script.offer.clone(), state.script.account.is_some()));
        if self.tls.is_some() && !self.secured {
            all.push("STARTTLS".to_owned());
        }
        if account && !all.iter().any(|one| one.starts_with("AUTH")) {
            all.push("AUTH PLAIN LOGIN".to_owned());
        }
        let mut lines: Vec<String> =
            std::iter::once("peer.test".to_owned()).chain(all).map(|l| format!("250-{l}")).collect();
        if let Some(last) = lines.last_mut() {
            last.replace_range(3..4, " ");
        }
        lines.join("\r\n")
    }

    async fn start_tls(&mut self, line: &str) -> io::Result<Then> {
        let Some(tls) = self.tls.clone() else {
            return self.say("502 5.5.1 not here").await.map(|()| Then::Go);
        };
        let then = self.at("starttls", line, "220 2.0.0 go on").await?;
        if then != Then::Go {
            return Ok(then);
        }
        if self.at("tls", "", "").await? == Then::End {
            return Ok(Then::End);
        }
        let Wire::Tcp(stream) = std::mem::replace(self.wire.get_mut(), Wire::Gone) else { return Ok(Then::End) };
        self.wire = BufReader::new(Wire::Tls(Box::new(tls.accept(stream).await?)));
        self.secured = true;
        Ok(Then::Go)
    }

    async fn auth(&mut self, line: &str) -> io::Result<Then> {
        let words: Vec<&str> = line.split(' ').collect();
        let said = match (words[1].to_ascii_uppercase().as_str(), words.get(2)) {
            ("PLAIN", Some(initial)) => decoded(initial),
            ("PLAIN", None) => self.ask("334 ").await?,
            _ => {
                let name = self.ask("334 VXNlcm5hbWU6").await?;
                let secret = self.ask("334 UGFzc3dvcmQ6").await?;
                format!("\0{name}\0{secret}")
            }
        };
        let account = self.shared.change(|state| state.script.account.clone());
        let (name, secret) = account.unwrap_or_default();
        let right = said == format!("\0{name}\0{secret}");
        let reply = if right { "235 2.7.0 welcome" } else { "535 5.7.8 no" };
        self.identity = right.then_some(name);
        self.at("auth", line, reply).await.map(|then| if then == Then::Refused { Then::Go } else { then })
    }

    async fn ask(&mut self, challenge: &str) -> io::Result<String> {
        self.say(challenge).await?;
        let mut line = String::new();
        self.wire.read_line(&mut line).await?;
        Ok(decoded(line.trim_end()))
    }

    /// What follows 354.
    async fn content(&mut self) -> io::Result<Then> {
        if self.at("body", "", "").await? == Then::End {
            return Ok(Then::End);
        }
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.wire.read_until(b'\n', &mut line).await? == 0 {
                return Ok(Then::End);
            }
            if line == b".\r\n" {
                break;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.end(content, false).await
    }

    /// A chunk (RFC 3030 section 2).
    async fn chunk(&mut self, line: &str) -> io::Result<Then> {
        let words: Vec<&str> = line.split(' ').collect();
        let size: usize = words[1].parse().map_err(|_| io::ErrorKind::InvalidData)?;
        if self.at("body", "", "").await? == Then::End {
            return Ok(Then::End);
        }
        let mut octets = vec![0; size];
        self.wire.read_exact(&mut octets).await?;
        self.chunks.extend_from_slice(&octets);
        if words.get(2).is_none() {
            return self.at("bdat", line, "250 2.0.0 chunk").await;
        }
        let content = std::mem::take(&mut self.chunks);
        if self.recipients.is_empty() {
            return self.say("503 5.5.1 no recipients").await.map(|()| Then::Go);
        }
        self.end(content, true).await
    }

    /// All content is there.
    async fn end(&mut self, content: Vec<u8>, chunked: bool) -> io::Result<Then> {
        let recipients = std::mem::take(&mut self.recipients);
        let message = Received {
            sender: self.sender.clone().unwrap_or_default(),
            recipients: recipients.clone(),
            content,
            envelope: std::mem::take(&mut self.envelope),
            connection: self.number,
            secured: self.secured,
            chunked,
            identity: self.identity.clone(),
        };
        if !self.lmtp {
            return self.answer("", &message).await;
        }
        for recipient in recipients {
            let one = Received { recipients: vec![recipient.clone()], ..message.clone() };
            if self.answer(&recipient, &one).await? == Then::End {
                return Ok(Then::End);
            }
        }
        Ok(Then::Go)
    }

    /// The answer to content. It is taken where the answer is good, and before it is given.
    async fn answer(&mut self, text: &str, message: &Received) -> io::Result<Then> {
        let acts = self.shared.change(|state| state.script.acts("dot", text));
        let mut then = Then::Go;
        for act in acts {
            let takes = match &act {
                Act::Take | Act::Usual | Act::Slowly | Act::Half | Act::Twice | Act::Trickle(_) => true,
                Act::Reply(reply) => reply.starts_with('2'),
                _ => false,
            };
            if takes {
                self.shared.change(|state| state.take(message.clone()));
            }
            then = self.act(&act, "250 2.0.0 taken").await?;
            if then == Then::End {
                break;
            }
        }
        Ok(if then == Then::End { then } else { Then::Go })
    }

    /// Does what the script has here, or says `usual`.
    async fn at(&mut self, stage: &str, line: &str, usual: &str) -> io::Result<Then> {
        let acts = self.shared.change(|state| state.script.acts(stage, line));
        let mut then = Then::Go;
        for act in acts {
            then = self.act(&act, usual).await?;
            if then == Then::End {
                break;
            }
        }
        Ok(then)
    }

    async fn act(&mut self, act: &Act, usual: &str) -> io::Result<Then> {
        let whole = format!("{usual}\r\n");
        match act {
            Act::Take => {}
            Act::Usual if usual.is_empty() => {}
            Act::Usual => self.say(usual).await?,
            Act::Reply(reply) => {
                self.say(reply).await?;
                return Ok(match reply.as_bytes().first() {
                    _ if reply.starts_with("421") => Then::End,
                    Some(b'2' | b'3') => Then::Go,
                    _ => Then::Refused,
                });
            }
            Act::Twice => self.say(&format!("{whole}{usual}")).await?,
            Act::Half => self.write(&whole.as_bytes()[..whole.len() / 2]).await?,
            Act::Slowly => {
                for octet in whole.as_bytes() {
                    self.write(&[*octet]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Act::Trickle(ms) => {
                for octet in whole.as_bytes() {
                    self.write(&[*octet]).await?;
                    tokio::time::sleep(Duration::from_millis(*ms)).await;
                }
            }
            Act::Garbage => self.write(b"\x00\xff\x16\x03garbage\r\n\r\n\x80").await?,
            Act::Long(length) => self.say(&format!("250 {}", "x".repeat(*length))).await?,
            Act::Endless => loop {
                self.write(b"250-more\r\n").await?;
            },
            Act::Read(octets) => {
                let mut buffer = vec![0; *octets];
                self.wire.read_exact(&mut buffer).await?;
            }
            Act::Stall => return self.stall().await,
            Act::Drop => {
                // An end, not a reset: what still comes is read until the other side closes too.
                self.wire.get_mut().shutdown().await?;
                tokio::io::copy(&mut self.wire, &mut tokio::io::sink()).await?;
                return Ok(Then::End);
            }
            Act::Reset => {
                self.wire.get_mut().reset();
                return Ok(Then::End);
            }
            Act::Wait => self.gate().await,
        }
        Ok(if usual.starts_with(['4', '5']) { Then::Refused } else { Then::Go })
    }

    /// Until the other side has closed. What it sends meanwhile is not read, so that its writes stall as well.
    async fn stall(&mut self) -> io::Result<Then> {
        loop {
            if self.wire.get_ref().is_closed().await {
                return Ok(Then::End);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn gate(&self) {
        while !self.shared.change(|state| state.gate_open) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.write(format!("{reply}\r\n").as_bytes()).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.wire.get_mut().write_all(octets).await?;
        self.wire.get_mut().flush().await
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.envelope.clear();
        self.chunks.clear();
    }
}

impl Wire {
    /// True once the other side has closed, whatever lies there unread.
    async fn is_closed(&self) -> bool {
        let interest = tokio::io::Interest::READABLE;
        let ready = match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tls(stream) => stream.get_ref().0.ready(interest).await,
            Self::Gone => return true,
        };
        ready.is_ok_and(|ready| ready.is_read_closed())
    }

    /// Closing it will be a reset.
    fn reset(&self) {
        let socket = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream),
            Self::Tls(stream) => socket2::SockRef::from(stream.get_ref().0),
            Self::Unix(_) | Self::Gone => return,
        };
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(_) | Self::Unix(_) | Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(text).unwrap_or_default()).into_owned()
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
