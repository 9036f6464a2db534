//! The queue as a stream of octets: how it leaves the relay for a backup, and comes back.
//!
//! `waypost-queue 1`, then for each message a line `message ID RECORD CONTENT` with the octets of both, its record as a line of
//! JSON, its content as it would be sent, and a line `sum CRC`: CRC-32 over record and content. A message that could not be read
//! to its end is filled up, and has `void WHY` in place of the sum. The last line is `end COUNT`: a stream without it was cut off.
//! Nothing here holds more than one record or one piece; what is read is never trusted.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;

/// The media type.
pub(super) const KIND: &str = "application/octet-stream";

/// Octets of a record: ten thousand recipients with all that was said of them.
pub(super) const RECORD_MAX: u64 = 16 << 20;

/// Octets of a message's content.
pub(super) const CONTENT_MAX: u64 = 2 << 30;

/// Octets of one of the lines between.
const LINE_MAX: usize = 512;

/// For the next octets to come.
const PATIENCE: Duration = Duration::from_secs(60);

const BEGIN: &str = "waypost-queue 1";

/// What stands before the octets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Its id, as text.
    pub(super) id: String,
    /// Octets of the record, with the end of its line.
    pub(super) record: u64,
    /// Octets of the content.
    pub(super) content: u64,
}

/// What stands behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Whole: the checksum.
    Sum(u32),
    /// It could not be read to its end.
    Void(String),
}

/// The first line.
pub(super) fn begin() -> String {
    format!("{BEGIN}\n")
}

/// The last one.
pub(super) fn end(messages: u64) -> String {
    format!("end {messages}\n")
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "message {} {} {}", self.id, self.record, self.content)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(crc) => writeln!(f, "sum {crc:08x}"),
            Self::Void(why) => {
                let plain = why.chars().map(|c| if c.is_control() { ' ' } else { c });
                writeln!(f, "void {}", plain.take(100).collect::<String>())
            }
        }
    }
}

/// Why a stream is not read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// It is not what it should be.
    #[error("message {message}, octet {offset}: {why}")]
    Input {
        /// Which message, the first being 1.
        message: u64,
        /// Where in the stream.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// Nothing came for too long.
    #[error("message {message}, octet {offset}: no more came")]
    Late {
        /// As above.
        message: u64,
        /// As above.
        offset: u64,
    },
}

/// A stream that comes in.
pub(super) struct Reader<B> {
    body: B,
    held: Bytes,
    /// Octets handed out.
    offset: u64,
    /// Messages begun.
    messages: u64,
    crc: crc32fast::Hasher,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    /// Of this body.
    pub(super) fn new(body: B) -> Self {
        Self { body, held: Bytes::new(), offset: 0, messages: 0, crc: crc32fast::Hasher::new() }
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// When it is another one.
    pub(super) async fn begin(&mut self) -> Result<(), Broken> {
        match self.line().await?.as_str() {
            BEGIN => Ok(()),
            line if line.starts_with("waypost-queue ") => Err(self.wrong("it is of a later version")),
            _ => Err(self.wrong("it is no export of a queue")),
        }
    }

    /// The next message; none: it is over, and whole.
    ///
    /// # Errors
    /// When it is cut off, or makes no sense.
    pub(super) async fn next(&mut self) -> Result<Option<Announced>, Broken> {
        let line = self.line().await?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["end", count] if *count == self.messages.to_string() => {
                self.only_end().await?;
                Ok(None)
            }
            ["end", count] => {
                let why = format!("it should have {count} messages, and has {}", self.messages);
                Err(self.wrong(why))
            }
            ["message", id, record, content] => {
                self.messages += 1;
                let (record, content) = (record.parse::<u64>(), content.parse::<u64>());
                let (Ok(record), Ok(content)) = (record, content) else {
                    return Err(self.wrong("the sizes of the message are no numbers"));
                };
                if record > RECORD_MAX || content > CONTENT_MAX {
                    return Err(self.wrong("it is larger than a message may be"));
                }
                self.crc = crc32fast::Hasher::new();
                Ok(Some(Announced { id: (*id).to_owned(), record, content }))
            }
            _ => Err(self.wrong("neither a message nor the end stands here")),
        }
    }

    /// So many octets of the message at hand, whole.
    ///
    /// # Errors
    /// When it is cut off.
    pub(super) async fn octets(&mut self, mut left: u64) -> Result<Vec<u8>, Broken> {
        let mut octets = Vec::new();
        while left > 0 {
            octets.extend_from_slice(&self.piece(&mut left).await?);
        }
        Ok(octets)
    }

    /// Some of the octets that are left of a part of the message at hand; nothing where none are.
    ///
    /// # Errors
    /// When it is cut off.
    pub(super) async fn piece(&mut self, left: &mut u64) -> Result<Bytes, Broken> {
        if *left == 0 {
            return Ok(Bytes::new());
        }
        self.more().await?;
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(self.held.len());
        let piece = self.held.split_to(most);
        self.offset += most as u64;
        *left -= most as u64;
        self.crc.update(&piece);
        Ok(piece)
    }

    /// What stands behind the message at hand: nothing says that it came as it was sent but a sum that is right.
    ///
    /// # Errors
    /// When it is cut off, or its checksum is wrong.
    pub(super) async fn ending(&mut self) -> Result<Ending, Broken> {
        let line = self.line().await?;
        if let Some(why) = line.strip_prefix("void ") {
            return Ok(Ending::Void(why.to_owned()));
        }
        let sum = line.strip_prefix("sum ").and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let sum = sum.ok_or_else(|| self.wrong("no checksum stands here"))?;
        let counted = self.crc.clone().finalize();
        if sum == counted { Ok(Ending::Sum(sum)) } else { Err(self.wrong("the checksum of the message is wrong")) }
    }

