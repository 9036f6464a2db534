//! `waypost plugin new`, `build`, `check`: prints what the workbench made and what a relay would say.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::args::{CONFIGURATION, Common};
use super::plugin::show_one;
use super::render::{clean, count};
use super::{Failure, compiler};
use crate::config::{ConfigError, Settings};
use crate::kit::{Scratch, kept};
use crate::plugin::{Outline, grant_lines, outline};
use crate::workbench::{self, Language, Order, Proposal, Toolbox, WorkbenchError, Workpiece};
use crate::{app, config};

/// What `new` is told.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The plugin's name: a-z, 0-9 and hyphens.
    pub(super) name: String,
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE", default_value = "rust",
        value_parser = clap::builder::PossibleValuesParser::new(Language::ALL.map(Language::word)))]
    pub(super) language: String,
    /// A hook that it answers; may be given several times [default: rcpt]
    ///
    /// connect, helo, auth, mail, rcpt, message, route, delivery-attempt, delivery-result, bounce
    #[arg(long = "hook", value_name = "HOOK")]
    pub(super) hooks: Vec<String>,
    /// Make the project's folder in this one.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) into: PathBuf,
}

impl From<WorkbenchError> for Failure {
    fn from(error: WorkbenchError) -> Self {
        match error {
            WorkbenchError::Usage(why) => Self::Unusable(why),
            other => Self::Refused(format!("waypost: {other}").lines().map(str::to_owned).collect()),
        }
    }
}

/// What a tool is to work on; without it, nothing can be run.
pub(super) fn workpiece(target: &Path) -> Result<Workpiece, Failure> {
    workbench::workpiece(target).map_err(|error| Failure::Unusable(error.to_string()))
}

/// Writes a project.
pub(super) fn new(common: &Common, order: New, out: &mut dyn Write) -> Result<(), Failure> {
    let New { name, language, hooks, into } = order;
    // The command line takes no other word.
    let language = Language::parse(&language).unwrap_or(Language::Rust);
    let made = workbench::create(&Order { name, language, hooks, into })?;
    let folder = made.folder.display().to_string();
    if common.json {
        let made = json!({ "folder": folder, "files": made.files, "next": made.next, "language": language.word() });
        return Ok(writeln!(out, "{made}")?);
    }
    writeln!(out, "{folder}: a plugin in {}, {}", language.name(), count(made.files.len() as u64, "file"))?;
    writeln!(out, "\n  cd {folder}")?;
    made.next.iter().try_for_each(|command| writeln!(out, "  {command}"))?;
    Ok(())
}

/// Builds a project.
pub(super) fn build(common: &Common, project: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let project = workbench::Project::open(project)?;
    let built = workbench::build(&project, &Toolbox::of_the_environment())?;
    if common.json {
        let built = json!({
            "component": built.component, "size": built.size, "hooks": hooks(&built.exports), "seconds": built.seconds,
            "language": built.language.word(),
        });
        return Ok(writeln!(out, "{built}")?);
    }
    let (path, seconds) = (built.component.display(), built.seconds);
    Ok(writeln!(out, "{path}: {} octets, {}, {seconds:.1} s", built.size, hooks(&built.exports).join(", "))?)
}

