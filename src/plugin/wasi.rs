//! WASI 0.2 for guests whose toolchains import it: linked, and empty.
//!
//! There are no files, no environment, no arguments, no input and no sockets behind it, and must never be. Clocks and
//! random numbers are real; what is written to stdout and stderr becomes lines of the plugin's log. Waiting is async: it
//! costs wall time, never a worker.
//!
//! WASI's resources have a table of their own: [`super::state::Rows`] are swept after each call, a guest's streams are not.

mod voice;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView};

use super::calls::Shared;
use super::host::Level;
use super::outgoing::{NoWay, Outgoing};
use super::state::State;
use super::tape::{Setting, Tape};
use crate::time::Clock;

pub(crate) use voice::{Place, Voice};

/// Streams, pollables, fields, requests: a guest that needs more leaks.
const ROWS_MAX: usize = 1024;

/// Octets of random numbers in one call: the host makes them before the guest has paid for any.
const RANDOM_MAX: u64 = 64 << 10;

/// Octets of all fields of one request or response, as they lie in memory.
const FIELDS_MAX: usize = 64 << 10;

/// The interfaces that [`link`] links, of WASI 0.2 in any of its patch releases.
const INTERFACES: [&str; 29] = [
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "http/outgoing-handler",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];

/// True for an import that is linked, such as `wasi:io/streams@0.2.6`.
pub(crate) fn offers(import: &str) -> bool {
    let parts = import.strip_prefix("wasi:").and_then(|rest| rest.split_once('@'));
    parts.is_some_and(|(interface, version)| version.starts_with("0.2.") && INTERFACES.contains(&interface))
}

/// What one instance has of WASI. Made when it first uses any of it: no other instance pays for it.
pub(crate) struct Wasi {
    table: ResourceTable,
    context: WasiCtx,
    http: WasiHttpCtx,
    voice: Arc<Voice>,
    /// Requests, where they are granted.
    outgoing: Outgoing,
    /// And where they are not.
    no_way: NoWay,
}

impl Wasi {
    fn new(shared: &Arc<Shared>, place: Place, tape: Option<&Tape>) -> Self {
        let voice = Arc::new(Voice::new(shared.clone(), place));
        let mut context = WasiCtx::builder();
        context
            .stdout(voice.stream(Level::Debug))
            .stderr(voice.stream(Level::Warn))
            .wall_clock(Wall(shared.services.clock.clone()))
            .max_random_size(RANDOM_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .socket_addr_check(|_, _| Box::pin(async { false }));
        if let Some(tape) = tape {
            stand_still(&mut context, &tape.setting);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(ROWS_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_MAX);
        let outgoing = Outgoing::new(shared, voice.clone());
        Self { table, context: context.build(), http, voice, outgoing, no_way: NoWay }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, place: Place) {
        self.end();
        self.voice.begin(place);
    }

    /// It ended: what it wrote is said, and what it still asks of a server is no business of the next one.
    pub(crate) fn end(&mut self) {
        self.voice.end();
        self.outgoing.end();
    }

    /// Requests of the running call.
    pub(crate) fn requests(&self) -> u32 {
        self.outgoing.requests()
    }
}

impl State {
    fn wasi(&mut self) -> &mut Wasi {
        let new = || Box::new(Wasi::new(&self.shared, Place::of(self.hook, &self.subject), self.tape.as_ref()));
        self.wasi.get_or_insert_with(new)
    }

    /// The way to servers that the operator listed.
    fn requests_allowed(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.outgoing, table: &mut wasi.table, ctx: &mut wasi.http }
    }

    /// No way to anybody.
    fn requests_denied(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.no_way, table: &mut wasi.table, ctx: &mut wasi.http }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Links all of it. Requests over HTTP go to the servers that were granted, or nowhere.
pub(crate) fn link(linker: &mut Linker<State>, requests: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    let way = if requests { State::requests_allowed } else { State::requests_denied };
    let options = http::types::LinkOptions::default();
    http::types::add_to_linker::<_, WasiHttp>(linker, &options, way)?;
    http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, way)
}

/// The relay's clock, so that `wasi:clocks/wall-clock` and `system.now` agree.
struct Wall(Arc<dyn Clock>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now().micros()).unwrap_or_default())
    }
}

/// For a recorded call and its replay: the time stands still, and what is random is the same for both.
fn stand_still(context: &mut WasiCtxBuilder, setting: &Setting) {
    let mut random = fastrand::Rng::with_seed(setting.seed);
    let octets: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(SEEDED).collect();
    let at = Still(u64::try_from(setting.at).unwrap_or_default());
    context
        .secure_random(Deterministic::new(octets.clone()))
        .insecure_random(Deterministic::new(octets))
        .insecure_random_seed(u128::from(setting.seed))
        .wall_clock(at)
        .monotonic_clock(at);
}

/// Octets after which the numbers of a recorded call come again.
const SEEDED: usize = 64 << 10;

/// A clock that stands still, at so many microseconds.
#[derive(Clone, Copy)]
struct Still(u64);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.0.saturating_mul(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_linked_and_nothing_else() {
        for interface in INTERFACES {
            assert!(offers(&format!("wasi:{interface}@0.2.0")) && offers(&format!("wasi:{interface}@0.2.12")));
            assert!(!offers(&format!("wasi:{interface}@0.3.0")), "{interface}");
            assert!(!offers(&format!("wasi:{interface}")), "{interface}");
        }
        for other in [
            "wasi:http/incoming-handler@0.2.0",
            "wasi:clocks/timezone@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:io/streams@0.20.0",
            "waypost:io/streams@0.2.0",
        ] {
            assert!(!offers(other), "{other}");
        }
    }
}