    /// What is wrong, and where.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Broken {
        Broken::Input { message: self.messages, offset: self.offset, why: why.into() }
    }

    /// Nothing may come behind the end.
    async fn only_end(&mut self) -> Result<(), Broken> {
        while self.held.is_empty() {
            if !self.read().await? {
                return Ok(());
            }
        }
        Err(self.wrong("something stands behind the end"))
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String, Broken> {
        let mut line = Vec::new();
        loop {
            self.more().await?;
            let end = memchr::memchr(b'\n', &self.held);
            let part = self.held.split_to(end.map_or(self.held.len(), |at| at + 1));
            self.offset += part.len() as u64;
            line.extend_from_slice(&part);
            if line.len() > LINE_MAX {
                return Err(self.wrong("a line is too long"));
            }
            if end.is_some() {
                line.pop();
                return String::from_utf8(line).map_err(|_| self.wrong("a line is no text"));
            }
        }
    }

    /// Sees to it that octets are held.
    async fn more(&mut self) -> Result<(), Broken> {
        while self.held.is_empty() {
            if !self.read().await? {
                return Err(self.wrong("it is cut off"));
            }
        }
        Ok(())
    }

    /// False at the end of the body.
    async fn read(&mut self) -> Result<bool, Broken> {
        let late = Broken::Late { message: self.messages, offset: self.offset };
        match tokio::time::timeout(PATIENCE, self.body.frame()).await.map_err(|_late| late)? {
            None => Ok(false),
            Some(Ok(frame)) => {
                self.held = frame.into_data().unwrap_or_default();
                Ok(true)
            }
            Some(Err(error)) => Err(self.wrong(format!("it broke off: {error}"))),
        }
    }

    /// The rest, which nobody wants: read for a while, so that whoever sends it gets to the answer.
    pub(super) async fn drop_rest(mut self, time: Duration) {
        let rest = async { while matches!(self.body.frame().await, Some(Ok(_))) {} };
        let _ = tokio::time::timeout(time, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    const RECORD: &[u8] = b"{\"a\":1}\n";
    const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

    fn stream() -> Vec<u8> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(RECORD);
        crc.update(CONTENT);
        let announced =
            Announced { id: "0000000000001".to_owned(), record: RECORD.len() as u64, content: CONTENT.len() as u64 };
        let lines = (begin(), announced.to_string(), Ending::Sum(crc.finalize()).to_string(), end(1));
        [lines.0.as_bytes(), lines.1.as_bytes(), RECORD, CONTENT, lines.2.as_bytes(), lines.3.as_bytes()].concat()
    }

    /// How many messages it has.
    async fn read(octets: &[u8]) -> Result<u64, Broken> {
        let mut reader = Reader::new(Full::new(Bytes::copy_from_slice(octets)));
        reader.begin().await?;
        let mut messages = 0;
        while let Some(announced) = reader.next().await? {
            let record = reader.octets(announced.record).await?;
            let content = reader.octets(announced.content).await?;
            if matches!(reader.ending().await?, Ending::Sum(_)) {
                assert_eq!((&*record, &*content), (RECORD, CONTENT));
                messages += 1;
            }
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn a_stream_is_whole_or_says_where_it_is_not() {
        let whole = stream();
        assert_eq!(read(&whole).await, Ok(1));
        for len in 0..whole.len() {
            let broken = read(&whole[..len]).await.unwrap_err();
            let Broken::Input { offset, why, .. } = broken else { panic!("{broken}") };
            assert!(offset <= len as u64 && why == "it is cut off", "{len}: {why}");
        }
        let more = [&whole[..], b"x"].concat();
        assert_eq!(read(&more).await.unwrap_err().to_string(), "message 1, octet 90: something stands behind the end");
    }

    #[tokio::test]
    async fn what_was_changed_is_noticed_wherever_it_was() {
        let whole = stream();
        for at in 0..whole.len() {
            for bit in [1, 0x20, 0x80] {
                let mut changed = whole.clone();
                changed[at] ^= bit;
                // The id has no sum of its own: it is compared with the record's.
                let in_id = (24..37).contains(&at);
                // Hexadecimal digits may stand in either case.
                let same = bit == 0x20 && whole[at].is_ascii_alphabetic() && (75..83).contains(&at);
                assert!(read(&changed).await.is_err() || in_id || same, "octet {at}");
            }
        }
    }

    #[tokio::test]
    async fn sizes_are_bounded_and_void_is_told() {
        for line in
            ["message x 1", "message x -1 0", "message x 99999999999 0", "message x 1 99999999999", "mess", "end 1"]
        {
            let octets = format!("{}{line}\n", begin());
            assert!(read(octets.as_bytes()).await.is_err(), "{line}");
        }
        assert!(read(&vec![b'x'; 100_000]).await.is_err());
        let void = format!("{}message x 0 2\n  {}{}", begin(), Ending::Void("no\nmore".to_owned()), end(1));
        assert_eq!(read(void.as_bytes()).await, Ok(0));
        assert!(read(b"waypost-queue 2\n").await.unwrap_err().to_string().contains("later version"));
    }
}
