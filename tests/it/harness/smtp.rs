//! A client that says one line at a time and reads one reply at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// One connection to a server.
pub(crate) struct Smtp {
    stream: BufReader<Box<dyn Stream>>,
    greeting: String,
}

/// Whatever carries the dialogue.
pub(crate) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Smtp {
    /// Connects and reads the greeting.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    /// Reads the greeting from whatever is connected already.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        let mut client = Self { stream: BufReader::new(Box::new(stream)), greeting: String::new() };
        client.greeting = client.reply();
        client
    }

    /// What the server said first.
    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Sends a line, returns the reply, its lines joined by line feeds.
    pub(crate) fn say(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends octets as they are.
    pub(crate) fn write(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).unwrap();
    }

    /// Reads one reply.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed after {reply:?}");
            reply.push_str(line.trim_end_matches("\r\n"));
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// True once the server has closed the connection, in whichever way: with octets of ours that it had not read, the
    /// system answers by a reset instead of an end. That nothing came in time is neither.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(octets) => octets.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// One transaction after EHLO, everything accepted up to the data; the reply to the data. `content` has CRLF line
    /// ends and the last one; transparency is added.
    pub(crate) fn send(&mut self, sender: &str, recipients: &[&str], content: &str) -> String {
        assert_starts(&self.say("EHLO client.test"), "250");
        assert_starts(&self.say(&format!("MAIL FROM:<{sender}>")), "250");
        for recipient in recipients {
            assert_starts(&self.say(&format!("RCPT TO:<{recipient}>")), "250");
        }
        self.data(content)
    }

    /// DATA, taken, and its reply.
    pub(crate) fn data(&mut self, content: &str) -> String {
        assert_starts(&self.say("DATA"), "354");
        let stuffed: String = content
            .split_inclusive("\r\n")
            .map(|l| if l.starts_with('.') { format!(".{l}") } else { l.into() })
            .collect();
        self.write(stuffed.as_bytes());
        self.say(".")
    }

    /// One message that must be taken; its queue id is the last word of the reply.
    pub(crate) fn deliver(&mut self, sender: &str, recipients: &[&str], content: &str) -> String {
        let reply = self.send(sender, recipients, content);
        assert_starts(&reply, "250 2.0.0");
        reply.split_whitespace().last().unwrap().to_owned()
    }
}

/// Fails with the reply in full.
pub(crate) fn assert_starts(reply: &str, start: &str) {
    assert!(reply.starts_with(start), "expected {start}, got {reply:?}");
}
