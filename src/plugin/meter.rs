//! What a call took: measured around its polls, so that what it waited is not counted as computing.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::hooks::Cost;

/// One call's. Shared with the future it measures, which may move to another worker between two polls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    cpu_nanos: AtomicU64,
    host_calls: AtomicU32,
    memory: AtomicU64,
    fuel: AtomicU64,
}

impl Meter {
    /// Runs a future and counts the time its polls take.
    pub(crate) async fn run<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            let began = Instant::now();
            let polled = future.as_mut().poll(context);
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.cpu_nanos.fetch_add(took, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// How many services the call used.
    pub(crate) fn host_calls(&self, count: u32) {
        self.host_calls.store(count, Ordering::Relaxed);
    }

    /// What its instance has, and the instructions that the call took.
    pub(crate) fn instance(&self, memory: usize, fuel: u64) {
        self.memory.store(memory as u64, Ordering::Relaxed);
        self.fuel.store(fuel, Ordering::Relaxed);
    }

    pub(crate) fn cost(&self, wall: Duration) -> Cost {
        Cost {
            wall,
            cpu: Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)),
            host_calls: self.host_calls.load(Ordering::Relaxed),
            memory: self.memory.load(Ordering::Relaxed),
            fuel: self.fuel.load(Ordering::Relaxed),
        }
    }
}
