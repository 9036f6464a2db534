//! Where compiled code comes from: the cache, else a process of its own, else - in tests and benches, which are not the
//! program - this one.
//!
//! The only file with unsafe code: wasmtime runs what it is handed as it is. Must never hand it anything but what this
//! relay's own compiler made: straight from it, or with the cache's tag verified.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compiler::Compiler;
use super::config::CompileConfig;

/// Compiles and keeps.
#[derive(Default)]
pub(crate) struct Workshop {
    pub compiler: Option<Compiler>,
    pub cache: Option<Cache>,
    /// One component at a time: each takes every processor there is, and mail needs some of that too.
    turn: Mutex<()>,
}

impl Workshop {
    pub(crate) fn new(compiler: Option<Compiler>, cache: Option<Cache>) -> Self {
        Self { compiler, cache, turn: Mutex::default() }
    }

    /// The component's code, ready to be linked; or why not. Blocking.
    pub(crate) fn component(
        &self,
        engine: &wasmtime::Engine,
        octets: &[u8],
        digest: &[u8; 32],
        limits: &CompileConfig,
    ) -> Result<Component, String> {
        if self.compiler.is_none() && self.cache.is_none() {
            return Component::from_binary(engine, octets).map_err(|e| format!("{e:#}"));
        }
        let _turn = self.turn.lock();
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.read(digest)) {
            match revive(engine, &code) {
                Ok(component) => return Ok(component),
                Err(why) => tracing::warn!(target: "plugin", %why, "compiled code does not fit: compiled anew"),
            }
        }
        self.compile(engine, octets, digest, limits)
    }

    fn compile(
        &self,
        engine: &wasmtime::Engine,
        octets: &[u8],
        digest: &[u8; 32],
        limits: &CompileConfig,
    ) -> Result<Component, String> {
        let code = match &self.compiler {
            Some(compiler) => compiler.compile(octets, limits)?,
            None => engine.precompile_component(octets).map_err(|e| format!("{e:#}"))?,
        };
        let component = revive(engine, &code).map_err(|e| format!("{e:#}"))?;
        if let Some(cache) = &self.cache {
            cache.write(digest, &code);
        }
        Ok(component)
    }

    /// Forgets code of all other components. Blocking.
    pub(crate) fn retain(&self, wanted: &BTreeSet<[u8; 32]>) {
        if let Some(cache) = &self.cache {
            cache.retain(wanted);
        }
    }
}

/// `code` is what this relay's own compiler wrote, and nothing else: see the callers.
#[expect(unsafe_code, reason = "wasmtime can't check that code is what a compiler made; the cache's tag does")]
fn revive(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the octets come over a pipe from a process that runs this very program, or carry a tag under a key that
    // only this relay has; they are in this process's memory, so that nobody changes them after that was verified.
    unsafe { Component::deserialize(engine, code) }
}
