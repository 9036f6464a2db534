//! One transcript, played over a socket. What is wrong is returned, so that all that is wrong can be seen at once.

use std::net::IpAddr;

use super::grounds::{Ground, World, is_own};
use super::script::{Script, escape, is_wanted, unescape, way};
use super::wire::{Unconnected, Wire};
use crate::harness::Taken;

/// What was taken, by queue id.
pub(super) struct Kept {
    /// As the relay named it.
    pub(super) id: String,
    /// The relay ends before it is sent on, or after: `sink: later`.
    pub(super) later: bool,
}

struct Play<'a> {
    world: &'a World,
    ground: &'a Ground,
    script: &'a Script,
    piece: usize,
    wire: Wire,
    ids: Vec<String>,
    closed: bool,
}

/// Plays, with the client's octets cut into pieces of this size.
pub(super) fn play(world: &World, ground: &Ground, script: &Script, piece: usize) -> Result<Vec<Kept>, String> {
    let client = Unconnected::from(client(script));
    let port = client.address.port();
    let answers = script.steps.iter().filter(|step| step.word == "answer" && !is_own(script, &step.rest));
    let answers = answers.map(|step| step.rest.split_once(' ').unwrap()).map(|(a, b)| (a.into(), b.into()));
    world.policy.expect(port, answers.collect());
    let tls = script.is_set("tls");
    let mut wire = client.connect(ground.address(tls))?;
    if tls {
        wire.start_tls(&world.tls)?;
    }
    let mut play = Play { world, ground, script, piece, wire, ids: Vec::new(), closed: false };
    for step in &script.steps {
        play.step(&step.word, &step.rest).map_err(|error| format!("line {}: {error}", step.line))?;
    }
    let kept = play.finish()?;
    let left = world.policy.left(port);
    if left.is_empty() { Ok(kept) } else { Err(format!("never asked: {left:?}")) }
}

/// The address that stands for the transcript's client.
fn client(script: &Script) -> IpAddr {
    let set = script.settings.iter().find_map(|one| one.strip_prefix("client="));
    let last = set.and_then(|address| address.rsplit_once('.')).map_or("7", |(_, last)| last);
    let net = if set.is_some_and(|address| address.starts_with("192.0.2.")) { 2 } else { 0 };
    format!("127.0.{net}.{last}").parse().unwrap()
}

impl Play<'_> {
    fn step(&mut self, word: &str, rest: &str) -> Result<(), String> {
        match (word, rest) {
            ("S", wanted) => {
                let line = self.line()?;
                if is_wanted(&line, wanted) { Ok(()) } else { Err(format!("the reply is {line}, wanted {wanted}")) }
            }
            ("C", line) => {
                self.send(&[&unescape(line)[..], b"\r\n"].concat());
                Ok(())
            }
            ("R" | "early", octets) => {
                self.send(&unescape(octets));
                Ok(())
            }
            ("reply", code) => self.reply(&[code]),
            ("go", to) => way(to).iter().try_for_each(|line| self.go(line)),
            ("in", "tls") => self.wire.start_tls(&self.world.tls),
            // The relay of this transcript waits for no longer than a second.
            ("in", "timeout") => Ok(()),
            ("in", "draining") => {
                self.ground.relay.drain();
                Ok(())
            }
            ("act", "close") => {
                self.closed = true;
                Ok(())
            }
            // Seen by the pure player, or afterwards.
            ("ask" | "act" | "no-act" | "answer" | "sink", _) => Ok(()),
            _ => Err(format!("what is {word}: {rest}?")),
        }
    }

    fn go(&mut self, line: &str) -> Result<(), String> {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply(&["2", "3"]).map_err(|error| format!("{line}: {error}"))
    }

    /// A reply of any number of lines, each of which begins with one of these.
    fn reply(&mut self, starts: &[&str]) -> Result<(), String> {
        loop {
            let line = self.line()?;
            if !starts.iter().any(|start| line.starts_with(start)) {
                return Err(format!("the reply is {line}, wanted {starts:?}"));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    fn send(&mut self, octets: &[u8]) {
        self.wire.send(octets, self.piece);
    }

    fn line(&mut self) -> Result<String, String> {
        let line = self.wire.line()?.ok_or("the connection is closed")?;
        // LMTP says it for each recipient.
        if let Some((_, id)) = line.split_once(" queued as ")
            && self.ids.last().is_none_or(|last| last != id)
        {
            self.ids.push(id.into());
        }
        Ok(line)
    }

    fn finish(mut self) -> Result<Vec<Kept>, String> {
        let more = self.wire.rest(self.closed)?;
        // An alert of TLS is no reply.
        if !more.is_empty() && !more.starts_with('\u{15}') {
            return Err(format!("said more: {more:?}"));
        }
        let wanted: Vec<&str> =
            self.script.steps.iter().filter(|step| step.word == "sink").map(|step| &*step.rest).collect();
        let later = wanted == ["later"];
        let kept = self.ids.iter().map(|id| Kept { id: id.clone(), later }).collect();
        if !later && wanted != ["nothing"] {
            let sink = &self.world.sink;
            let taken = self.ids.iter().map(|id| sink.find(|taken| of(taken, id)).ok_or("a message did not arrive"));
            compare(&taken.collect::<Result<Vec<_>, _>>()?, &wanted)?;
        }
        Ok(kept)
    }
}

/// True if this relay's trace field, the topmost one, has this queue id.
pub(super) fn of(taken: &Taken, id: &str) -> bool {
    trace(taken).0.contains(&format!(" id {id}"))
}

/// The topmost field, unfolded, and the rest.
fn trace(taken: &Taken) -> (String, &str) {
    let mut end = 0;
    for line in taken.content.split_inclusive("\r\n") {
        if end > 0 && !line.starts_with(['\t', ' ']) {
            break;
        }
        end += line.len();
    }
    let (field, rest) = taken.content.split_at(end);
    (field.replace("\r\n\t", " "), rest)
}

/// Everything that `sink:` lines say, in order, against what came; each `mail` begins the next message.
fn compare(taken: &[Taken], wanted: &[&str]) -> Result<(), String> {
    let mut messages = taken.iter();
    let mut now: Option<(&Taken, usize)> = None;
    for line in wanted {
        let (what, text) = line.split_once(' ').unwrap_or((line, ""));
        if what == "mail" {
            now = messages.next().map(|taken| (taken, 0));
        }
        let (taken, at) = now.as_mut().ok_or_else(|| format!("no message for sink: {line}"))?;
        let got = match what {
            "mail" | "rcpt" => {
                let got = taken.envelope.get(*at).map_or("nothing", |command| &command[command.find('<').unwrap()..]);
                *at += 1;
                got.to_owned()
            }
            "trace" if trace(taken).0.contains(text) => text.to_owned(),
            "trace" => trace(taken).0,
            "content" => escape(trace(taken).1.as_bytes()),
            _ => return Err(format!("what is sink: {line}?")),
        };
        if !is_wanted(&got, text) {
            return Err(format!("at the sink: {got}, wanted {text}"));
        }
    }
    Ok(())
}
