//! What a hook costs: a chain with one plugin, warm and fresh, beside a bare call of the same function of the same component
//! by wasmtime alone.
//!
//! `scripts/build-bench-guests`, then `cargo bench --bench hooks [COMPONENT ...]`. Microseconds, the median of batches; the
//! ratio is to the bare call of the same line. Memory is what a hundred instances, each called once, add to the process.

mod bare;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use waypost::hooks::{Endpoint, Hooks, Protocol, SenderAuthentication, SessionFacts, Subject, TransactionFacts};
use waypost::mail::{Annotations, BodyKind, Mailbox, QueueId, Recipient, ReversePath};
use waypost::plugin::{Build, Config, Engine, Instances, PluginConfig, PluginSet, Services};
use waypost::routing::Hickory;
use waypost::store::{Sled, Spool, Store};
use waypost::time::{Clock, System};

const BATCHES: usize = 15;
const BATCH: Duration = Duration::from_millis(100);

/// Host calls that the guests make at MAIL.
const HOST_CALLS: f64 = 100.0;

/// Instances held at a time to see what one takes.
const HELD: usize = 100;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let given: Vec<PathBuf> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).map(PathBuf::from).collect();
    let guests = if given.is_empty() {
        ["rust", "javascript", "python"].map(|name| PathBuf::from(format!("target/bench-guests/{name}.wasm"))).into()
    } else {
        given
    };
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn Store> = Arc::new(Sled::open(&dir.path().join("store"), 64 << 20)?);
    let spool = Spool::open(&dir.path().join("spool"), 0, store.clone())?;
    let services = Services::new(store, spool, Arc::new(System), Arc::new(Hickory::from_system()?), 50 << 20);
    let engine = Engine::new()?;
    println!("pooling: {}", engine.is_pooling());
    println!("making the subject: {:.2} us", measure(async || subject().map(|_| ())).await?);
    println!(
        "{:<12} {:>8} {:>8} {:>6}   {:>9} {:>9} {:>6}   {:>9} {:>9} {:>9}",
        "guest", "bare", "warm", "ratio", "bare new", "fresh", "ratio", "host call", "KiB each", "load ms"
    );
    for path in guests {
        if !path.exists() {
            println!("{:<12} not built: scripts/build-bench-guests", name(&path));
            continue;
        }
        println!("{}", row(&engine, &services, &path).await?);
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

async fn row(engine: &Engine, services: &Services, path: &Path) -> anyhow::Result<String> {
    let bare = bare::Bare::load(path)?;
    let mut live = bare.start().await?;
    let bare_call = measure(async || live.call().await).await?;
    let bare_new = measure(async || bare.start().await?.call().await).await?;
    let began = Instant::now();
    let warm = set(engine, services, path, Instances::Warm).await?;
    let load = began.elapsed();
    let fresh = set(engine, services, path, Instances::Fresh).await?;
    let rcpt = |set: PluginSet| async move {
        measure(async || {
            set.rcpt(subject()?).await;
            Ok(())
        })
        .await
        .map(|cost| (cost, set))
    };
    let (warm_call, warm) = rcpt(warm).await?;
    let (fresh_call, fresh) = rcpt(fresh).await?;
    let mail = measure(async || {
        warm.mail(subject()?).await;
        Ok(())
    })
    .await?;
    for set in [&warm, &fresh] {
        let failures: u64 = set.list().iter().flat_map(|info| info.failures.values()).sum();
        anyhow::ensure!(failures == 0, "{}: {failures} calls failed", path.display());
    }
    let before = resident()?;
    let mut held = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        let mut live = bare.start().await?;
        live.call().await?;
        held.push(live);
    }
    let each = (resident()?.saturating_sub(before)) as f64 / HELD as f64 / 1024.0;
    drop(held);
    let (warm_ratio, fresh_ratio) = (warm_call / bare_call, fresh_call / bare_new);
    let host_call = (mail - warm_call).max(0.0) / HOST_CALLS;
    let load = load.as_secs_f64() * 1e3;
    Ok(format!(
        "{:<12} {bare_call:>8.2} {warm_call:>8.2} {warm_ratio:>6.2}   {bare_new:>9.2} {fresh_call:>9.2} {fresh_ratio:>6.2}   \
         {host_call:>9.3} {each:>9.0} {load:>9.0}",
        name(path)
    ))
}

async fn set(engine: &Engine, services: &Services, path: &Path, instances: Instances) -> anyhow::Result<PluginSet> {
    let plugin = PluginConfig {
        path: path.to_owned(),
        instances: Some(instances),
        memory: Some(256 << 20),
        ..PluginConfig::default()
    };
    let config = Config { plugins: [("bench".into(), plugin)].into(), ..Config::default() };
    let set = PluginSet::build(engine, &config, services, 1, Build::Strict).await;
    set.map_err(|errors| anyhow::anyhow!("{}", errors.iter().map(|e| e.to_string()).collect::<String>()))
}

/// Octets of this process in memory.
fn resident() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
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

/// What the relay hands over at MAIL and RCPT.
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
        withheld: Default::default(),
        notes: Annotations::default(),
    };
    let sender = ReversePath(Some(mailbox("alice@example.org")?));
    let transaction = TransactionFacts {
        id: QueueId::from_u64(1 << 40),
        started_at: now,
        authentication: SenderAuthentication::of(sender.clone()),
        sender,
        sender_params: Vec::new(),
        declared_size: None,
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: Arc::default(),
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
