//! What the tests of this room share: a store in memory, components made of core modules, facts, a set of plugins.

pub(crate) mod probe;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Build, Config, Engine, LoadError, PluginConfig, PluginSet, Services};
use crate::hooks::Hook;
use crate::routing::{Answer, Lookup, Mx, RecordKind, ResolveError, Resolver};
use crate::store::{Committed, Pair, Spool, Store, StoreError, Ticket, Write};
use crate::time::{Manual, Timestamp};

/// Ordered maps behind the seam.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore(Mutex<BTreeMap<String, BTreeMap<Bytes, Bytes>>>);

impl MemoryStore {
    pub(crate) fn len(&self, tree: &str) -> usize {
        self.0.lock().get(tree).map_or(0, BTreeMap::len)
    }
}

impl Store for MemoryStore {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().get(tree).and_then(|t| t.get(key).cloned()))
    }

    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let trees = self.0.lock();
        let pairs = trees.get(tree).into_iter().flatten();
        let within = pairs.filter(|(key, _)| &key[..] >= from && &key[..] < to);
        Ok(within.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut trees = self.0.lock();
        let tree = trees.entry(tree.to_owned()).or_default();
        for write in writes {
            match write {
                Write::Put { key, value } | Write::Insert { key, value } => drop(tree.insert(key, value)),
                Write::Delete { key } => drop(tree.remove(&key)),
            }
        }
        Ok(())
    }

    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        let mut trees = self.0.lock();
        let tree = trees.entry(tree.to_owned()).or_default();
        if tree.get(key).map(|v| &v[..]) != expected {
            return Ok(false);
        }
        match new {
            Some(new) => drop(tree.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(new))),
            None => drop(tree.remove(key)),
        }
        Ok(true)
    }

    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        let done = self.apply(tree, writes);
        Box::pin(async { done })
    }

    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        self.apply(tree, writes).map(|()| Ticket(0))
    }

    fn applied(&self) -> Ticket {
        Ticket(u64::MAX)
    }

    fn flushed(&self) -> Ticket {
        Ticket(u64::MAX)
    }
}

/// Names that are looked up, each with its answer; none: it never comes. Whoever asks for another one is not expected.
#[derive(Default)]
pub(crate) struct Zone(BTreeMap<String, Option<Result<Answer, ResolveError>>>);

impl Zone {
    pub(crate) fn with(mut self, name: &str, kind: RecordKind, answer: Option<Result<Answer, ResolveError>>) -> Self {
        self.0.insert(format!("{name} {kind:?}"), answer);
        self
    }
}

impl Resolver for Zone {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        panic!("look-up of {domain}")
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        panic!("look-up of {host}")
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        match self.0.get(&format!("{name} {kind:?}")) {
            Some(Some(answer)) => Box::pin(std::future::ready(answer.clone())),
            Some(None) => Box::pin(std::future::pending()),
            None => panic!("look-up of {name} {kind:?}"),
        }
    }
}

/// One for all tests of the process: each would reserve address space of its own.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());

fn services(dir: &Path) -> Services {
    let clock = Arc::new(Manual::new(Timestamp::from_secs(1_795_473_060)));
    let store: Arc<dyn Store> = Arc::<MemoryStore>::default();
    let spool = Spool::open(&dir.join("spool"), 0, store.clone()).unwrap();
    Services::new(store, spool, clock, Arc::<Zone>::default(), 50 << 20)
}

