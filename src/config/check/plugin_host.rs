//! `[plugin-host]`: what is not about a single plugin.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Base, grants};
use crate::config::raw::{Table, Value};
use crate::plugin::{CompileConfig, DecisionsConfig, HostConfig};

/// Reads the section. The host's own folder is beside the queue's, where the relay may write, unless said otherwise.
pub(super) fn config(table: &Table<'_>, base: &Base, queue: &Path) -> HostConfig {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86400);
    let usual = HostConfig::default();
    let signers: Vec<[u8; 32]> = table.array("signers").iter().filter_map(|value| value.parsed(signer)).collect();
    let require_signature = table.bool("require-signature", false);
    if require_signature && table.array("signers").is_empty() {
        table.missing("signers", "without a key no component could be loaded: list the public keys you trust");
    }
    let shared = |(name, value): (std::sync::Arc<str>, Value<'_>)| Some((name, grants::quota(&value.table()?)));
    let decisions = table.table("decisions");
    let compile = table.table("compile");
    let config = HostConfig {
        path: match table.text("path") {
            Some(path) => base.resolve(path),
            None => queue.parent().unwrap_or(Path::new(".")).join("plugins"),
        },
        require_signature,
        signers,
        generations: table.count("generations", usual.generations, 1..=100),
        probation: table.duration("probation", usual.probation, Duration::ZERO..=DAY),
        shared_kv: table.named("kv").into_iter().filter_map(shared).collect(),
        decisions: DecisionsConfig {
            record: decisions.bool("record", usual.decisions.record),
            keep: decisions.duration("keep", usual.decisions.keep, SECOND..=366 * DAY),
            bytes: decisions.size("bytes", usual.decisions.bytes, 1 << 20..=1 << 40),
        },
        compile: CompileConfig {
            memory: compile.size("memory", usual.compile.memory, 256 << 20..=1 << 40),
            time: compile.duration("time", usual.compile.time, SECOND..=DAY),
        },
    };
    decisions.finish();
    compile.finish();
    table.finish();
    config
}

/// 32 octets in base64, as `waypost plugin keygen` prints them.
fn signer(text: &str) -> Result<[u8; 32], (String, String)> {
    let wrong = || {
        let help = "write an Ed25519 public key in base64, as `waypost plugin keygen` prints it";
        (format!("{text:?} is no public key"), help.to_owned())
    };
    let octets = STANDARD.decode(text).map_err(|_| wrong())?;
    octets.try_into().map_err(|_| wrong())
}
