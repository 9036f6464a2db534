//! What a hook costs: one chain with one plugin, warm and fresh, beside a bare typed call into a component.
//!
//! `cargo bench --bench hooks [COMPONENT]`; without an argument, the benchmark's own plugin. Prints microseconds per
//! call, the median of batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waypost::hooks::{Endpoint, Hook, Hooks, Protocol, SessionFacts, Subject, TransactionFacts};
use waypost::mail::{Annotations, BodyKind, Mailbox, QueueId, Recipient, ReversePath};
use waypost::plugin::{Build, Config, Engine, Instances, PluginConfig, PluginSet, Services};
use waypost::store::{Sled, Spool, Store};
use waypost::time::{Clock, System};

const BATCHES: usize = 15;
const BATCH: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let path = given.map_or_else(|| PathBuf::from("benches/relay/bench.wasm"), PathBuf::from);
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn Store> = Arc::new(Sled::open(&dir.path().join("store"), 64 << 20)?);
    let spool = Spool::open(&dir.path().join("spool"), 0, store.clone())?;
    let services = Services::new(store, spool, Arc::new(System), 50 << 20);
    let engine = Engine::new()?;
    println!("pooling: {}", engine.is_pooling());
    println!("{:<24} {:>8.2}", "bare typed call", bare().await?);
    for instances in [Instances::Warm, Instances::Fresh] {
        let plugin = PluginConfig { path: path.clone(), instances: Some(instances), ..PluginConfig::default() };
        let config = Config { plugins: [("bench".into(), plugin)].into(), ..Config::default() };
        let set = PluginSet::build(&engine, &config, &services, 1, Build::Strict).await;
        let set =
            set.map_err(|errors| anyhow::anyhow!("{}", errors.iter().map(|e| e.to_string()).collect::<String>()))?;
        for hook in [Hook::Connect, Hook::Mail, Hook::Rcpt] {
            if !set.listens(hook) {
                continue;
            }
            let cost = measure(async || {
                match hook {
                    Hook::Connect => set.connect(subject()?).await.1,
                    Hook::Mail => set.mail(subject()?).await.1,
                    _ => set.rcpt(subject()?).await.1,
                };
                Ok(())
            })
            .await?;
            println!("{:<24} {cost:>8.2}", format!("{} {instances:?}", hook.interface()));
        }
        println!("failures: {:?}", set.list().first().map(|info| &info.failures));
    }
    println!("{:<24} {:>8.2}", "making the subject", measure(async || subject().map(|_| ())).await?);
    Ok(())
}

/// The floor: an empty function of a component, called through a fiber as hooks are.
async fn bare() -> anyhow::Result<f64> {
    let component = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let (mut store, f) = prepare(&wat::parse_str(component)?).await.map_err(|e| anyhow::anyhow!("{e:#}"))?;
    measure(async || f.call_async(&mut store, ()).await.map_err(|e| anyhow::anyhow!("{e:#}"))).await
}

async fn prepare(component: &[u8]) -> wasmtime::Result<(wasmtime::Store<()>, wasmtime::component::TypedFunc<(), ()>)> {
    let engine = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true))?;
    let component = wasmtime::component::Component::new(&engine, component)?;
    let mut store = wasmtime::Store::new(&engine, ());
    store.set_epoch_deadline(1 << 40);
    let linker = wasmtime::component::Linker::new(&engine);
    let instance = linker.instantiate_async(&mut store, &component).await?;
    let f = instance.get_typed_func::<(), ()>(&mut store, "f")?;
    Ok((store, f))
}

/// Microseconds per call.
async fn measure(mut call: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut batches = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let (began, mut calls) = (Instant::now(), 0_u32);
        while began.elapsed() < BATCH {
            for _ in 0..16 {
                call().await?;
            }
            calls += 16;
        }
        batches.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
    }
    batches.sort_by(f64::total_cmp);
    Ok(batches.get(BATCHES / 2).copied().unwrap_or_default())
}

/// What the relay hands over at RCPT.
fn subject() -> anyhow::Result<Subject> {
    let now = System.now();
    let mailbox = |text| Mailbox::parse(text, false);
    let to = mailbox("bob@example.com")?;
    let candidate = Recipient { index: 0, mailbox: to.clone(), original: to, params: Vec::new() };
    let session = SessionFacts {
        id: "bench".into(),
        listener: "mx".into(),
        connected_at: now,
        client: Endpoint { address: "192.0.2.1".into(), port: 40_000 },
        server: Endpoint { address: "192.0.2.2".into(), port: 25 },
        client_name: None,
        protocol: Protocol::Esmtp,
        helo: Some("client.example".into()),
        tls: None,
        identity: None,
        may_relay: false,
        transactions: 0,
        refused_recipients: 0,
        notes: Annotations::default(),
    };
    let transaction = TransactionFacts {
        id: QueueId::from_u64(1 << 40),
        started_at: now,
        sender: ReversePath(Some(mailbox("alice@example.org")?)),
        sender_params: Vec::new(),
        declared_size: None,
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: Vec::new(),
        next_index: 0,
        annotations: Annotations::default(),
        tags: Vec::new(),
    };
    Ok(Subject {
        session: Some(Arc::new(session)),
        transaction: Some(Arc::new(transaction)),
        candidate: Some(candidate),
        ..Subject::default()
    })
}
