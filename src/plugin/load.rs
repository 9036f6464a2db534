//! Loading: from a file to compiled code whose imports and hooks are known.
//!
//! Reads, hashes and compiles: blocking, so always off the async workers. What is wrong with a file is said together
//! with what to do about it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};

use super::bindings::exports::waypost::plugin as exports;
use super::grants::Linking;
use super::manifest::{self, Manifest};
use super::state::State;
use super::{CompileConfig, Engine, HostConfig, PluginConfig, signature, wasi};
use crate::hooks::Hook;

/// Octets of a component: a Python interpreter is a quarter of it.
pub(crate) const SIZE_MAX: u64 = 64 << 20;

/// The package line this relay speaks.
pub(crate) const CONTRACT: &str = "0.1";

/// Why a plugin can't be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{problem}", .plugin.as_ref().map(|name| format!("plugin `{name}`: ")).unwrap_or_default())]
pub struct LoadError {
    /// `[plugins.NAME]`; none where a file was looked at without a configuration.
    pub plugin: Option<Arc<str>>,
    /// What is wrong.
    pub problem: Problem,
    /// The hooks it has, if that much is known.
    pub hooks: Option<Vec<Hook>>,
}

/// What is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file.
    #[error("{0}")]
    File(String),
    /// Its digest.
    #[error(
        "the file's sha256 is {found}, the configuration wants {wanted}: put the new digest there if the file is right"
    )]
    Digest {
        /// Of the file.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// Its signature.
    #[error("{0}")]
    Signature(String),
    /// It is no component, or none that this relay can run.
    #[error("{0}")]
    Component(String),
    /// What it imports or exports.
    #[error("{0}")]
    Contract(String),
    /// What it asks for and what it was granted do not fit, or a grant leads nowhere.
    #[error("{0}")]
    Grants(String),
    /// Its settings, against its own schema.
    #[error("{0}")]
    Settings(String),
    /// It does not want to start.
    #[error("{0}")]
    Start(String),
    /// The same of a candidate.
    #[error("plugins.{plugin}.candidate: {problem}")]
    Candidate {
        /// `[plugins.NAME]`.
        plugin: Arc<str>,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
}

impl LoadError {
    pub(crate) fn of(plugin: &Arc<str>, problem: Problem) -> Self {
        Self { plugin: Some(plugin.clone()), problem, hooks: None }
    }

    pub(crate) fn file(problem: Problem) -> Self {
        Self { plugin: None, problem, hooks: None }
    }
}

/// The hooks of a component: one index type per interface, present or absent.
#[derive(Default)]
pub(crate) struct Indices {
    pub lifecycle: Option<exports::lifecycle::GuestIndices>,
    pub connect: Option<exports::on_connect::GuestIndices>,
    pub helo: Option<exports::on_helo::GuestIndices>,
    pub auth: Option<exports::on_auth::GuestIndices>,
    pub mail: Option<exports::on_mail::GuestIndices>,
    pub rcpt: Option<exports::on_rcpt::GuestIndices>,
    pub message: Option<exports::on_message::GuestIndices>,
    pub route: Option<exports::on_route::GuestIndices>,
    pub delivery_attempt: Option<exports::on_delivery_attempt::GuestIndices>,
    pub delivery_result: Option<exports::on_delivery_result::GuestIndices>,
    pub bounce: Option<exports::on_bounce::GuestIndices>,
}

impl Indices {
    fn of(pre: &InstancePre<State>) -> Self {
        Self {
            lifecycle: exports::lifecycle::GuestIndices::new(pre).ok(),
            connect: exports::on_connect::GuestIndices::new(pre).ok(),
            helo: exports::on_helo::GuestIndices::new(pre).ok(),
            auth: exports::on_auth::GuestIndices::new(pre).ok(),
            mail: exports::on_mail::GuestIndices::new(pre).ok(),
            rcpt: exports::on_rcpt::GuestIndices::new(pre).ok(),
            message: exports::on_message::GuestIndices::new(pre).ok(),
            route: exports::on_route::GuestIndices::new(pre).ok(),
            delivery_attempt: exports::on_delivery_attempt::GuestIndices::new(pre).ok(),
            delivery_result: exports::on_delivery_result::GuestIndices::new(pre).ok(),
            bounce: exports::on_bounce::GuestIndices::new(pre).ok(),
        }
    }
}

/// A component's code, and what is known of it without running it.
pub(crate) struct Compiled {
    pub digest: [u8; 32],
    pub size: u64,
    pub manifest: Option<Manifest>,
    pub hooks: Vec<Hook>,
    pub component: Component,
    /// Names of all imports and exports.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Compiled {
    /// From the manifest; without one, the digest tells one build from another.
    pub(crate) fn version(&self) -> String {
        let stated = self.manifest.as_ref().and_then(|m| m.version.clone());
        stated.unwrap_or_else(|| hex(&self.digest).chars().take(12).collect())
    }
}

/// A component with what its grants link it to, ready to be instantiated.
pub(crate) struct Linked {
    pub compiled: Arc<Compiled>,
    pub linking: Linking,
    pub indices: Indices,
    pub pre: InstancePre<State>,
}

impl Linked {
    /// Links it. Blocking.
    pub(crate) fn of(engine: &Engine, compiled: Arc<Compiled>, linking: Linking) -> Result<Self, Problem> {
        let linker = engine.linker(linking).map_err(|e| Problem::Component(format!("no linker: {e:#}")))?;
        let pre = linker.instantiate_pre(&compiled.component).map_err(|e| {
            Problem::Contract(format!(
                "it does not fit this relay's version of the contract: {e:#}; rebuild it against the relay's wit/"
            ))
        })?;
        Ok(Self { indices: Indices::of(&pre), pre, linking, compiled })
    }
}

/// Reads, verifies and compiles what a configuration names. Blocking.
pub(crate) fn load(engine: &Engine, config: &PluginConfig, host: &HostConfig) -> Result<Arc<Compiled>, Problem> {
    let octets = read(&config.path)?;
    let digest = digest_of(&octets);
    if let Some(wanted) = config.sha256
        && wanted != digest
    {
        return Err(Problem::Digest { found: hex(&digest), wanted: hex(&wanted) });
    }
    signature::check(&config.path, &digest, host)?;
    compile(engine, &octets, digest, &host.compile)
}

/// Compiles, unless the same octets are in use already. Blocking.
pub(crate) fn compile(
    engine: &Engine,
    octets: &[u8],
    digest: [u8; 32],
    limits: &CompileConfig,
) -> Result<Arc<Compiled>, Problem> {
    if let Some(known) = engine.known(&digest) {
        return Ok(known);
    }
    check_kind(octets)?;
    let manifest = manifest::find(octets).map_err(Problem::Component)?;
    let component = engine.workshop().component(engine.wasmtime(), octets, &digest, limits);
    let component = component.map_err(|e| uncompiled(&e))?;
    let ty = component.component_type();
    let names = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    let imports = names(&mut ty.imports(engine.wasmtime()).map(|(name, _)| name.to_owned()));
    let exports = names(&mut ty.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()));
    check_imports(&imports)?;
    check_exports(&exports)?;
    component
        .initialize_copy_on_write_image()
        .map_err(|e| Problem::Component(format!("its start image can't be made: {e:#}")))?;
    let exported = |hook: &Hook| exports.iter().filter_map(|name| of_package(name)).any(|(i, _)| i == hook.interface());
    let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(exported).collect();
    check_hooks(&hooks, manifest.as_ref())?;
    let size = octets.len() as u64;
    let compiled = Arc::new(Compiled { digest, size, manifest, hooks, component, imports, exports });
    engine.remember(&compiled);
    Ok(compiled)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let file = |e: std::io::Error| Problem::File(format!("{} can't be read: {e}", path.display()));
    let mut octets = Vec::new();
    std::fs::File::open(path).map_err(file)?.take(SIZE_MAX + 1).read_to_end(&mut octets).map_err(file)?;
    if octets.len() as u64 > SIZE_MAX {
        return Err(Problem::File(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(octets)
}

/// Tells what the octets are, where they are no component.
pub(crate) fn check_kind(octets: &[u8]) -> Result<(), Problem> {
    let why = match octets {
        _ if wasmtime::Engine::detect_precompiled(octets).is_some() => {
            "this is precompiled code, which the relay does not run: give it the component it was made from"
        }
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "this is a core WebAssembly module, not a component: make one with `wasm-tools component new`, or link it \
             with wasm-component-ld"
        }
        [0, b'a', b's', b'm', ..] => "this is WebAssembly of a version that the relay does not know",
        _ => "this is no WebAssembly component",
    };
    Err(Problem::Component(why.to_owned()))
}

/// `waypost:plugin/NAME@VERSION`, taken apart.
fn of_package(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("waypost:plugin/")?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

fn is_our_line(version: &str) -> bool {
    version.strip_prefix(CONTRACT).is_some_and(|rest| rest.starts_with('.'))
}

fn wrong_line(name: &str) -> Problem {
    Problem::Contract(format!(
        "it uses `{name}`; this relay speaks waypost:plugin@{CONTRACT}: rebuild the plugin against the relay's wit/"
    ))
}

const IMPORTS: [&str; 15] = [
    "types",
    "sessions",
    "transactions",
    "messages",
    "routing",
    "deliveries",
    "context",
    "log",
    "config",
    "system",
    "kv",
    "rate-limits",
    "metrics",
    "dns",
    "auth-results",
];

fn check_imports(imports: &[String]) -> Result<(), Problem> {
    let mut foreign = Vec::new();
    for name in imports {
        match of_package(name) {
            Some((_, version)) if !is_our_line(version) => return Err(wrong_line(name)),
            Some((interface, _)) if IMPORTS.contains(&interface) => {}
            None if wasi::offers(name) => {}
            _ => foreign.push(format!("`{name}`")),
        }
    }
    if foreign.is_empty() {
        return Ok(());
    }
    let newer = imports.iter().any(|name| name.starts_with("wasi:") && name.contains("@0.3."));
    let help = if newer {
        SYNCHRONOUS
    } else {
        "of WASI, plugins may import io, cli, clocks, random, filesystem and sockets (with nothing behind them) and \
         http/outgoing-handler, all of version 0.2: build it without the interfaces of others"
    };
    Err(Problem::Contract(format!("it imports {}, which this relay does not offer: {help}", foreign.join(", "))))
}

/// What to do about a component of a later kind.
const SYNCHRONOUS: &str = "plugins are synchronous components of WASI 0.2: build it for that (Rust: \
    wasm32-unknown-unknown or wasm32-wasip2; JavaScript and Python: no async functions in its world)";

/// Why it can't be compiled; what is missing for async functions is said in words that lead somewhere.
fn uncompiled(error: &dyn std::fmt::Display) -> Problem {
    let text = error.to_string();
    let help = if text.contains("async") { format!(": {SYNCHRONOUS}") } else { String::new() };
    Problem::Component(format!("the component can't be compiled: {text}{help}"))
}

fn check_exports(exports: &[String]) -> Result<(), Problem> {
    for name in exports {
        let Some((interface, version)) = of_package(name) else { continue };
        if !is_our_line(version) {
            return Err(wrong_line(name));
        }
        if interface != "lifecycle" && !Hook::ALL.iter().any(|hook| hook.interface() == interface) {
            return Err(Problem::Contract(format!(
                "it exports `{name}`, a hook that this relay does not know: it needs a newer relay"
            )));
        }
    }
    Ok(())
}

fn check_hooks(hooks: &[Hook], manifest: Option<&Manifest>) -> Result<(), Problem> {
    if hooks.is_empty() {
        return Err(Problem::Contract(
            "it exports no hook: its world must export at least one of waypost:plugin/on-connect to on-bounce"
                .to_owned(),
        ));
    }
    let Some(stated) = manifest.and_then(|m| m.hooks.as_ref()) else { return Ok(()) };
    let exported: Vec<&str> = hooks.iter().map(|hook| hook.interface()).collect();
    let same = stated.len() == exported.len() && stated.iter().all(|name| exported.contains(&name.as_str()));
    if same {
        return Ok(());
    }
    Err(Problem::Contract(format!(
        "its manifest names the hooks {}, the component exports {}",
        stated.join(", "),
        exported.join(", ")
    )))
}

pub(crate) fn digest_of(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|byte| format!("{byte:02x}")).collect()
}
