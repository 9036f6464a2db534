//! The floor: the same component, called by wasmtime alone, with the engine's settings of the relay and nothing around it.

use std::path::Path;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit", world: "everything", exports: { default: async } });
}

use bindings::exports::waypost::plugin::on_rcpt::{Guest, GuestIndices};
use bindings::waypost::plugin::transactions::Recipient;
use bindings::waypost::plugin::types::Mailbox;

/// A component, ready to be instantiated; its imports trap, and at RCPT it uses none.
pub(crate) struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    indices: GuestIndices,
}

/// An instance.
pub(crate) struct Live {
    store: Store<()>,
    guest: Guest,
}

impl Bare {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        Self::try_load(path).map_err(|e| anyhow::anyhow!("{}: {e:#}", path.display()))
    }

    fn try_load(path: &Path) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(1000)
            .total_core_instances(20_000)
            .total_memories(2000)
            .total_tables(20_000)
            .total_stacks(1000)
            .max_component_instance_size(8 << 20)
            .max_core_instance_size(8 << 20)
            .max_core_instances_per_component(200)
            .max_memories_per_component(8)
            .max_memory_size(1 << 30)
            .table_elements(100_000)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(256 << 10);
        let mut config = Config::new();
        config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::from_file(&engine, path)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = linker.instantiate_pre(&component)?;
        component.initialize_copy_on_write_image()?;
        let indices = GuestIndices::new(&pre)?;
        Ok(Self { engine, pre, indices })
    }

    pub(crate) async fn start(&self) -> anyhow::Result<Live> {
        self.try_start().await.map_err(|e| anyhow::anyhow!("{e:#}"))
    }

    async fn try_start(&self) -> wasmtime::Result<Live> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let guest = self.indices.load(&mut store, &instance)?;
        Ok(Live { store, guest })
    }
}

impl Live {
    pub(crate) async fn call(&mut self) -> anyhow::Result<()> {
        let mailbox = || Mailbox { local_part: "bob".to_owned(), domain: "example.com".to_owned() };
        let candidate = Recipient { index: 0, mailbox: mailbox(), original: mailbox(), params: Vec::new() };
        let said = self.guest.call_handle(&mut self.store, &candidate).await;
        said.map_err(|e| anyhow::anyhow!("{e:#}"))?.map(|_| ()).map_err(|why| anyhow::anyhow!(why))
    }
}
