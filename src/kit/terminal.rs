//! A session with a policy on a terminal: what is typed goes to the relay's own session, what it answers comes back, and
//! between the two what the plugin decided and wrote. Must never deliver.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::event::{self, Setting};
use super::run::connection;
use super::scenario::{Client, File};
use super::world::{Heard, Setup, World};
use super::{Scratch, read, taken};
use crate::plugin::{Compiler, Instances};
use crate::time::{Clock as _, System};

/// Names that mean nobody (RFC 2606, RFC 6761).
const STAND_INS: [&str; 5] = ["example.com", "example.net", "example.org", ".example", ".test"];

/// How to talk.
#[derive(Clone, Debug)]
pub struct Talk {
    /// As in `[plugins.NAME]`.
    pub name: Arc<str>,
    /// Its component.
    pub component: std::path::PathBuf,
    /// The binding and the fakes of this scenario file; none: no settings, no grants.
    pub scenario: Option<std::path::PathBuf>,
    /// An IP address.
    pub client: Option<String>,
    /// Authenticated as.
    pub identity: Option<String>,
    /// Its confirmed name.
    pub client_name: Option<String>,
    /// It may send to anybody.
    pub relay: bool,
    /// Mail for these is taken from anybody, besides that for names that stand for others (RFC 2606).
    pub domains: Vec<String>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A line of the relay.
    Reply(String),
    /// What the plugin decided.
    Decided(String),
    /// What it wrote into the log, or whom it asked.
    Wrote(String),
    /// A message that was taken.
    Taken(String),
}

/// Reads lines from `input` until its end or QUIT.
///
/// # Errors
/// What keeps the session from being held.
pub async fn talk(
    of: &Talk,
    compiler: Option<Compiler>,
    input: impl AsyncBufRead + Unpin,
    mut show: impl FnMut(Shown),
) -> Result<(), String> {
    let folder = Scratch::new().map_err(|error| format!("no folder for the session: {error}"))?;
    let world = World::open_for(&of.component, folder.path(), compiler).await;
    let world = world.map_err(|error| format!("{error:#}"))?;
    let file = of.scenario.as_deref().map_or_else(|| Ok(File::default()), |path: &Path| read(path))?;
    let mut setup = Setup::of(&file, &toml::Table::new(), &Default::default());
    setup.listeners = vec!["smtp".to_owned()];
    setup.domains = STAND_INS.iter().map(|domain| (*domain).to_owned()).chain(of.domains.clone()).collect();
    let stage = world.stage(&of.name, &of.component, &setup, Instances::Warm).await?;
    let now = System.now();
    world.clock.set(now);
    let own = file.fakes.kv.iter().map(|(key, value)| ("own", &**key, &**value));
    stage.set.reset(&of.name, own, now)?;
    world.names.set(&file.fakes.dns)?;
    world.servers.set(&file.fakes.http)?;
    let client = Client {
        address: of.client.clone(),
        name: of.client_name.clone(),
        identity: of.identity.clone(),
        relay: of.relay,
        ..Client::default()
    };
    let facts = event::session(&client, Setting { plugin: &of.name, now, number: 1 })?;
    let (near, far) = connection().await.map_err(|error| format!("no connection: {error}"))?;
    let session = async {
        let mut wire = Wire { stream: BufReader::new(near), in_data: false };
        wire.hold(input, &world, &of.name, &mut show).await
    };
    let (held, ()) = tokio::join!(session, stage.serve(far, facts));
    held.map_err(|error| format!("the session ended: {error}"))
}

struct Wire {
    stream: BufReader<TcpStream>,
    in_data: bool,
}

impl Wire {
    async fn hold(
        &mut self,
        mut input: impl AsyncBufRead + Unpin,
        world: &World,
        plugin: &str,
        show: &mut impl FnMut(Shown),
    ) -> std::io::Result<()> {
        if !self.answer(world, plugin, show).await? {
            return Ok(());
        }
        let mut line = String::new();
        while input.read_line(&mut line).await? > 0 {
            let text = line.trim_end_matches(['\r', '\n']);
            world.clock.set(System.now());
            self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await?;
            let is_answered = !self.in_data || text == ".";
            if self.in_data && text == "." {
                self.in_data = false;
            }
            if is_answered && !self.answer(world, plugin, show).await? {
                return Ok(());
            }
            line.clear();
        }
        self.stream.get_mut().shutdown().await?;
        // What is still said is the relay's farewell.
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(())
    }

    /// One reply, with what led to it. False: the connection is closed.
    async fn answer(&mut self, world: &World, plugin: &str, show: &mut impl FnMut(Shown)) -> std::io::Result<bool> {
        let mut reply = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                break;
            }
            let line = line.trim_end().to_owned();
            let last = line.as_bytes().get(3) != Some(&b'-');
            self.in_data |= line.starts_with("354");
            reply.push(line);
            if last {
                break;
            }
        }
        let Heard { lines, decisions } = std::mem::take(&mut *world.heard.lock());
        lines.iter().for_each(|line| show(Shown::Wrote(format!("{} {}: {}", line.hook, line.level, line.text))));
        world.servers.asked().0.into_iter().for_each(|asked| show(Shown::Wrote(format!("asked {asked}"))));
        decisions.iter().for_each(|decided| show(Shown::Decided(decided.line())));
        let open = !reply.is_empty() && !reply.iter().any(|line| line.starts_with("221") || line.starts_with("421"));
        reply.into_iter().for_each(|line| show(Shown::Reply(line)));
        for taken in taken::take_all(&world.queue, plugin).await.map_err(std::io::Error::other)? {
            show(Shown::Taken(taken.line()));
        }
        Ok(open)
    }
}
