//! An SMTP server in the test's own process: takes everything, remembers it, and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;

/// The server. Its thread ends with the process.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A message it took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Argument of MAIL, without its angle brackets.
    pub(crate) sender: String,
    /// Arguments of the accepted RCPTs.
    pub(crate) recipients: Vec<String>,
    /// Transparency undone; CRLF line ends.
    pub(crate) content: String,
    /// MAIL and the accepted RCPTs whole, as they came.
    pub(crate) envelope: Vec<String>,
}

impl Taken {
    /// The content below the trace fields: everything from the first line that starts with `start`.
    pub(crate) fn below(&self, start: &str) -> &str {
        let at =
            if self.content.starts_with(start) { 0 } else { self.content.find(&format!("\r\n{start}")).unwrap() + 2 };
        &self.content[at..]
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: VecDeque<Taken>,
    rules: Vec<Rule>,
    said: Vec<String>,
}

/// What it offers unless told otherwise.
const EXTENSIONS: [&str; 5] = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0"];

struct Rule {
    start: String,
    reply: String,
    times: usize,
}

impl Sink {
    /// Listens on a port of its own.
    pub(crate) fn start() -> Self {
        Self::start_offering(&EXTENSIONS)
    }

    /// As `start`, with these extensions.
    pub(crate) fn start_offering(extensions: &[&str]) -> Self {
        let mut offer = extensions.iter().fold("250-sink.test".to_owned(), |all, one| format!("{all}\r\n250-{one}"));
        let last = offer.rfind("250-").unwrap() + 3;
        offer.replace_range(last..=last, " ");
        let offer: Arc<str> = offer.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let of_sessions = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, offer) = (Arc::clone(&of_sessions), Arc::clone(&offer));
                // A connection that breaks is the test's business, not the sink's.
                thread::spawn(move || Session::new(stream.unwrap(), shared, offer).run().ok());
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next `times` commands that start so are answered so; `.` is the end of the data.
    pub(crate) fn answer(&self, start: &str, reply: &str, times: usize) {
        self.shared.state.lock().unwrap().rules.push(Rule { start: start.into(), reply: reply.into(), times });
    }

    /// Everything is answered as usual again.
    pub(crate) fn forget_answers(&self) {
        self.shared.state.lock().unwrap().rules.clear();
    }

    /// The oldest message not yet asked for; waits for it.
    pub(crate) fn next(&self) -> Taken {
        let state = self.shared.state.lock().unwrap();
        let (mut state, timeout) =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.taken.is_empty()).unwrap();
        assert!(!timeout.timed_out(), "the sink got no message; it heard {:?}", state.said);
        state.taken.pop_front().unwrap()
    }

    /// The first message like this, not yet asked for; waits for it, and fails after a while with nothing.
    pub(crate) fn find(&self, like: impl Fn(&Taken) -> bool) -> Option<Taken> {
        let state = self.shared.state.lock().unwrap();
        let missing = |state: &mut State| !state.taken.iter().any(&like);
        let (mut state, _) = self.shared.changed.wait_timeout_while(state, PATIENCE, missing).unwrap();
        let at = state.taken.iter().position(&like)?;
        state.taken.remove(at)
    }

    /// As `find`, without waiting.
    pub(crate) fn find_now(&self, like: impl Fn(&Taken) -> bool) -> Option<Taken> {
        let mut state = self.shared.state.lock().unwrap();
        let at = state.taken.iter().position(like)?;
        state.taken.remove(at)
    }

    /// Waits until it has heard a line that starts so, that often.
    pub(crate) fn hears(&self, start: &str, times: usize) {
        let heard = |state: &State| state.said.iter().filter(|line| line.starts_with(start)).count();
        let state = self.shared.state.lock().unwrap();
        let (state, timeout) =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| heard(state) < times).unwrap();
        assert!(!timeout.timed_out(), "{start} not heard {times} times, but {:?}", state.said);
    }

    /// Messages taken and not yet asked for.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().unwrap().taken.len()
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    offer: Arc<str>,
    sender: String,
    recipients: Vec<String>,
    envelope: Vec<String>,
}

impl Session {
    fn new(stream: TcpStream, shared: Arc<Shared>, offer: Arc<str>) -> Self {
        let (sender, recipients, envelope) = (String::new(), Vec::new(), Vec::new());
        Self { stream: BufReader::new(stream), shared, offer, sender, recipients, envelope }
    }

    fn run(mut self) -> std::io::Result<()> {
        self.write("220 sink.test ESMTP")?;
        while let Some(line) = self.line()? {
            if let Some(size) = line.strip_prefix("BDAT ") {
                let reply = self.chunk(size)?;
                self.write(&reply)?;
                continue;
            }
            let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
            let ruled = self.rule(&line);
            let refused = ruled.as_ref().is_some_and(|reply| !reply.starts_with('2'));
            let reply = match (verb.as_str(), refused) {
                (_, true) => ruled.unwrap_or_default(),
                ("EHLO", _) => self.offer.to_string(),
                ("MAIL", _) => {
                    self.sender = path(&line);
                    self.recipients.clear();
                    self.envelope = vec![line.clone()];
                    "250 2.1.0 ok".into()
                }
                ("RCPT", _) => {
                    self.recipients.push(path(&line));
                    self.envelope.push(line.clone());
                    "250 2.1.5 ok".into()
                }
                ("DATA", _) if self.recipients.is_empty() => "503 5.5.1 no recipients".into(),
                ("DATA", _) => {
                    self.write("354 go on")?;
                    self.data()?
                }
                ("QUIT", _) => return self.write("221 2.0.0 bye"),
                _ => "250 2.0.0 ok".into(),
            };
            self.write(&reply)?;
            if reply.starts_with("421") {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A message in one chunk (RFC 3030), as the relay sends them.
    fn chunk(&mut self, size: &str) -> std::io::Result<String> {
        let size = size.strip_suffix(" LAST").and_then(|size| size.parse().ok());
        let mut content = vec![0; size.ok_or(std::io::ErrorKind::InvalidData)?];
        self.stream.read_exact(&mut content)?;
        Ok(self.take(String::from_utf8_lossy(&content).into_owned()))
    }

    fn data(&mut self) -> std::io::Result<String> {
        let mut content = String::new();
        loop {
            let line = self.raw_line()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            if line == ".\r\n" {
                break;
            }
            content.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        Ok(self.take(content))
    }

    fn take(&mut self, content: String) -> String {
        if let Some(reply) = self.rule(".") {
            return reply;
        }
        let (recipients, envelope) = (std::mem::take(&mut self.recipients), std::mem::take(&mut self.envelope));
        let taken = Taken { sender: self.sender.clone(), recipients, content, envelope };
        self.shared.state.lock().unwrap().taken.push_back(taken);
        self.shared.changed.notify_all();
        "250 2.0.0 taken".into()
    }

    /// What the test wants said to this, and that it was heard.
    fn rule(&self, line: &str) -> Option<String> {
        let mut state = self.shared.state.lock().unwrap();
        state.said.push(line.to_owned());
        let rule = state.rules.iter_mut().find(|rule| rule.times > 0 && line.starts_with(&rule.start));
        let reply = rule.map(|rule| {
            rule.times -= 1;
            rule.reply.clone()
        });
        self.shared.changed.notify_all();
        reply
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        Ok(self.raw_line()?.map(|line| line.trim_end_matches("\r\n").to_owned()))
    }

    fn raw_line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line)?;
        Ok((read > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    fn write(&mut self, reply: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes())
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