/// A component of a core module that follows the canonical ABI by hand. Its world is read from its own imports and
/// exports: `waypost:plugin/NAME@0.1.0#handle` and so on.
pub(crate) fn component(wat: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap();
    let mut world = "package test:plugin;\nworld plugin {\n".to_owned();
    for import in interfaces(wat, "import \"") {
        writeln!(world, "import {import};").unwrap();
    }
    for export in interfaces(wat, "export \"") {
        writeln!(world, "export {export};").unwrap();
    }
    world.push('}');
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir("wit").unwrap();
    let package = resolve.push_str("plugin.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false).unwrap();
    wit_component::ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// The interfaces named after `word`, each once.
fn interfaces(wat: &str, word: &str) -> Vec<String> {
    let mut names: Vec<String> = wat
        .split(word)
        .skip(1)
        .filter_map(|rest| rest.split(['"', '#']).next())
        .filter(|name| name.starts_with("waypost:plugin/"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// One of `tests/components`.
pub(crate) fn misbehaving(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/components/{name}.wat", env!("CARGO_MANIFEST_DIR"));
    component(&std::fs::read_to_string(path).unwrap())
}

/// One of `tests/components/guests`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/components/guests/{name}.wasm", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Core parameters of a hook's `handle`, all i32.
pub(crate) fn arity(hook: Hook) -> usize {
    match hook {
        Hook::Connect | Hook::Message | Hook::DeliveryAttempt => 0,
        Hook::Helo | Hook::DeliveryResult | Hook::Bounce => 2,
        Hook::Route => 3,
        Hook::Mail => 5,
        Hook::Rcpt => 11,
        Hook::Auth => 12,
    }
}

/// Where [`answering`] puts the answer: pointers in it count from here.
pub(crate) const AT: u32 = 1024;

/// A component that answers one hook with the given octets, laid out as the canonical ABI wants them.
pub(crate) fn answering(hook: Hook, answer: &[u8]) -> Vec<u8> {
    let octets: String = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let interface = hook.interface();
    let params = " i32".repeat(arity(hook));
    component(&format!(
        r#"(module
            (memory (export "memory") 2)
            (data (i32.const {AT}) "{octets}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/{interface}@0.1.0#handle") (param{params}) (result i32) (i32.const {AT})))"#
    ))
}

/// `ok(case(reply))`: verdicts of connect, helo, auth, mail, rcpt, message and route are laid out alike.
pub(crate) fn saying(case: u8, code: u16, line: &str) -> Vec<u8> {
    let mut answer = vec![0; 28];
    answer[4] = case;
    answer[8..10].copy_from_slice(&code.to_le_bytes());
    answer[20..24].copy_from_slice(&(AT + 28).to_le_bytes());
    answer[24..28].copy_from_slice(&1_u32.to_le_bytes());
    answer.extend((AT + 36).to_le_bytes());
    answer.extend(u32::try_from(line.len()).unwrap().to_le_bytes());
    answer.extend(line.as_bytes());
    answer
}

/// `component` with one more custom section at its end.
pub(crate) fn with_section(component: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let leb = |mut n: usize| {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let mut body = leb(name.len());
    body.extend(name.as_bytes());
    body.extend(data);
    let mut out = component.to_vec();
    out.push(0);
    out.extend(leb(body.len()));
    out.extend(body);
    out
}

/// Plugins in a folder of their own.
pub(crate) struct Fixture {
    pub dir: tempfile::TempDir,
    pub config: Config,
    pub services: Services,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let services = services(dir.path());
        Self { dir, config: Config::default(), services }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.wasm"))
    }

    pub(crate) fn with(self, name: &str, component: &[u8]) -> Self {
        self.with_config(name, component, PluginConfig::default())
    }

    pub(crate) fn with_config(mut self, name: &str, component: &[u8], config: PluginConfig) -> Self {
        let path = self.path(name);
        std::fs::write(&path, component).unwrap();
        self.config.plugins.insert(name.into(), PluginConfig { path, ..config });
        self
    }

    pub(crate) async fn try_build(&self, generation: u64, build: Build) -> Result<PluginSet, Vec<LoadError>> {
        PluginSet::build(&ENGINE, &self.config, &self.services, generation, build).await
    }

    pub(crate) async fn build(&self) -> PluginSet {
        self.try_build(1, Build::Strict).await.unwrap()
    }
}