/// Checks a component as a relay would.
pub(super) async fn check(common: &Common, target: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let (component, project) = workbench::component_of(target)?;
    let octets =
        std::fs::read(&component).map_err(|error| Failure::refused(format!("{}: {error}", component.display())))?;
    let said = outline(&octets).map_err(|error| Failure::refused(format!("{}: {error}", component.display())))?;
    let name = said.name.clone().or_else(|| project.as_ref().map(|project| project.name.clone()));
    let name =
        name.or_else(|| component.file_stem().map(|stem| stem.to_string_lossy().into_owned())).unwrap_or_default();
    let asks: Vec<String> = said.required.iter().chain(&said.optional).cloned().collect();
    let folder = project.as_ref().map(|project| project.folder.as_path());
    let proposal = workbench::propose(&name, &component, folder, &grant_lines(&asks))?;
    let problems = match relay(common) {
        Some(relay) => problems_there(relay, &name, &component, &proposal).await?,
        None => problems_here(&component, &proposal).await?,
    };
    let denied: Vec<String> = said.unasked().iter().map(|(import, ask)| denied(&name, import, ask)).collect();
    if common.json {
        let all = json!({ "ok": problems.is_empty(), "component": component, "size": octets.len(), "hooks": hooks(&said.exports),
            "name": name, "version": said.version, "asks": { "required": said.required, "optional": said.optional },
            "imports": said.imports, "denied": denied, "problems": problems, "configuration": proposal.tables });
        writeln!(out, "{all}")?;
    } else {
        write!(out, "{}", show(&name, &component, octets.len(), &said))?;
        denied.iter().try_for_each(|line| writeln!(out, "\n{}", clean(line)))?;
        if relay(common).is_none() {
            writeln!(out, "\nIn the configuration of a relay:\n\n{}", proposal.tables.trim_end())?;
        }
        if problems.is_empty() {
            writeln!(out, "\na relay would take it")?;
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(problems.iter().map(|problem| format!("waypost: {}", clean(problem))).collect()))
}

/// The relay's configuration, if one was named.
fn relay(common: &Common) -> Option<&Path> {
    Some(common.config.as_path()).filter(|path| *path != Path::new(CONFIGURATION))
}

fn denied(name: &str, import: &str, ask: &str) -> String {
    let line = grant_lines(&[ask.to_owned()]).concat();
    format!(
        "It imports {import}, which is denied to whoever does not ask for it: put \"{ask}\" among the asks of \
         waypost-plugin.toml and build again; the operator then adds `{line}` to [plugins.{name}.grants]."
    )
}

/// What a relay of our own making says.
async fn problems_here(component: &Path, proposal: &Proposal) -> Result<Vec<String>, Failure> {
    let folder = Scratch::new().map_err(|error| Failure::refused(format!("waypost: no temporary folder: {error}")))?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret\n").map_err(|error| Failure::refused(format!("{}: {error}", secret.display())))?;
    let text = proposal.relay(&folder.path().join("queue"), &secret);
    let from = proposal.scenario.clone().unwrap_or_else(|| "the proposed configuration".into());
    match config::parse(&from, &text) {
        Ok(settings) => Ok(app::check_plugins(&settings, compiler(), kept(component).as_deref()).await),
        // Lines are those of a text that nobody wrote.
        Err(errors) => Ok(errors.into_iter().map(|error| ConfigError { line: 0, ..error }.to_string()).collect()),
    }
}

/// What the relay with that configuration says.
async fn problems_there(
    relay: &Path,
    name: &str,
    component: &Path,
    proposal: &Proposal,
) -> Result<Vec<String>, Failure> {
    let mut settings: Settings = config::load(relay)?;
    let Some((name, mut plugin)) = settings.plugins.plugins.remove_entry(name) else {
        let lines = proposal.tables.trim_end();
        return Ok(vec![format!("{}: there is no [plugins.{name}]: add\n{lines}", relay.display())]);
    };
    plugin.path = component.to_owned();
    // Of the version that serves there, not of this one.
    (plugin.sha256, plugin.candidate) = (None, None);
    settings.plugins.plugins = [(name, plugin)].into();
    Ok(app::check_plugins(&settings, compiler(), kept(component).as_deref()).await)
}

fn show(name: &str, component: &Path, size: usize, said: &Outline) -> String {
    let asks = |words: &[String], kind: &str| words.iter().map(|word| format!("{word} ({kind})")).collect::<Vec<_>>();
    let asks = [asks(&said.required, "required"), asks(&said.optional, "optional")].concat();
    show_one(&json!({
        "name": name,
        "version": said.version,
        "description": said.description,
        "component": component,
        "size": format!("{size} octets"),
        "hooks": hooks(&said.exports),
        "asks": asks,
        "imports": imports(&said.imports),
    }))
}

/// WASI's are counted: which ones a compiler brings along tells an author nothing.
fn imports(names: &[String]) -> Vec<String> {
    let (wasi, mut own): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| name.starts_with("wasi:"));
    if !wasi.is_empty() {
        own.push(format!("{} of WASI", wasi.len()));
    }
    own
}

/// `waypost:plugin/on-rcpt@0.1.0` and `on-rcpt` both are `on-rcpt`; what is no hook is left out.
fn hooks(exports: &[String]) -> Vec<&str> {
    exports
        .iter()
        .map(|name| name.strip_prefix("waypost:plugin/").unwrap_or(name))
        .filter_map(|name| name.split('@').next())
        .filter(|name| name.starts_with("on-"))
        .collect()
}
