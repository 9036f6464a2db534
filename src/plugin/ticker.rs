//! The clock behind CPU budgets: a thread that moves the engine's epoch while calls are in flight.
//!
//! Its ticks are slow while guests answer within them, and quick from when one does not: a guest gives way to other
//! tasks at each tick, so what others wait for it is a quick tick. It sleeps when nobody has called for a while, and ends with the engine. Must never keep the engine alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// Milliseconds of a tick while all is well. Short enough for a budget of 20 ms, long enough to cost nothing.
pub(crate) const SLOW: u32 = 5;

/// Milliseconds of a tick while some guest takes longer.
const QUICK: u32 = 1;

/// Quiet ticks before the thread sleeps: waking it costs a system call, which a busy relay should not pay per call.
const QUIET: u32 = 200;

/// What the thread shares with those who call.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    in_flight: AtomicU64,
    /// Calls begun: changes while anybody calls, however short the calls are.
    begun: AtomicU64,
    asleep: AtomicBool,
    ended: AtomicBool,
    /// A tick found some guest computing.
    overrun: AtomicBool,
    /// Length of the last tick.
    tick: AtomicU32,
}

impl Pace {
    /// A tick found a guest computing: how many milliseconds that tick had.
    pub(crate) fn overrun(&self) -> u32 {
        self.overrun.store(true, Ordering::Relaxed);
        self.tick.load(Ordering::Relaxed)
    }
}

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Ticker {
    pace: Arc<Pace>,
    thread: thread::Thread,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let pace = Arc::<Pace>::default();
        let ours = pace.clone();
        let spawned = thread::Builder::new().name("plugin-ticks".into()).spawn(move || run(&engine, &ours))?;
        Ok(Self { pace, thread: spawned.thread().clone() })
    }

    /// What a call tells when a tick finds it computing.
    pub(crate) fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// Epochs move while this lives.
    pub(crate) fn flight(&self) -> Flight<'_> {
        self.pace.in_flight.fetch_add(1, Ordering::SeqCst);
        self.pace.begun.fetch_add(1, Ordering::Relaxed);
        if self.pace.asleep.load(Ordering::SeqCst) && self.pace.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Flight(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pace.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A call in flight, also one whose future is dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a>(&'a Ticker);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.pace.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(engine: &EngineWeak, pace: &Pace) {
    let (mut seen, mut quiet, mut tick) = (0, 0, SLOW);
    while !pace.ended.load(Ordering::SeqCst) {
        let begun = pace.begun.load(Ordering::Relaxed);
        let idle = begun == seen && pace.in_flight.load(Ordering::SeqCst) == 0;
        seen = begun;
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet >= QUIET {
            quiet = 0;
            pace.asleep.store(true, Ordering::SeqCst);
            // Looked at again after saying so: a call that began in between would not wake us.
            while pace.in_flight.load(Ordering::SeqCst) == 0
                && pace.asleep.load(Ordering::SeqCst)
                && !pace.ended.load(Ordering::SeqCst)
            {
                thread::park();
            }
            pace.asleep.store(false, Ordering::SeqCst);
        }
        thread::park_timeout(Duration::from_millis(tick.into()));
        let Some(engine) = engine.upgrade() else { return };
        pace.tick.store(tick, Ordering::Relaxed);
        engine.increment_epoch();
        tick = if pace.overrun.swap(false, Ordering::Relaxed) { QUICK } else { SLOW };
    }
}
