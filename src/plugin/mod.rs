//! The plugin host: components in wasmtime behind the hooks.
//!
//! The only rooms that name wasmtime. May import `mail`, `smtp`, `hooks`, `time` and `store` (kv, bodies); must never
//! let a guest's fault reach anything but its own verdict.

mod config;

pub use config::{Budget, Config, Instances, KvQuota, PluginConfig};
