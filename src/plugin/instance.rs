//! One instance in a store of its own, from its start to its retirement.

use std::time::Duration;

use wasmtime::component::Instance;
use wasmtime::{Store, UpdateDeadline};

use super::Engine;
use super::bindings::exports::waypost::plugin as exports;
use super::calls::Shared;
use super::load::Linked;
use super::state::State;
use super::tape::Tape;
use super::ticker::SLOW;
use crate::hooks::{CallError, Hook, Subject};

/// What starting may cost: once per instance, not per call.
pub(crate) const LOAD_CPU: Duration = Duration::from_secs(1);

/// Octets copied between host and guest in one call of either side.
const HOSTCALL_FUEL: usize = 4 << 20;

/// A guest's hooks, looked up when they are first called.
#[derive(Default)]
pub(crate) struct Guests {
    pub lifecycle: Option<exports::lifecycle::Guest>,
    pub connect: Option<exports::on_connect::Guest>,
    pub helo: Option<exports::on_helo::Guest>,
    pub auth: Option<exports::on_auth::Guest>,
    pub mail: Option<exports::on_mail::Guest>,
    pub rcpt: Option<exports::on_rcpt::Guest>,
    pub message: Option<exports::on_message::Guest>,
    pub route: Option<exports::on_route::Guest>,
    pub delivery_attempt: Option<exports::on_delivery_attempt::Guest>,
    pub delivery_result: Option<exports::on_delivery_result::Guest>,
    pub bounce: Option<exports::on_bounce::Guest>,
}

/// An instance that may be called.
pub(crate) struct Live {
    pub store: Store<State>,
    pub instance: Instance,
    pub guests: Guests,
    /// Hook calls so far.
    pub calls: u32,
    /// Its engine counts instructions.
    counts: bool,
}

/// The guest's hook of one name: from the instance, else looked up and type-checked now.
macro_rules! guest {
    ($live:ident, $linked:ident, $hook:ident) => {
        match &$live.guests.$hook {
            Some(guest) => guest.clone(),
            None => {
                let indices = $linked.indices.$hook.as_ref();
                let indices = indices.ok_or_else(|| wasmtime::Error::msg("the hook is not exported"))?;
                let guest = indices.load(&mut $live.store, &$live.instance)?;
                $live.guests.$hook = Some(guest.clone());
                guest
            }
        }
    };
}
pub(crate) use guest;

impl Live {
    /// Makes an instance and lets it initialise itself.
    pub(crate) async fn start(
        engine: &Engine,
        linked: &Linked,
        shared: &std::sync::Arc<Shared>,
        tape: Option<Tape>,
    ) -> Result<Box<Self>, CallError> {
        let mut store = Store::new(engine.wasmtime(), State::new(shared.clone(), shared.memory, tape));
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(shared.limits.handles);
        let pace = engine.pace().clone();
        store.epoch_deadline_callback(move |mut store| {
            let state = store.data_mut();
            state.spent = state.spent.saturating_add(pace.overrun());
            if state.spent > state.budget {
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::YieldCustom(1, state.turn()))
        });
        begin(&mut store, None, Subject::default(), LOAD_CPU);
        let counts = engine.counts();
        if counts {
            let _ = store.set_fuel(u64::MAX);
        }
        let made = linked.pre.instantiate_async(&mut store).await;
        let instance = made.map_err(|e| failure(&e, store.data(), LOAD_CPU))?;
        let mut live = Box::new(Self { store, instance, guests: Guests::default(), calls: 0, counts });
        live.init(linked).await?;
        Ok(live)
    }

    async fn init(&mut self, linked: &Linked) -> Result<(), CallError> {
        if linked.indices.lifecycle.is_none() {
            return Ok(());
        }
        begin(&mut self.store, None, Subject::default(), LOAD_CPU);
        let said = self.call_init(linked).await.map_err(|e| failure(&e, self.store.data(), LOAD_CPU))?;
        self.store.data_mut().end();
        said.map_err(|why| CallError::Guest(self.store.data().shared.plain(&why)))
    }

    async fn call_init(&mut self, linked: &Linked) -> wasmtime::Result<Result<(), String>> {
        let guest = guest!(self, linked, lifecycle);
        guest.call_init(&mut self.store).await
    }

    /// Gets ready for one hook call.
    pub(crate) fn begin(&mut self, hook: Option<Hook>, subject: Subject, cpu: Duration) {
        begin(&mut self.store, hook, subject, cpu);
        if self.counts {
            // Refused only where they are not counted.
            let _ = self.store.set_fuel(u64::MAX);
        }
    }

    /// Instructions since [`Self::begin`]; zero where the engine does not count them.
    pub(crate) fn fuel(&self) -> u64 {
        if !self.counts {
            return 0;
        }
        self.store.get_fuel().map_or(0, |left| u64::MAX - left)
    }

    /// Looks up every hook the component has: a wrong type shows here, not at the first mail.
    pub(crate) fn check_hooks(&mut self, linked: &Linked) -> wasmtime::Result<()> {
        let live = self;
        for hook in &linked.compiled.hooks {
            match hook {
                Hook::Connect => _ = guest!(live, linked, connect),
                Hook::Helo => _ = guest!(live, linked, helo),
                Hook::Auth => _ = guest!(live, linked, auth),
                Hook::Mail => _ = guest!(live, linked, mail),
                Hook::Rcpt => _ = guest!(live, linked, rcpt),
                Hook::Message => _ = guest!(live, linked, message),
                Hook::Route => _ = guest!(live, linked, route),
                Hook::DeliveryAttempt => _ = guest!(live, linked, delivery_attempt),
                Hook::DeliveryResult => _ = guest!(live, linked, delivery_result),
                Hook::Bounce => _ = guest!(live, linked, bounce),
            }
        }
        Ok(())
    }
}

/// The deadline counts from now: set when the store was made, it would have passed long ago.
fn begin(store: &mut Store<State>, hook: Option<Hook>, subject: Subject, cpu: Duration) {
    // The first tick may come at once, hence one more.
    let budget = u32::try_from(cpu.as_millis()).unwrap_or(u32::MAX).saturating_add(SLOW);
    store.data_mut().begin(hook, subject, budget);
    store.set_epoch_deadline(1);
}

/// What went wrong in a store.
pub(crate) fn failure(error: &wasmtime::Error, state: &State, cpu: Duration) -> CallError {
    if let Some(wasmtime::Trap::Interrupt) = error.downcast_ref() {
        return CallError::Cpu(u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX));
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return CallError::Busy(0);
    }
    let mut detail = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        for frame in backtrace.frames().iter().take(FRAMES_MAX) {
            detail.push_str(" < ");
            detail.push_str(frame.func_name().unwrap_or("?"));
        }
    }
    if state.refused_memory {
        detail.push_str(" (it had been refused memory beyond its limit)");
    }
    CallError::Trap(plain(&detail))
}

/// Frames of a backtrace worth a log line.
const FRAMES_MAX: usize = 6;

/// A guest's words, as they may stand in a log: no control characters, at most 1 KiB.
pub(crate) fn plain(text: &str) -> String {
    text.chars().take(1024).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
