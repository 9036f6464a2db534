//! The clock behind CPU budgets: a thread that moves the engine's epoch while calls are in flight.
//!
//! It sleeps when nobody has called for a while, and ends with the engine. Must never keep the engine alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// Length of a tick. Short enough for a budget of 20 ms, long enough to cost nothing.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Quiet ticks before the thread sleeps: waking it costs a system call, which a busy relay should not pay per call.
const QUIET: u32 = 200;

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicU64,
    /// Calls begun: changes while anybody calls, however short the calls are.
    begun: AtomicU64,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: thread::Thread,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let ours = shared.clone();
        let spawned = thread::Builder::new().name("plugin-ticks".into()).spawn(move || run(&engine, &ours))?;
        Ok(Self { shared, thread: spawned.thread().clone() })
    }

    /// Epochs move while this lives.
    pub(crate) fn flight(&self) -> Flight<'_> {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        if self.shared.asleep.load(Ordering::SeqCst) && self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Flight(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A call in flight, also one whose future is dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a>(&'a Ticker);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(engine: &EngineWeak, shared: &Shared) {
    let (mut seen, mut quiet) = (0, 0);
    while !shared.ended.load(Ordering::SeqCst) {
        let begun = shared.begun.load(Ordering::Relaxed);
        let idle = begun == seen && shared.in_flight.load(Ordering::SeqCst) == 0;
        seen = begun;
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet >= QUIET {
            quiet = 0;
            shared.asleep.store(true, Ordering::SeqCst);
            // Looked at again after saying so: a call that began in between would not wake us.
            while shared.in_flight.load(Ordering::SeqCst) == 0
                && shared.asleep.load(Ordering::SeqCst)
                && !shared.ended.load(Ordering::SeqCst)
            {
                thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
        }
        thread::park_timeout(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}
