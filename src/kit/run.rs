//! The runner: every case with fresh instances, with warm ones, and shuffled, so that no plugin grows to rely on what an
//! instance remembers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};

use super::dialogue::Script;
use super::event::{self, Setting};
use super::expect::{self, Happened};
use super::said::Decided;
use super::scenario::{Case, Event, Expect, Fakes, File, Step};
use super::world::{Heard, Setup, Stage, World};
use super::{Options, Scratch, read, taken};
use crate::plugin::{Compiler, Instances};
use crate::time::{Clock, Timestamp};

/// When a case begins if it does not say.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

/// How a case was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// A new instance for each call.
    Fresh,
    /// Instances are used again.
    Warm,
    /// Again, in another order.
    Shuffled,
}

/// What became of one case in one pass.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Its file.
    pub file: PathBuf,
    /// Its name.
    pub case: String,
    /// How it was run.
    pub pass: Pass,
    /// What was other than expected; empty: it passed.
    pub wrong: Vec<String>,
    /// What the plugin decided and wrote, for those who want to know why.
    pub story: Vec<String>,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Cases.
    pub cases: usize,
    /// Those that did not pass, in some pass.
    pub failed: usize,
    /// Each case that did not pass, in each pass.
    pub verdicts: Vec<Verdict>,
    /// Decides the order of the shuffled pass.
    pub seed: u64,
}

/// Runs scenarios. `done` hears of each case that was run in all passes so far.
///
/// # Errors
/// What keeps them from being run at all: a file, the component.
pub async fn run(
    options: &Options,
    compiler: Option<Compiler>,
    mut done: impl FnMut(&Verdict),
) -> Result<Report, String> {
    let files = files(options)?;
    let folder = Scratch::new().map_err(|error| format!("no folder for the test: {error}"))?;
    let world = World::open_for(&options.component, folder.path(), compiler).await;
    let world = world.map_err(|error| format!("{error:#}"))?;
    let mut stages = Stages { world: &world, options, made: Vec::new() };
    let mut order: Vec<(&Path, &File, &Case)> = Vec::new();
    for (path, file) in &files {
        let wanted = |case: &&Case| options.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
        order.extend(file.cases.iter().filter(wanted).map(|case| (&**path, file, case)));
    }
    let mut report = Report { cases: order.len(), seed: options.seed, ..Report::default() };
    let mut failed = std::collections::BTreeSet::new();
    for pass in [Pass::Fresh, Pass::Warm, Pass::Shuffled] {
        if pass == Pass::Shuffled {
            fastrand::Rng::with_seed(options.seed).shuffle(&mut order);
        }
        for (path, file, case) in &order {
            let played = stages.play(file, case, pass).await.map_err(|why| format!("{}: {why}", path.display()))?;
            let (wrong, story) = played;
            let verdict = Verdict { file: path.to_path_buf(), case: case.name.clone(), pass, wrong, story };
            done(&verdict);
            if !verdict.wrong.is_empty() {
                failed.insert((verdict.file.clone(), verdict.case.clone()));
                report.verdicts.push(verdict);
            }
        }
    }
    report.failed = failed.len();
    if let Some(kept) = super::kept(&options.component) {
        super::tidy(&kept);
    }
    Ok(report)
}

/// All files of a run.
pub(super) fn files(options: &Options) -> Result<Vec<(PathBuf, File)>, String> {
    let file = |path: &PathBuf| match read(path)? {
        file if file.cases.is_empty() => Err(format!("{}: there is no [[case]] in it", path.display())),
        file => Ok((path.clone(), file)),
    };
    options.scenarios.iter().map(file).collect()
}

/// Sets of plugins by what they are built from: most cases of a file share one.
pub(super) struct Stages<'a> {
    pub world: &'a World,
    pub options: &'a Options,
    pub made: Vec<(Setup, Instances, Arc<Stage>)>,
}

