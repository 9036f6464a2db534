//! A next hop for tests: an SMTP server on a loopback port that answers as its script says and hands over what it took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What one connection is told: the answer to a command line, or to the final dot (`.`). None: the usual.
pub(super) type Script = fn(connection: usize, line: &str) -> Option<&'static str>;

/// A message that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) connection: usize,
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) content: String,
}

pub(super) struct Sink {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    /// The most that were open at a time.
    pub(super) most: Arc<AtomicUsize>,
    pub(super) taken: mpsc::UnboundedReceiver<Taken>,
}

impl Sink {
    /// Listens. An answer of `close` closes the connection instead.
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, taken) = mpsc::unbounded_channel();
        let count = Arc::clone(&connections);
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let highest = Arc::clone(&most);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                highest.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (open, tell) = (Arc::clone(&open), tell.clone());
                tokio::spawn(async move {
                    serve(stream, number, script, tell).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, most, taken }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, number: usize, script: Script, tell: mpsc::UnboundedSender<Taken>) -> Option<()> {
    // Replies to pipelined commands are small writes in a row: they must not wait for each other (Nagle).
    stream.set_nodelay(true).ok()?;
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(whole(script(number, "").unwrap_or("220 sink.test")).as_bytes()).await.ok()?;
    let (mut sender, mut recipients) = (String::new(), Vec::new());
    while let Some(line) = lines.next_line().await.ok()? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_owned();
        let usual = match verb.as_str() {
            "EHLO" => "250-sink.test\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n",
            "DATA" if recipients.is_empty() => "503 5.5.1 no recipients\r\n",
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 2.0.0 bye\r\n",
            _ => "250 2.0.0 ok\r\n",
        };
        let answer = script(number, &line).unwrap_or(usual);
        if answer == "close" {
            return None;
        }
        let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match verb.as_str() {
            "MAIL" => (sender, recipients) = (path(), Vec::new()),
            "RCPT" if answer.starts_with('2') => recipients.push(path()),
            _ => {}
        }
        write.write_all(whole(answer).as_bytes()).await.ok()?;
        if verb == "DATA" && answer.starts_with('3') {
            let mut content = String::new();
            loop {
                let line = lines.next_line().await.ok()??;
                if line == "." {
                    break;
                }
                content.push_str(line.strip_prefix('.').unwrap_or(&line));
                content.push('\n');
            }
            let answer = script(number, ".").unwrap_or("250 2.0.0 taken\r\n");
            if answer == "close" {
                return None;
            }
            if answer.starts_with('2') {
                let recipients = std::mem::take(&mut recipients);
                tell.send(Taken { connection: number, sender: sender.clone(), recipients, content }).ok()?;
            }
            write.write_all(whole(answer).as_bytes()).await.ok()?;
        }
        if verb == "QUIT" {
            return None;
        }
    }
    None
}

/// A reply with its line end, whether a script wrote it or not.
fn whole(reply: &str) -> String {
    format!("{}\r\n", reply.trim_end())
}
