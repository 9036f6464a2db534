//! The engine: one for the relay, with its linker, its clock and the code it has compiled.
//!
//! Compiled code is kept by digest for as long as a generation uses it, so that a reload compiles only what changed.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::bindings::waypost::plugin as wit;
use super::cache::Cache;
use super::compiler::Compiler;
use super::grants::Linking;
use super::host::Denied;
use super::load::Compiled;
use super::state::State;
use super::ticker::{Flight, Pace, Ticker};
use super::wasi;
use super::workshop::Workshop;

/// Instances alive at once, of all plugins and generations. Address space is reserved for each.
const INSTANCES: u32 = 1000;

/// The largest memory an instance can be granted.
pub(crate) const MEMORY_MAX: usize = 1 << 30;

/// Octets of a memory that stay resident when its instance goes: cheaper to clear than to map again.
const KEEP_RESIDENT: usize = 1 << 20;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This machine can't run it.
    #[error("the plugin engine can't be set up: {0}")]
    Config(String),
    /// No thread for the clock.
    #[error("the plugin engine's clock can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What runs plugins. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>, Arc<Workshop>);

struct Inner {
    wasmtime: wasmtime::Engine,
    linkers: Mutex<HashMap<Linking, Arc<Linker<State>>>>,
    ticker: Ticker,
    pooling: bool,
    counting: bool,
    compiled: Mutex<HashMap<[u8; 32], Weak<Compiled>>>,
}

impl Engine {
    /// With the pooling allocator where the machine has the address space for it, else on demand.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new() -> Result<Self, EngineError> {
        match Self::with(pooled()) {
            Ok(engine) => Self::finish(engine, true),
            Err(why) => {
                tracing::info!(target: "plugin", %why, "no room for a pool of instances: they are made on demand");
                let engine = Self::with(InstanceAllocationStrategy::OnDemand).map_err(config_error)?;
                Self::finish(engine, false)
            }
        }
    }

    /// One that counts instructions, for measurements: its code is slower, and is its own.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn counting() -> Result<Self, EngineError> {
        let engine = wasmtime::Engine::new(settings().consume_fuel(true)).map_err(config_error)?;
        Self::assemble(engine, false, true)
    }

    fn with(strategy: InstanceAllocationStrategy) -> wasmtime::Result<wasmtime::Engine> {
        wasmtime::Engine::new(settings().allocation_strategy(strategy))
    }

    fn finish(wasmtime: wasmtime::Engine, pooling: bool) -> Result<Self, EngineError> {
        Self::assemble(wasmtime, pooling, false)
    }

    fn assemble(wasmtime: wasmtime::Engine, pooling: bool, counting: bool) -> Result<Self, EngineError> {
        let ticker = Ticker::start(wasmtime.weak())?;
        let (linkers, compiled) = Default::default();
        let inner = Inner { wasmtime, linkers, ticker, pooling, counting, compiled };
        Ok(Self(Arc::new(inner), Arc::default()))
    }

    /// The same engine, with a process that compiles for it, and compiled code kept below a folder. Where the folder
    /// can't be used, every start compiles anew. Without either, components are compiled by this process itself.
    #[must_use]
    pub fn equipped(&self, compiler: Option<Compiler>, folder: Option<&Path>) -> Self {
        let open = |path| match Cache::open(path, self.wasmtime()) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::error!(target: "plugin", path = %path.display(), %error, "no compiled code can be kept");
                None
            }
        };
        Self(self.0.clone(), Arc::new(Workshop::new(compiler, folder.and_then(open))))
    }

    /// Removes kept code of all but these components. Blocking.
    pub fn forget_all_but(&self, digests: &BTreeSet<[u8; 32]>) {
        self.1.retain(digests);
    }

    pub(crate) fn workshop(&self) -> &Workshop {
        &self.1
    }

    /// True if instances come from a pool.
    pub fn is_pooling(&self) -> bool {
        self.0.pooling
    }

    /// True if instructions are counted.
    pub(crate) fn counts(&self) -> bool {
        self.0.counting
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    /// The linker for one combination of grants: made at its first use, kept for all plugins that have the same.
    pub(crate) fn linker(&self, linking: Linking) -> wasmtime::Result<Arc<Linker<State>>> {
        let mut linkers = self.0.linkers.lock();
        if let Some(linker) = linkers.get(&linking) {
            return Ok(linker.clone());
        }
        let linker = Arc::new(link(&self.0.wasmtime, linking)?);
        linkers.insert(linking, linker.clone());
        Ok(linker)
    }

    pub(crate) fn pace(&self) -> &Arc<Pace> {
        self.0.ticker.pace()
    }

    pub(crate) fn flight(&self) -> Flight<'_> {
        self.0.ticker.flight()
    }

    /// Code that some generation still uses.
    pub(crate) fn known(&self, digest: &[u8; 32]) -> Option<Arc<Compiled>> {
        self.0.compiled.lock().get(digest).and_then(Weak::upgrade)
    }

    pub(crate) fn remember(&self, compiled: &Arc<Compiled>) {
        let mut known = self.0.compiled.lock();
        known.retain(|_, compiled| compiled.strong_count() > 0);
        known.insert(compiled.digest, Arc::downgrade(compiled));
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("pooling", &self.0.pooling).finish_non_exhaustive()
    }
}

/// What decides about the code: the same for the engine that runs it and for the one that makes it.
fn settings() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true).native_unwind_info(false).wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// For compiling only: without a pool, whose address space would count against the limits of the process.
pub(super) fn on_demand() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&settings())
}

/// Grants are enforced here: an interface that was not granted is linked to [`Denied`], which has no way to the relay.
fn link(engine: &wasmtime::Engine, linking: Linking) -> wasmtime::Result<Linker<State>> {
    fn own(state: &mut State) -> &mut State {
        state
    }
    fn denied(_: &mut State) -> Denied {
        Denied
    }
    let mut linker = Linker::new(engine);
    wit::types::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::sessions::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::transactions::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::messages::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::routing::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::deliveries::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::context::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::log::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::config::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::system::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::rate_limits::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::metrics::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    wit::auth_results::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    if linking.kv {
        wit::kv::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    } else {
        wit::kv::add_to_linker::<_, Denied>(&mut linker, denied)?;
    }
    if linking.dns {
        wit::dns::add_to_linker::<_, HasSelf<State>>(&mut linker, own)?;
    } else {
        wit::dns::add_to_linker::<_, Denied>(&mut linker, denied)?;
    }
    if linking.wasi {
        wasi::link(&mut linker, linking.http)?;
    }
    Ok(linker)
}

fn config_error(why: wasmtime::Error) -> EngineError {
    EngineError::Config(format!("{why:#}"))
}

fn pooled() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(4 * INSTANCES)
        .total_memories(2 * INSTANCES)
        .total_tables(4 * INSTANCES)
        .total_stacks(INSTANCES)
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(8 << 20)
        .max_core_instances_per_component(200)
        .max_memories_per_component(8)
        .max_tables_per_module(8)
        .max_memory_size(MEMORY_MAX)
        .table_elements(100_000)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(256 << 10)
        // Off: pages that were swapped out while dirty could escape the reset.
        .pagemap_scan(Enabled::No);
    InstanceAllocationStrategy::Pooling(pool)
}