impl Stages<'_> {
    pub(super) async fn of(&mut self, file: &File, case: &Case, instances: Instances) -> Result<Arc<Stage>, String> {
        let mut setup = Setup::of(file, &case.plugin, &case.fakes);
        let listener = |case: &Case| case.client.listener.clone().unwrap_or_else(|| "smtp".to_owned());
        setup.listeners = file.cases.iter().map(listener).collect();
        setup.listeners.sort();
        setup.listeners.dedup();
        let scripts = file.cases.iter().flat_map(|case| case.steps().unwrap_or_default());
        for script in scripts.filter_map(|step| Script::parse(&step.smtp?).ok()) {
            setup.domains.extend(script.recipient_domains());
        }
        setup.domains.sort();
        setup.domains.dedup();
        let same = |(of, how, _): &&(Setup, Instances, Arc<Stage>)| *of == setup && *how == instances;
        if let Some((_, _, stage)) = self.made.iter().find(same) {
            return Ok(stage.clone());
        }
        let Options { name, component, .. } = self.options;
        let stage = Arc::new(self.world.stage(name, component, &setup, instances).await?);
        self.made.push((setup, instances, stage.clone()));
        Ok(stage)
    }

    /// One case: what was wrong, and its story.
    async fn play(&mut self, file: &File, case: &Case, pass: Pass) -> Result<(Vec<String>, Vec<String>), String> {
        let instances = if pass == Pass::Fresh { Instances::Fresh } else { Instances::Warm };
        let of_case = |why: String| format!("case {:?}: {why}", case.name);
        let stage = self.of(file, case, instances).await.map_err(of_case)?;
        let mut play = Play::begin(self.world, &stage, file, case).map_err(of_case)?;
        let steps = case.steps().map_err(of_case)?;
        let several = steps.len() > 1;
        let (mut wrong, mut story) = (Vec::new(), Vec::new());
        for (number, step) in (1..).zip(&steps) {
            let (is_wrong, told, _) = play.step(step).await;
            let at = |text: String| if several { format!("step {number}: {text}") } else { text };
            wrong.extend(is_wrong.into_iter().map(at));
            let of_step = |text: String| if several { format!("step {number}  {text}") } else { text };
            story.extend(told.into_iter().map(of_step));
            if !wrong.is_empty() {
                // What comes after follows from it.
                break;
            }
        }
        Ok((wrong, story))
    }
}

/// One case under way.
pub(super) struct Play<'a> {
    world: &'a World,
    stage: &'a Stage,
    case: &'a Case,
    fakes: Fakes,
    number: u64,
}

impl<'a> Play<'a> {
    pub(super) fn begin(world: &'a World, stage: &'a Stage, file: &File, case: &'a Case) -> Result<Self, String> {
        let text = case.clock.as_deref().unwrap_or(BEGINNING);
        let now = Timestamp::parse(text).ok_or_else(|| format!("clock: {text:?} is no time: write {BEGINNING}"))?;
        world.clock.set(now);
        let mut fakes = file.fakes.clone();
        fakes.lay(&case.fakes);
        let own = fakes.kv.iter().map(|(key, value)| ("own", &**key, &**value));
        let shared = fakes
            .shared_kv
            .iter()
            .flat_map(|(bucket, entries)| entries.iter().map(|(key, value)| (&**bucket, &**key, &**value)));
        stage.set.reset(&stage.name, own.chain(shared), now).map_err(|why| format!("fakes.kv: {why}"))?;
        world.names.set(&fakes.dns)?;
        world.servers.set(&fakes.http)?;
        world.servers.asked();
        *world.heard.lock() = Heard::default();
        Ok(Self { world, stage, case, fakes, number: 0 })
    }

    /// What was wrong, what the plugin did in words, and its answers.
    pub(super) async fn step(&mut self, step: &Step) -> (Vec<String>, Vec<String>, Vec<Decided>) {
        self.number += 1;
        let nothing = Expect::default();
        let expect = step.expect.as_ref().unwrap_or(&nothing);
        let mut wrong = Vec::new();
        let mut asked = None;
        let done = if let Some(text) = &step.smtp {
            self.dialogue(text).await
        } else if let Some(hook) = &step.hook {
            let answered = self.ask(hook, step.event.as_ref()).await;
            answered.map(|decided| asked = Some(decided))
        } else {
            self.change(step)
        };
        wrong.extend(done.err());
        let (happened, kv) = match self.happened(asked).await {
            Ok(happened) => {
                let kv = self.kept(expect);
                (happened, kv)
            }
            Err(why) => (Happened::default(), vec![why]),
        };
        wrong.extend(expect::differences(expect, &happened, step.smtp.is_some()));
        wrong.extend(kv);
        (wrong, story(&happened), happened.decisions)
    }

