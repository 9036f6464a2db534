//! `config`: what the operator wrote for the plugin.

use serde_json::Value;
use wasmtime::Result;

use super::super::state::{State, error};
use super::wit::config::Host;
use super::wit::types::{ErrorCode, HostError};

impl Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.shared.config.get(&key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }))
    }

    fn document(&mut self) -> Result<String> {
        Ok(self.shared.config.to_string())
    }

    fn secret(&mut self, _: String) -> Result<Result<String, HostError>> {
        Ok(Err(error(ErrorCode::Denied, "secrets are not granted by this relay version")))
    }
}
