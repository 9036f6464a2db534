//! A dialogue played against the relay's own session, over a connection of loopback. Knows lines, not SMTP's states.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A chain of plugins may take 30 seconds for one answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// Octets of one line of a reply; RFC 5321 section 4.5.3.1.5 has 512.
const LINE: u64 = 8192;

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Client(String),
    Server(String),
}

/// A script: its lines, each with its number from one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<(usize, Said)>);

impl Script {
    /// `C: text`, `S: text`, `# remark`, and empty lines.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim_start();
            let after = |mark: &str| {
                let rest = trimmed.strip_prefix(mark)?;
                Some(rest.strip_prefix(' ').unwrap_or(rest).to_owned())
            };
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let said = after("C:").map(Said::Client).or_else(|| after("S:").map(Said::Server));
            let said =
                said.ok_or_else(|| format!("line {number} of smtp: {trimmed:?} begins with neither `C:` nor `S:`"))?;
            lines.push((number, said));
        }
        Ok(Self(lines))
    }

    /// Domains of recipients, as far as they can be read off.
    pub(crate) fn recipient_domains(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(_, said)| {
            let Said::Client(text) = said else { return None };
            let upper = text.to_ascii_uppercase();
            upper.strip_prefix("RCPT TO:")?;
            let path = text.split_once('<')?.1.split_once('>')?.0;
            Some(path.rsplit_once('@')?.1.to_ascii_lowercase())
        })
    }

    /// Plays it to its end. What went otherwise is said.
    pub(crate) async fn play(&self, stream: TcpStream) -> Result<(), String> {
        let mut wire = Wire { stream: BufReader::new(stream), continues: false };
        for (number, said) in &self.0 {
            let here = |what: String| format!("line {number} of smtp: {what}");
            match said {
                Said::Client(text) => wire.say(text).await.map_err(here)?,
                Said::Server(expected) => wire.expect(expected).await.map_err(here)?,
            }
        }
        wire.finish().await
    }
}

struct Wire {
    stream: BufReader<TcpStream>,
    /// The reply under way has further lines.
    continues: bool,
}

impl Wire {
    async fn say(&mut self, text: &str) -> Result<(), String> {
        if self.continues {
            let rest = self.rest().await?;
            return Err(format!("the reply goes on with {rest:?}: expect that too, or end the line before with …"));
        }
        let line = format!("{text}\r\n");
        self.stream.get_mut().write_all(line.as_bytes()).await.map_err(|e| format!("the relay is gone: {e}"))
    }

    async fn expect(&mut self, expected: &str) -> Result<(), String> {
        let Some(got) = self.line().await? else {
            return Err(format!("expected {expected:?}, and the relay closed the connection"));
        };
        self.continues = got.as_bytes().get(3) == Some(&b'-');
        let open = expected.strip_suffix('…').or_else(|| expected.strip_suffix("..."));
        if !matches(&got, expected) {
            let rest = self.rest().await.unwrap_or_default();
            return Err(format!("expected {expected:?}, got {:?}", format!("{got}{rest}")));
        }
        if open.is_some() {
            self.rest().await?;
        }
        Ok(())
    }

    /// Further lines of the reply under way.
    async fn rest(&mut self) -> Result<String, String> {
        let mut rest = String::new();
        while self.continues {
            let Some(line) = self.line().await? else { break };
            self.continues = line.as_bytes().get(3) == Some(&b'-');
            rest.push_str(" / ");
            rest.push_str(&line);
        }
        self.continues = false;
        Ok(rest)
    }

    async fn line(&mut self) -> Result<Option<String>, String> {
        let mut octets = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(&mut self.stream, LINE);
        let read = timeout(PATIENCE, limited.read_until(b'\n', &mut octets)).await;
        match read {
            Err(_) => Err(format!("no reply within {} s", PATIENCE.as_secs())),
            Ok(Err(error)) => Err(format!("the relay is gone: {error}")),
            Ok(Ok(0)) => Ok(None),
            Ok(Ok(_)) => Ok(Some(String::from_utf8_lossy(&octets).trim_end().to_owned())),
        }
    }

    /// Nothing may be left unexpected.
    async fn finish(mut self) -> Result<(), String> {
        // It may have closed by itself.
        let _ = self.stream.get_mut().shutdown().await;
        let mut left = Vec::new();
        while let Ok(Some(line)) = self.line().await {
            left.push(line);
        }
        match left.as_slice() {
            [] => Ok(()),
            lines => Err(format!("after the last line of smtp the relay also said {:?}", lines.join(" / "))),
        }
    }
}

/// `…` or `...` at the end stands for any rest; otherwise the whole line counts.
pub(crate) fn matches(got: &str, expected: &str) -> bool {
    match expected.strip_suffix('…').or_else(|| expected.strip_suffix("...")) {
        Some(start) => {
            // `250 …` is also met by the first line of a long reply, `250-…`.
            let longer = start.get(3..4) == Some(" ") && got.get(3..4) == Some("-");
            got.starts_with(start)
                || longer
                    && got.get(..3) == start.get(..3)
                    && got.get(4..).is_some_and(|rest| rest.starts_with(start.get(4..).unwrap_or_default()))
        }
        None => got == expected,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn any_rest_is_any_rest() {
        for (got, expected, matching) in [
            ("250 2.1.0 fine", "250 2.1.0 fine", true),
            ("250 2.1.0 fine", "250 2.1.0", false),
            ("250 2.1.0 fine", "250…", true),
            ("250 2.1.0 fine", "250 2.1.0 ...", true),
            ("250-relay", "250 …", true),
            ("250-relay", "250 other…", false),
            ("550 no", "250…", false),
        ] {
            assert_eq!(matches(got, expected), matching, "{got} {expected}");
        }
    }

    #[test]
    fn scripts_name_their_recipients_domains() {
        let script =
            Script::parse("C: RCPT TO:<a@B.example> NOTIFY=NEVER\nC: rcpt to:<c@d.example>\nC: RCPT TO:<x>\n").unwrap();
        assert_eq!(script.recipient_domains().collect::<Vec<_>>(), ["b.example", "d.example"]);
        assert!(Script::parse("C: a\n\n# b\nX: c\n").unwrap_err().contains("line 4"));
    }

    async fn against(server: &'static str, script: &str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(server.as_bytes()).await.unwrap();
            if server.is_empty() {
                return;
            }
            let mut rest = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.unwrap();
        });
        let played = Script::parse(script).unwrap().play(TcpStream::connect(address).await.unwrap()).await;
        serve.await.unwrap();
        played
    }

    #[tokio::test]
    async fn replies_are_held_against_the_script() {
        let server = "220 hello\r\n250-a\r\n250 b\r\n";
        assert_eq!(against(server, "S: 220 hello\nC: EHLO x\nS: 250…").await, Ok(()));
        assert_eq!(against(server, "S: 220 hello\nC: EHLO x\nS: 250-a\nS: 250 b").await, Ok(()));
        let said = against(server, "S: 220 hello\nC: EHLO x\nS: 550…").await.unwrap_err();
        assert_eq!(said, "line 3 of smtp: expected \"550…\", got \"250-a / 250 b\"");
        let said = against(server, "S: 220 hello").await.unwrap_err();
        assert!(said.contains("also said \"250-a / 250 b\""), "{said}");
        let said = against("", "S: 220…").await.unwrap_err();
        assert!(said.contains("closed the connection"), "{said}");
    }
}