    /// What comes of a step, whatever is expected of it.
    pub(super) async fn outcome(&mut self, step: &Step) -> Vec<String> {
        let free = Step { expect: None, ..step.clone() };
        let (wrong, mut story, _) = self.step(&free).await;
        story.extend(wrong.into_iter().map(|wrong| format!("so      {wrong}")));
        story
    }

    fn change(&mut self, step: &Step) -> Result<(), String> {
        if let Some(text) = &step.advance {
            let by = event::duration(text)
                .ok_or_else(|| format!("advance: {text:?} is no time: write 90s, 10m, 2h or 4d"))?;
            self.world.clock.advance(by);
        }
        if let Some(over) = &step.fakes {
            self.fakes.lay(over);
            self.world.names.set(&self.fakes.dns)?;
            self.world.servers.set(&self.fakes.http)?;
        }
        Ok(())
    }

    fn setting(&self) -> Setting<'_> {
        Setting { plugin: &self.stage.name, now: self.world.clock.now(), number: self.number }
    }

    async fn dialogue(&self, text: &str) -> Result<(), String> {
        let script = Script::parse(text)?;
        let mut facts = event::session(&self.case.client, self.setting())?;
        // What it calls itself it says in the dialogue.
        (facts.helo, facts.protocol) = (None, Default::default());
        let (client, server) = connection().await.map_err(|error| format!("no connection: {error}"))?;
        let (played, ()) = tokio::join!(script.play(client), self.stage.serve(server, facts));
        played
    }

    async fn ask(&self, name: &str, about: Option<&Event>) -> Result<Decided, String> {
        let hook = event::hook(name)?;
        let (event, nothing) = (about, Event::default());
        let (question, subject) = event::ask(hook, &self.case.client, event.unwrap_or(&nothing), self.setting())?;
        let said = self.stage.set.rehearse(&self.stage.name, question, subject.clone()).await;
        let said = said.ok_or_else(|| format!("the component does not export {}", hook.interface()))?;
        Ok(Decided::of_rehearsal(hook, said, &subject))
    }

    async fn happened(&self, asked: Option<Decided>) -> Result<Happened, String> {
        let Heard { lines, mut decisions } = std::mem::take(&mut *self.world.heard.lock());
        decisions.extend(asked);
        let (asked, unknown) = self.world.servers.asked();
        let taken = taken::take_all(&self.world.queue, &self.stage.name).await?;
        let mut counted = std::collections::BTreeMap::new();
        for counter in self.stage.set.metrics().into_iter().flat_map(|metrics| metrics.counters) {
            *counted.entry(counter.name).or_insert(0) += counter.value;
        }
        Ok(Happened { decisions, lines, asked, unknown, taken, counted })
    }

    /// What is other than expected in the buckets.
    fn kept(&self, expect: &Expect) -> Vec<String> {
        let own = expect.kv.iter().map(|(key, wanted)| ("own", format!("kv.{key}"), key, wanted));
        let shared = expect.shared_kv.iter().flat_map(|(bucket, entries)| {
            let name = move |key: &String| format!("shared-kv.{bucket}.{key}");
            entries.iter().map(move |(key, wanted)| (&**bucket, name(key), key, wanted))
        });
        let now = self.world.clock.now();
        let look = |(bucket, name, key, wanted): (&str, String, &String, _)| match self.stage.set.value(
            &self.stage.name,
            bucket,
            key,
            now,
        ) {
            Ok(got) => expect::entry(&name, wanted, got.as_deref()),
            Err(why) => Some(format!("{name}: {why}")),
        };
        own.chain(shared).filter_map(look).collect()
    }
}

/// Both ends of a connection over loopback.
pub(super) async fn connection() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (client, (server, _)) = (client?, server?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

fn story(happened: &Happened) -> Vec<String> {
    let decided = happened.decisions.iter().map(|decided| format!("decided  {}", decided.line()));
    let taken = happened.taken.iter().map(|taken| format!("taken    {}", taken.line()));
    let wrote = happened.lines.iter().map(|line| format!("wrote    {} {}: {}", line.hook, line.level, line.text));
    let asked = happened.asked.iter().map(|asked| format!("asked    {asked}"));
    wrote.chain(asked).chain(decided).chain(taken).collect()
}
